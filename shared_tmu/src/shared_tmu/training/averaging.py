"""An exponential moving average of a stage's weights, kept beside them, which replaces them at its end."""

from __future__ import annotations

from pathlib import Path

import torch
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging

from shared_tmu.errors import CheckpointError

_OWN = (
    "current_model_state"  # where Lightning keeps the weights themselves, if the checkpoint has their average
)


def averaging(decay: float | None) -> list[Callback]:
    """The callback that keeps the average; none without a decay.

    Body models and other buffers are not averaged: rounding would change constants.
    """
    return [] if decay is None else [EMAWeightAveraging(use_buffers=False, decay=decay)]


def check_averaged(path: Path, decay: float | None) -> None:
    """Refuse to continue without an average from a checkpoint that has one, or the other way round.

    Raises:
        CheckpointError: the optimiser's state would belong to other weights, or the average would begin late.
    """
    has_average = _OWN in torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if has_average and decay is None:
        raise CheckpointError(
            f"{path} holds an average of the weights, but setting.ema=null was asked for: give the decay "
            "with which the stage began, or another folder with out=."
        )
    if decay is not None and not has_average:
        raise CheckpointError(
            f"setting.ema={decay} was asked for, but {path} was begun without an average of the weights: "
            "leave setting.ema out until the stage is finished, or give another folder with out=."
        )
