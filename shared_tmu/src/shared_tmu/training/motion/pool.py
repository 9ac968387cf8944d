"""Motion without pictures, as windows of T frames: procedural, and hands of AMASS-layout files."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.pictures.geometry import axis_angle_to_rotmat
from shared_tmu.synth.motion import FPS, HandMotion, sample_motion
from shared_tmu.temporal.hands import hand_features
from shared_tmu.temporal.windows import resample
from shared_tmu.training.motion.amass import read_hands
from shared_tmu.training.motion.turns import unwrapped

log = logging.getLogger(__name__)
_TURN = 0.3  # radians: deviation of the views that are drawn for one motion
_SPEEDS = (0.7, 1.3)


@dataclass(frozen=True)
class MotionPool:
    """N motions of right hands.

    Attributes:
        pose: axis-angle of wrist and finger joints, `[N, T', 16, 3]`, T' frames or more than are used.
        betas: `[N, 10]`.
    """

    pose: Tensor
    betas: Tensor

    @classmethod
    def made(cls, seed: int, count: int, frames: int, amass: Path | None = None) -> MotionPool:
        """Draw motions, and add those of files.

        Args:
            seed: names the sequence of drawn ones.
            count: number of drawn ones.
            frames: T.
            amass: a folder that is searched for AMASS-layout files; None for none.

        Raises:
            TMUError: no file in the folder has a hand that moves.
        """
        span = round(frames * _SPEEDS[1]) + 1
        drawn = [sample_motion(np.random.default_rng([seed, index, 8]), span) for index in range(count)]
        poses = [_pose_of(motion) for motion in drawn]
        betas = [motion.betas for motion in drawn]
        if amass is not None:
            found = read_hands(amass, span, FPS)
            log.info("%d motions of hands from files", len(found))
            poses += found
            betas += [np.zeros(10)] * len(found)
        return cls(torch.tensor(np.stack(poses)).float(), torch.tensor(np.stack(betas)).float())

    def __len__(self) -> int:
        return len(self.pose)

    def draw(self, rng: np.random.Generator, count: int, frames: int) -> tuple[Tensor, Tensor]:
        """Windows with other views, speeds and directions of time: half of them reversed, half of them
        faster or slower, as in the paper.

        Returns:
            Rotations `[count, T, 16, 3, 3]` and shapes `[count, T, 10]`.
        """
        rows = rng.integers(len(self), size=count)
        rotmat = axis_angle_to_rotmat(torch.stack([self._window(rng, row, frames) for row in rows]))
        turn = axis_angle_to_rotmat(torch.tensor(rng.normal(0.0, _TURN, (count, 1, 3))).float())
        root = turn @ rotmat[:, :, 0]
        rotmat = torch.cat((root[:, :, None], rotmat[:, :, 1:]), dim=2)
        return rotmat, self.betas[rows][:, None].expand(-1, frames, -1)

    def _window(self, rng: np.random.Generator, row: int, frames: int) -> Tensor:
        speed = rng.uniform(*_SPEEDS) if rng.random() < 0.5 else 1.0
        used = min(round(frames * speed), self.pose.shape[1])
        start = int(rng.integers(self.pose.shape[1] - used + 1))
        window = self.pose[row, start : start + used]
        window = window.flip(0) if rng.random() < 0.5 else window
        return resample(window.flatten(1), frames).reshape(frames, 16, 3)


def draw_features(
    pool: MotionPool, layer: ManoLayer, rng: np.random.Generator, count: int, frames: int
) -> Tensor:
    """Windows of a pool as joints and twists, `[count, T, 93]`."""
    return hand_features(layer, *pool.draw(rng, count, frames))


def _pose_of(motion: HandMotion) -> NDArray[np.float64]:
    return np.concatenate((unwrapped(motion.root)[:, None], motion.fingers), axis=1)
