"""What runs read from files: recipes of merged layers, and what methods have learned."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn

from shared_tmu.errors import LayersError
from shared_tmu.files.checkpoints import read_metadata
from shared_tmu.layers import LayerRecipe, read_recipe
from shared_tmu.programs.identity import file_sha256, weights_sha256
from shared_tmu.programs.model_program import Run
from shared_tmu.programs.program import Program


def trunk_sha256(program: Program, model: nn.Module) -> str:
    """Digest of the ViT's weights, by which a recipe knows its model."""
    return weights_sha256(program.estimates.vit(model))


def read_recipe_of(path: Path) -> LayerRecipe:
    """The recipe in a file that scripts/merge_layers.py wrote.

    Raises:
        TMUError: no such file, or one without a recipe.
    """
    recipe = read_recipe(read_metadata(path), str(path))
    if recipe is None:
        raise LayersError(
            f"{path} does not tell which layers were merged: name a file that scripts/merge_layers.py wrote."
        )
    return recipe


def require_recipes(program: Program, model: nn.Module, runs: Iterable[Run]) -> None:
    """Refuse runs whose layers are those of another model.

    Args:
        program: description of the model.
        model: as it was loaded, in the number format of its file.
        runs: some of them with recipes.

    Raises:
        LayersError: names the weights.
    """
    recipes = {run.layers for run in runs if run.layers is not None}
    if recipes:
        found, depth = trunk_sha256(program, model), len(program.blocks_of(model).blocks)
        for recipe in recipes:
            recipe.require_original(found, depth, f"the recipe for {recipe.depth} layers")


def facts_of_files(run: Run) -> dict[str, Any]:
    """What a result line says about a run's files; nothing about files that it does not have."""
    files = {"learned_sha256": run.learned, "probe_sha256": run.probe, "decoder_sha256": run.decoder}
    digests = {name: file_sha256(path) for name, path in files.items() if path is not None}
    return digests if run.layers is None else {**digests, "layers": run.layers.to_dict()}
