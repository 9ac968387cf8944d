"""A model with merged layers as a file: an ordinary model with fewer blocks, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared_tmu.files import write_text
from shared_tmu.layers import METADATA, LayerRecipe, merge_layers
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
