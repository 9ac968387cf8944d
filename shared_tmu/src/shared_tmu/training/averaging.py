"""An exponential moving average of a stage's weights, kept beside them: it is what is validated and exported,
and does not change what is trained.
"""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import Tensor

from shared_tmu.errors import CheckpointError

_OWN = (
    "current_model_state"  # where Lightning keeps the weights themselves, if the checkpoint has their average
)


class Average(EMAWeightAveraging):
    """The average of a stage's weights, which replaces them when training ends.

    Body models and other buffers are not averaged: rounding would change constants.

    Args:
        decay: decay per step.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=False, decay=decay)
        self.own: dict[str, Tensor] = {}
        """The training module's own weights when training ended, by name."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace the weights by their average, once: a stage that was stopped after its last step ends
        without training.
        """
        if not self.own:
            self.own = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}
            super().on_train_end(trainer, pl_module)


def averaging(decay: float | None) -> list[Average]:
    """The callback that keeps the average; none without a decay."""
    return [] if decay is None else [Average(decay)]


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
