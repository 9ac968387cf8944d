"""The second stage: the denoiser learns to find latents of motion from features of a frozen model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from shared_tmu.pictures.geometry import axis_angle_to_rotmat
from shared_tmu.temporal.model import MotionDecoder, Standard
from shared_tmu.temporal.posing import Layer, condition_of, motion_features
from shared_tmu.training.motion.pool import MotionPool
from shared_tmu.training.motion.recipe import MotionRecipe, MotionStage
from shared_tmu.training.motion.vae_stage import adam, require_finite

Batch = tuple[Tensor, Tensor]  # conditions [B, T, C], motion [B, T, F]


@dataclass(frozen=True)
class ReadClips:
    """N clips, each read V times.

    Attributes:
        feature: `[N, V, T, C']`.
        pred_rotmat: of the model's head, `[N, V, T, J, 3, 3]`.
        pred_betas: of the model's head, `[N, V, T, 10]`.
        rotmat: the truth, `[N, T, J, 3, 3]`.
        betas: the truth, `[N, T, 10]`.
    """

    feature: Tensor
    pred_rotmat: Tensor
    pred_betas: Tensor
    rotmat: Tensor
    betas: Tensor

    @classmethod
    def read(cls, paths: Sequence[Path]) -> ReadClips:
        """Read files of `ClipFeatures`."""
        parts: list[dict[str, Tensor]] = []
        for path in paths:
            with np.load(path, allow_pickle=False) as archive:
                parts.append({name: torch.from_numpy(archive[name]).float() for name in archive.files})
        all_of = {name: torch.stack([part[name] for part in parts]) for name in parts[0]}
        return cls(
            all_of["feature"],
            axis_angle_to_rotmat(all_of["pred_pose"]),
            all_of["pred_betas"],
            axis_angle_to_rotmat(all_of["pose"]),
            all_of["betas"][:, None].expand(-1, all_of["pose"].shape[1], -1),
        )

    def __len__(self) -> int:
        return len(self.feature)

    def conditions(self, layer: Layer) -> Tensor:
        """`[N, V, T, C]`."""
        return condition_of(layer, self.feature, self.pred_rotmat, self.pred_betas)

    def motion(self, layer: Layer) -> Tensor:
        """The truth as joints and twists, `[N, T, F]`."""
        return motion_features(layer, self.rotmat, self.betas)


class ConditionedWindows(IterableDataset[Batch]):
    """Batches of clips with their features, and of other motion with errors of these clips' heads.

    Simulated rows have the mean feature, since there is no picture: from them the denoiser learns which
    motion is behind a head's errors, from as much motion as there is. Half of all rows run backwards.
    """

    def __init__(
        self,
        clips: ReadClips,
        pool: MotionPool,
        layer: Layer,
        mean_feature: Tensor,
        recipe: MotionRecipe,
        begin: Callable[[], int],
    ) -> None:
        super().__init__()
        self.clips, self.pool, self.layer, self.recipe = clips, pool, layer, recipe
        self.mean_feature, self.begin = mean_feature, begin
        self._conditions, self._motion = clips.conditions(layer), clips.motion(layer)
        rotmat = clips.rotmat[:, None].expand_as(clips.pred_rotmat)
        self._turns = rotmat.transpose(-1, -2) @ clips.pred_rotmat
        self._shapes = clips.pred_betas - clips.betas[:, None]

    def __iter__(self) -> Iterator[Batch]:
        stage = self.recipe.denoiser
        simulated = round(self.recipe.simulated * stage.batch_size)
        for step in range(self.begin(), stage.steps):
            rng = np.random.default_rng([self.recipe.seed, step, 4])
            parts = [self._simulated(rng, simulated)] if simulated else []
            parts.append(self._read(rng, stage.batch_size - simulated))
            conditions, motion = (torch.cat(both) for both in zip(*parts, strict=True))
            back = torch.tensor(rng.random(len(motion)) < 0.5)[:, None, None]
            yield (
                torch.where(back, conditions.flip(1), conditions),
                torch.where(back, motion.flip(1), motion),
            )

    def _read(self, rng: np.random.Generator, count: int) -> Batch:
        rows, readings = self._choose(rng, count)
        conditions = self._conditions[rows, readings]
        if self.recipe.blind:
            blind = torch.tensor(rng.random(count) < self.recipe.blind)
            conditions[blind, :, : len(self.mean_feature)] = self.mean_feature
        return conditions, self._motion[rows]

    def _simulated(self, rng: np.random.Generator, count: int) -> Batch:
        frames = self._motion.shape[1]
        rotmat, betas = self.pool.draw(rng, count, frames)
        rows, readings = self._choose(rng, count)
        seen = condition_of(
            self.layer,
            self.mean_feature.expand(count, frames, -1),
            rotmat @ self._turns[rows, readings],
            betas + self._shapes[rows, readings],
        )
        return seen, motion_features(self.layer, rotmat, betas)

    def _choose(self, rng: np.random.Generator, count: int) -> tuple[Any, Any]:
        count_clips, readings = self._conditions.shape[:2]
        return rng.integers(count_clips, size=count), rng.integers(readings, size=count)


class DenoiserTraining(pl.LightningModule):
    """Learns velocities, given the frozen VAE.

    Args:
        decoder: its denoiser is trained; the VAE gets no gradient and stays in eval mode.
        stage: settings of the optimiser.
        last_share: share of a batch at the last time; the rest is spread over all times.
    """

    def __init__(self, decoder: MotionDecoder, stage: MotionStage, last_share: float) -> None:
        super().__init__()
        decoder.vae.requires_grad_(False)
        self.decoder, self.stage, self.last_share = decoder, stage, last_share

    def on_train_batch_start(self, *_: object) -> None:
        """Keep the VAE without dropout, and draw the same noise in a resumed run."""
        self.decoder.vae.eval()
        torch.manual_seed(self.global_step)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """The loss of velocity and noise."""
        condition, motion = batch
        noise = self.decoder.noise
        with torch.no_grad():
            latents = self.decoder.latents_of(motion)
        time = torch.randint(noise.last + 1, (len(latents),), device=latents.device)
        is_last = torch.rand(len(latents), device=latents.device) < self.last_share
        time = torch.where(is_last, noise.last, time)
        drawn = torch.randn_like(latents)
        predicted = self.decoder.velocity(noise.mix(latents, drawn, time), time, condition)
        loss = noise.loss(predicted, noise.velocity(latents, drawn, time), time)
        self.log_dict({"train/loss": loss.mean().detach()})
        if is_last.any():
            self.log_dict({"train/last": loss[is_last].mean().detach()})
        return require_finite(loss.mean(), self.global_step)

    def configure_optimizers(self) -> Any:
        """AdamW, as in the paper, with a warm-up and a cosine."""
        return adam(self.decoder.denoiser, self.stage, torch.optim.AdamW)


def standardise_conditions(standard: Standard, motion: Standard, conditions: Tensor) -> None:
    """Set means and deviations of conditions `[..., C]`; their motion is standardised as all motion is."""
    flat = conditions.flatten(0, -2)
    width = len(motion.mean)
    mean, scale = flat.mean(0), flat.std(0).clamp_min(1e-4)
    mean[-width:], scale[-width:] = motion.mean, motion.scale
    standard.set(mean, scale)
