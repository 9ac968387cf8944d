"""Weights from which training starts: a whole model, or another model's backbone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from shared_tmu.errors import CheckpointError
from shared_tmu.files.checkpoints import read_checkpoint
from shared_tmu.training.checkpointing import check_fits
from shared_tmu.training.grow import fold_normalisation, kept_blocks, resize_blocks
from shared_tmu.training.model_sizes import check_same_sizes
from shared_tmu.training.tasks import Task

log = logging.getLogger(__name__)


def start_model(
    task: Task,
    untrained: Callable[[], nn.Module],
    load: Callable[[Path], nn.Module],
    start_from: Path | None,
    backbone_from: Path | None,
) -> nn.Module | None:
    """The starting point: a trained model, a model with the backbone of another one, or None.

    Args:
        task: the training task.
        untrained: makes a model with the depth of the first stage.
        load: reads a trained model.
        start_from: a trained model's file; of a deeper model, the blocks that it had before it grew are used.
        backbone_from: a file with a backbone.

    Raises:
        TMUError: there are no such weights, or they belong to a model of other sizes.
    """
    if start_from is None and backbone_from is None:
        return None
    model = untrained()
    depth = len(task.vit(model).blocks)
    if start_from is not None:
        wanted, model = model, load(start_from)
        vit = task.vit(model)
        vit.blocks = resize_blocks(vit.blocks, depth)
        check_fits(start_from, model.state_dict(), wanted.state_dict())
        check_same_sizes(start_from, model, wanted, task.part)
    if backbone_from is not None:
        take_backbone(task.vit(model), backbone_from)
        if not task.is_normalised:
            fold_normalisation(task.vit(model).patch_embed.first)
    return model


def take_backbone(vit: nn.Module, checkpoint: Path) -> None:
    """Copy patch embedding, position embedding, blocks and last norm from a hand model's checkpoint into a
    ViT.

    Its other weights, such as task tokens, are not changed. The file of a training stage can be used too; of
    a deeper trunk, the blocks that it had before it grew are used.

    Raises:
        MissingAssetError: the file does not exist.
        CheckpointError: the checkpoint has no such weights, or they have other shapes.
    """
    content = read_checkpoint(checkpoint)
    weights = content.get("state_dict", content)
    own = vit.state_dict()
    wanted = [key for key in own if key.startswith(("patch_embed.", "pos_embed", "blocks.", "last_norm."))]
    prefix = "model.backbone." if any(key.startswith("model.backbone.") for key in weights) else "backbone."
    numbers = _block_numbers(set(own), {key.removeprefix(prefix) for key in weights})
    theirs = {key: weights.get(prefix + _renamed(key, numbers)) for key in wanted}
    bad = [key for key, value in theirs.items() if value is None or value.shape != own[key].shape]
    if bad:
        raise CheckpointError(
            f"the backbone of {checkpoint} does not fit: {len(bad)} of {len(wanted)} weights are missing or "
            f"have another shape, such as {bad[0]}; give the first stage the same depth and the model the "
            "same width."
        )
    found: dict[str, torch.Tensor] = {key: value.to(own[key].dtype) for key, value in theirs.items()}
    vit.load_state_dict(found, strict=False)
    log.info("backbone from %s", checkpoint)


def _block_numbers(own: set[str], theirs: set[str]) -> list[int]:
    """The blocks of a checkpoint that a trunk takes, given the names of the weights of both."""
    depth, deep = (
        len({key.split(".")[1] for key in keys if key.startswith("blocks.")}) for keys in (own, theirs)
    )
    return kept_blocks(deep, depth) if deep > depth else list(range(depth))


def _renamed(key: str, numbers: list[int]) -> str:
    """A weight's name with another block number."""
    if not key.startswith("blocks."):
        return key
    _, number, rest = key.split(".", 2)
    return f"blocks.{numbers[int(number)]}.{rest}"
