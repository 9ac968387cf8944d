"""Seeds what the steps of a training run draw, so that a stopped run goes on with the same numbers."""

from __future__ import annotations

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback


class StepSeeds(Callback):
    """Makes what a step draws, such as dropped paths, depend on seed, step and device alone.

    Args:
        seed: of the run, or of the stage.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        """Seed torch, on all devices."""
        drawn = np.random.SeedSequence((self.seed, trainer.global_step, trainer.global_rank))
        torch.manual_seed(int(drawn.generate_state(1, np.uint64)[0]))
