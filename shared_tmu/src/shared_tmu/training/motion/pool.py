"""Motion without pictures, as windows of T frames: procedural hands, and hands or bodies of files."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from shared_tmu.pictures.geometry import axis_angle_to_rotmat
from shared_tmu.synth.motion import FPS, HandMotion, sample_motion
from shared_tmu.temporal.posing import Layer, motion_features, places_of, rest_points
from shared_tmu.temporal.skeletons import HAND
from shared_tmu.temporal.windows import resample
from shared_tmu.training.motion.amass import read_amass_bodies, read_hands
from shared_tmu.training.motion.humanoid import read_bodies
from shared_tmu.training.motion.sources import MotionSources
from shared_tmu.training.motion.turns import unwrapped

Array = NDArray[np.float64]
log = logging.getLogger(__name__)
_TURN = 0.3  # radians: deviation of the views that are drawn for one motion of a hand
_PITCH, _TILT = (0.1, 0.2), 0.1  # of cameras that look at bodies: mean and deviation, radians
_UPRIGHT = Rotation.from_euler("x", 180, degrees=True)  # y up, facing +z: y down, facing the camera
_SPEEDS = (0.7, 1.3)


@dataclass(frozen=True)
class MotionPool:
    """N motions of right hands, or of bodies.

    Attributes:
        pose: axis-angle of the tree's joints, `[N, T', J, 3]`, T' frames or more than are used. Bodies stand
            in a world with y up.
        betas: `[N, 10]`.
    """

    pose: Tensor
    betas: Tensor

    @classmethod
    def made(cls, layer: Layer, seed: int, frames: int, sources: MotionSources) -> MotionPool:
        """Draw motions, and add those of files.

        Args:
            layer: the body model.
            seed: names the sequence of drawn ones.
            frames: T.
            sources: where they come from.

        Raises:
            TMUError: there is no motion of this body model.
        """
        span, tree = round(frames * _SPEEDS[1]) + 1, places_of(layer).tree
        sources.check(tree)
        if tree is HAND:
            poses, betas = _hands(seed, span, sources)
        else:
            poses, betas = _bodies(layer, seed, span, sources)
        return cls(torch.tensor(np.stack(poses)).float(), torch.tensor(np.stack(betas)).float())

    def __len__(self) -> int:
        return len(self.pose)

    def draw(self, rng: np.random.Generator, count: int, frames: int) -> tuple[Tensor, Tensor]:
        """Windows with other views, speeds and directions of time: half of them reversed, half of them
        faster or slower, as in the paper.

        Returns:
            Rotations `[count, T, J, 3, 3]` in the camera's frame and shapes `[count, T, 10]`.
        """
        rows = rng.integers(len(self), size=count)
        rotmat = axis_angle_to_rotmat(torch.stack([self._window(rng, row, frames) for row in rows]))
        root = self._views(rng, count) @ rotmat[:, :, 0]
        rotmat = torch.cat((root[:, :, None], rotmat[:, :, 1:]), dim=2)
        return rotmat, self.betas[rows][:, None].expand(-1, frames, -1)

    def _views(self, rng: np.random.Generator, count: int) -> Tensor:
        """Turns from the frame of the poses to that of a camera, `[count, 1, 3, 3]`."""
        if self.pose.shape[2] == HAND.num_joints:
            return axis_angle_to_rotmat(torch.tensor(rng.normal(0.0, _TURN, (count, 1, 3))).float())
        return torch.tensor(np.stack([body_view(rng).as_matrix() for _ in range(count)])).float()[:, None]

    def _window(self, rng: np.random.Generator, row: int, frames: int) -> Tensor:
        speed = rng.uniform(*_SPEEDS) if rng.random() < 0.5 else 1.0
        used = min(round(frames * speed), self.pose.shape[1])
        start = int(rng.integers(self.pose.shape[1] - used + 1))
        window = self.pose[row, start : start + used]
        window = window.flip(0) if rng.random() < 0.5 else window
        return resample(window.flatten(1), frames).reshape(frames, -1, 3)


def body_view(rng: np.random.Generator) -> Rotation:
    """From a world with y up to a camera that looks at it from any side, mostly a little from above."""
    tilt, pitch = rng.normal(0.0, _TILT), rng.normal(*_PITCH)
    camera = Rotation.from_euler("zx", [tilt, pitch])
    return camera * _UPRIGHT * Rotation.from_euler("y", rng.uniform(-np.pi, np.pi))


def draw_features(
    pool: MotionPool, layer: Layer, rng: np.random.Generator, count: int, frames: int
) -> Tensor:
    """Windows of a pool as joints and twists, `[count, T, F]`."""
    return motion_features(layer, *pool.draw(rng, count, frames))


def _hands(seed: int, span: int, sources: MotionSources) -> tuple[list[Array], list[Array]]:
    drawn = [sample_motion(np.random.default_rng([seed, index, 8]), span) for index in range(sources.motions)]
    poses = [_pose_of(motion) for motion in drawn]
    betas = [motion.betas for motion in drawn]
    if sources.amass is not None:
        found = read_hands(sources.amass, span, FPS)
        log.info("%d motions of hands from files", len(found))
        poses += found
        betas += [np.zeros(10)] * len(found)
    return poses, betas


def _bodies(layer: Layer, seed: int, span: int, sources: MotionSources) -> tuple[list[Array], list[Array]]:
    rest = rest_points(layer, torch.zeros(10)).double().cpu().numpy()
    poses: list[Array] = []
    if sources.humanoid is not None:
        poses += read_bodies(sources.humanoid, span, FPS, rest)
    if sources.amass is not None:
        poses += read_amass_bodies(sources.amass, span, FPS)
    log.info("%d motions of bodies from files", len(poses))
    rng = np.random.default_rng([seed, 9])
    return poses, [np.clip(rng.normal(0.0, 1.0, 10), -2.5, 2.5) for _ in poses]


def _pose_of(motion: HandMotion) -> Array:
    return np.concatenate((unwrapped(motion.root)[:, None], motion.fingers), axis=1)
