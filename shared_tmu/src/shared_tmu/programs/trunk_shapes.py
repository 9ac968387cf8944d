"""The sizes of a model's trunk, on which its FLOPs depend."""

from __future__ import annotations

from torch import nn

from shared_tmu.flops import TrunkShape
from shared_tmu.programs.model_program import ModelProgram


def shape_of(program: ModelProgram, model: nn.Module) -> TrunkShape:
    """The sizes of a model's trunk."""
    vit = program.estimates.vit(model)
    prefix = int(getattr(vit, "num_prefix_tokens", 0))
    rows, columns = program.estimates.grid(model)
    mlp, width = vit.blocks[0].mlp, int(vit.blocks[0].attn.qkv.in_features)
    hidden = max(int(part.out_features) for part in mlp.modules() if isinstance(part, nn.Linear))
    return TrunkShape(len(vit.blocks), width, rows * columns + prefix, prefix, hidden / width)
