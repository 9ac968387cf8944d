"""The first stage: the VAE learns motion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from shared_tmu.errors import TrainingError
from shared_tmu.temporal.model import MotionDecoder, Standard
from shared_tmu.temporal.posing import Layer
from shared_tmu.temporal.skeletons import MotionTree
from shared_tmu.temporal.vae import divergence
from shared_tmu.training.motion.pool import MotionPool, draw_features
from shared_tmu.training.motion.recipe import MotionStage
from shared_tmu.training.optim import warm_cosine

_FLOOR = 0.25  # of the largest deviation among points, or twists: what hardly moves must not count most
_DRAWN = 256  # windows for means and deviations


class MotionWindows(IterableDataset[Tensor]):
    """Batches `[B, T, F]` of a pool; step and seed decide what is in one, so a resumed run has the same."""

    def __init__(
        self,
        pool: MotionPool,
        layer: Layer,
        stage: MotionStage,
        frames: int,
        seed: int,
        begin: Callable[[], int],
    ) -> None:
        super().__init__()
        self.pool, self.layer, self.stage = pool, layer, stage
        self.frames, self.seed, self.begin = frames, seed, begin

    def __iter__(self) -> Iterator[Tensor]:
        for step in range(self.begin(), self.stage.steps):
            rng = np.random.default_rng([self.seed, step, 1])
            yield draw_features(self.pool, self.layer, rng, self.stage.batch_size, self.frames)


class VaeTraining(pl.LightningModule):
    """Learns to return windows through random latents.

    Args:
        decoder: its VAE is trained.
        stage: settings of the optimiser.
        weight: of the divergence.
    """

    def __init__(self, decoder: MotionDecoder, stage: MotionStage, weight: float) -> None:
        super().__init__()
        self.vae, self.standard = decoder.vae, decoder.motion
        self.stage, self.weight = stage, weight

    def on_train_batch_start(self, *_: object) -> None:
        """Draw the same noise in a resumed run."""
        torch.manual_seed(self.global_step)

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        """Squared error of standardised motion, and the divergence."""
        motion = self.standard(batch)
        found, mean, log_variance = self.vae(motion)
        error, spread = (found - motion).square().mean(), divergence(mean, log_variance)
        total = require_finite(error + self.weight * spread, self.global_step)
        self.log_dict({"train/error": error.detach(), "train/divergence": spread.detach()})
        return total

    def configure_optimizers(self) -> Any:
        """Adam, as in the paper, with a warm-up and a cosine."""
        return adam(self.vae, self.stage, torch.optim.Adam)


def require_finite(loss: Tensor, step: int) -> Tensor:
    """The loss.

    Raises:
        TrainingError: it is NaN or infinite.
    """
    if not torch.isfinite(loss):
        raise TrainingError(
            f"training ended at step {step}: the loss is NaN or infinite. The previous checkpoint is "
            "complete; lower lr."
        )
    return loss


def adam(module: nn.Module, stage: MotionStage, kind: type[torch.optim.Optimizer]) -> dict[str, Any]:
    """An optimiser for a module's parameters."""
    optimizer = kind(module.parameters(), lr=stage.lr)  # type: ignore[call-arg]
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warm_cosine(step, stage.warmup, stage.steps)
    )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def standardise_motion(
    standard: Standard, pool: MotionPool, layer: Layer, skeleton: MotionTree, frames: int, seed: int
) -> None:
    """Set means and deviations of motion from windows of a pool."""
    windows = draw_features(pool, layer, np.random.default_rng([seed, 2]), _DRAWN, frames).flatten(0, 1)
    scale = windows.std(0)
    points = 3 * skeleton.num_points
    for part in (scale[:points], scale[points:]):
        part.clamp_(min=_FLOOR * float(part.max()))
    standard.set(windows.mean(0), scale)


@torch.no_grad()
def scale_latents(decoder: MotionDecoder, pool: MotionPool, layer: Layer, seed: int) -> None:
    """Make latents of motion have deviation 1 over all of them."""
    decoder.latent.set(torch.zeros(1), torch.ones(1))
    rng = np.random.default_rng([seed, 3])
    latents = decoder.latents_of(draw_features(pool, layer, rng, _DRAWN, decoder.config.frames))
    decoder.latent.set(torch.zeros(1), latents.square().mean().sqrt()[None])
