"""Finds the picture that made a loss NaN or infinite, for the message that ends training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from shared_tmu.errors import TrainingError

PHOTO = "photo_"  # prefix of a batch's entries for photographs
_MOST = 5  # largest number of pictures that a message names


class Judged(Protocol):
    """The interface of a training module."""

    name_of: Callable[[int], str]
    global_step: int

    def losses(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
        """Named losses of a batch."""


def not_finite(training: Any, batch: Mapping[str, Tensor], losses: Mapping[str, Tensor]) -> TrainingError:
    """The error that ends training when a loss is NaN or infinite.

    Args:
        training: a `Judged` module.
        batch: the batch, with the `number` of each picture, `[B]`.
        losses: unweighted losses of the batch.
    """
    bad = [name for name, value in losses.items() if not torch.isfinite(value)]
    numbers, photos = (batch.get(key, torch.zeros(0)).tolist() for key in ("number", f"{PHOTO}number"))
    found = [number for row, number in enumerate(numbers) if not _is_finite(training, batch, row)]
    if len(found) == len(numbers):
        where = f"for each of the {len(numbers)} pictures, so the weights are the cause: lower lr"
    elif found:
        more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
        where = f"for {', '.join(map(training.name_of, found[:_MOST]))}{more}: leave it out by another seed"
    else:
        named = ", ".join(map(training.name_of, [*photos, *numbers][:_MOST]))
        where = f"for the batch as a whole, which begins with {named}: lower lr, or raise batch_size"
    return TrainingError(
        f"training ended at step {training.global_step}: {', '.join(bad) or 'the sum of losses'} is NaN or "
        f"infinite {where}. The previous checkpoint is complete."
    )


@torch.no_grad()
def _is_finite(training: Judged, batch: Mapping[str, Tensor], row: int) -> bool:
    """Whether one render of a batch has finite losses."""
    count = len(batch["img"])
    one = {
        key: value[row : row + 1]
        for key, value in batch.items()
        if not key.startswith(PHOTO) and len(value) == count
    }
    losses, _ = training.losses(one)
    return all(bool(torch.isfinite(value)) for value in losses.values())
