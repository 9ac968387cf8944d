"""The small ViT of the recorded methods: image to tokens."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from golden_trunk import assert_golden, part, read_golden
from torch import Tensor
from toy_vit import ToyViT

from shared_tmu import Method, unmerge
from shared_tmu.method_parts.reductions import Planned
from shared_tmu.method_parts.seen import Needs, Seen

WEIGHTS = part(read_golden("trunk/vit_tome")[0], "weights")
HEAD = read_golden("methods/vit_head")[0]


def build_vit() -> ToyViT:
    """Blocks with the recorded weights."""
    vit = ToyViT(4, 0, 64, heads=4, hidden=128)
    vit.load_state_dict({k: v for k, v in WEIGHTS.items() if k.startswith("blocks")}, strict=False)
    return vit.eval()


def embed(image: Tensor) -> Tensor:
    """Class token and patches, `[B, 65, 64]`."""
    patches = F.conv2d(image, WEIGHTS["patch_embed.proj.weight"], WEIGHTS["patch_embed.proj.bias"], 8)
    patches = patches.flatten(2).transpose(1, 2)
    return torch.cat([WEIGHTS["cls_token"].expand(len(patches), -1, -1), patches], 1) + WEIGHTS["pos_embed"]


def read_method(name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and cases of a recorded method."""
    tensors, meta = read_golden(f"methods/{name}")
    return tensors, meta["cases"]


def see(want: dict[str, Tensor], method: Method, prefix: int, layer: int = 0, depth: int = 12) -> Seen:
    """A block whose keys are a recorded metric, with recorded tokens, sizes and attention."""
    size = want["size"][..., 0] if "size" in want else None
    parts = {Needs.KEYS: want["metric"].unsqueeze(1)} if "metric" in want else {}
    if "attn" in want:
        parts[Needs.MAP] = want["attn"]
    seen = Seen(want["x"], size, layer, depth, prefix, parts=parts, needs=method.needs | Needs.TOKENS)
    seen.method = method.name
    return seen


def assert_step(reduction: Planned, want: dict[str, Tensor], out: str = "out_wavg") -> None:
    """A recorded step: the map, what is merged, what it is when unmerged, sizes."""
    plan = reduction.plan.check()
    assert torch.equal(plan.source_map, want["map"])
    merged, size = reduction.reduce(want["x"], want["size"][..., 0] if "size" in want else None)
    assert_golden(merged, want[out], 1e-5)
    if size is not None and "size_out" in want:
        assert_golden(size, want["size_out"][..., 0], 1e-5)
    if "unmerged" in want:
        assert_golden(unmerge(merged, plan)[:, : want["unmerged"].shape[1]], want["unmerged"], 1e-5)


def assert_classified(tokens: Tensor, logits: Tensor) -> None:
    """The recorded logits, from the class token after the last block."""
    normed = F.layer_norm(tokens[:, 0], (64,), HEAD["norm.weight"], HEAD["norm.bias"], 1e-6)
    assert_golden(normed @ HEAD["head.weight"].T + HEAD["head.bias"], logits, 1e-4)
