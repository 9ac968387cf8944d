"""A model with merged layers as a file: an ordinary model with fewer blocks, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared_tmu.errors import TMUError
from shared_tmu.files import write_text
from shared_tmu.layers import METADATA, LayerRecipe, merge_layers
from shared_tmu.masks import TokenProbe
from shared_tmu.programs.mask_flags import probe_beside
from shared_tmu.programs.model_program import ModelProgram


def shorter_model(program: ModelProgram, model: nn.Module, recipe: LayerRecipe) -> nn.Module:
    """A model of its own with one block per window, whose configuration has the new depth.

    Raises:
        LayersError: not a partition of this model's blocks.
    """
    shorter = merge_layers(program.blocks_of(model), recipe.partition, recipe.variant)
    part = program.estimates.backbone
    config: Any = model.config
    backbone = replace(getattr(config, part), depth=recipe.depth)
    shorter.config = replace(config, **{part: backbone})
    program.estimates.vit(shorter).config = backbone
    return shorter


def carry_probe(program: ModelProgram, source: Path, shorter: nn.Module, out: Path) -> bool:
    """Copy the mask probe of a checkpoint to a shorter model made from it, if the layers that it reads are
    the same. A probe that lies beside the file and is of these weights stays; one of other weights goes.

    Args:
        program: description of the model.
        source: the checkpoint.
        shorter: as loaded from `out`.
        out: its file.

    Returns:
        Whether the shorter model has a probe.
    """
    ours = probe_beside(out)
    for path in (ours, probe_beside(source)):
        try:
            probe, facts = TokenProbe.load(path)
            probe.require_fit(facts, program.estimates.vit(shorter), path)
        except TMUError:
            continue
        if path != ours:
            probe.save(ours, facts)
        return True
    ours.unlink(missing_ok=True)
    return False


def save_shorter(
    program: ModelProgram,
    model: nn.Module,
    recipe: LayerRecipe,
    path: Path,
    dtype: torch.dtype,
    facts: Mapping[str, Any],
) -> None:
    """Write the shorter model as `path` (a `.safetensors`, with its sizes beside it), the recipe inside it,
    and recipe and `facts` as JSON beside it."""
    content = {**recipe.to_dict(), **facts}
    program.save_model(
        shorter_model(program, model, recipe), path, dtype, {METADATA: json.dumps(content, sort_keys=True)}
    )
    write_text(path.with_suffix(".layers.json"), json.dumps(content, indent=1) + "\n")
