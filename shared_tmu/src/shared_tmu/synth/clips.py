"""Clips of SynthHand: a hand that moves in front of one camera, labelled frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.synth.generator import take_shot
from shared_tmu.synth.hand import PosedHand, synth_hand
from shared_tmu.synth.motion import FPS, HandMotion, sample_motion
from shared_tmu.synth.scene import Difficulty, Scene
from shared_tmu.synth.shading import Camera

Array = NDArray[np.float32]
SIZE = 224
HAND_PX = 116.0
"""Pixels that the hand fills in the frame in which it looks largest, height or 4/3 of its width."""
CROP = 2.0
"""Height of a box over the hand in it, as in SynthHand-Eval."""
BOX_NOISE = 0.012
"""Deviation of where a box is, and of its size, from frame to frame as a detector's: a share of its size."""


@dataclass(frozen=True)
class HandClip:
    """One clip; equal clips give equal pictures.

    Attributes:
        seed: non-negative integers that name it.
        motion: of the hand, T frames.
    """

    seed: tuple[int, ...]
    motion: HandMotion

    def __len__(self) -> int:
        return len(self.motion)

    @cached_property
    def hands(self) -> list[PosedHand]:
        """The hand of every frame in the camera frame, metres."""
        return [self._hand(frame) for frame in range(len(self))]

    @cached_property
    def camera(self) -> Camera:
        """The camera: it keeps its focal length, and the hand stays in the middle half of its picture."""
        rays = np.stack([hand.keypoints[:, :2] / hand.keypoints[:, 2:] for hand in self.hands])
        low, high = rays.min(1), rays.max(1)  # [T, 2]
        extent = max(float((high - low)[:, 1].max()), 4.0 / 3.0 * float((high - low)[:, 0].max()))
        focal = HAND_PX / extent
        middle = 0.5 * (low.min(0) + high.max(0))
        spread = (high.max(0) - low.min(0)).max()
        focal = min(focal, 0.98 * SIZE / float(spread))  # no frame may leave the picture
        centre = SIZE / 2.0 - focal * middle
        return Camera(float(focal), (float(centre[0]), float(centre[1])), SIZE, SIZE)

    def image(self, frame: int) -> NDArray[np.uint8]:
        """The picture of a frame, `[H, W, 3]` RGB.

        Raises:
            MissingDependencyError: embreex is not installed.
        """
        return take_shot(self._scene(frame), self.hands[frame], self.camera).image

    def boxes(self, noise: float = BOX_NOISE, reading: int = 0) -> NDArray[np.float64]:
        """A box around the hand in every frame, from the true key points, `[T, 4]` pixels: as wide and high
        as the model's crops, with the noise of a detector.

        Args:
            noise: see `BOX_NOISE`.
            reading: number of the draw of the noise.
        """
        points = np.stack([self.camera.project(hand.keypoints) for hand in self.hands])
        low, high = points.min(1).astype(np.float64), points.max(1).astype(np.float64)
        size = CROP * np.maximum(high[:, 1] - low[:, 1], 4.0 / 3.0 * (high[:, 0] - low[:, 0]))
        rng = np.random.default_rng([*self.seed, 7, reading])
        centre = 0.5 * (low + high) + noise * size[:, None] * rng.normal(size=(len(size), 2))
        size = size * np.exp(noise * rng.normal(size=len(size)))
        half = 0.5 * np.column_stack((0.75 * size, size))
        return np.hstack((centre - half, centre + half))

    def _hand(self, frame: int) -> PosedHand:
        motion = self.motion
        posed = synth_hand().pose(*_single(motion.root[frame], motion.fingers[frame], motion.betas))
        middle = 0.5 * (posed.vertices.min(0) + posed.vertices.max(0))
        shift = (motion.middle_m[frame] - middle).astype(np.float32)
        return PosedHand(posed.vertices + shift, posed.keypoints + shift, posed.bone_rotmats)

    def _scene(self, frame: int) -> Scene:
        """The frame's appearance; all frames differ by noise only."""
        rng = np.random.default_rng([*self.seed, 5])
        bend = Rotation.from_euler("zy", [rng.normal(0.0, 20.0), rng.normal(0.0, 10.0)], degrees=True)
        root, fingers, betas = _single(self.motion.root[frame], self.motion.fingers[frame], self.motion.betas)
        return Scene(
            root=root,
            fingers=fingers,
            betas=betas,
            distance_m=float(self.motion.middle_m[frame, 2]),
            offset=np.zeros(2, np.float32),
            hand_size_px=HAND_PX,
            centre_shift_px=np.zeros(2, np.float32),
            wrist_bend=bend.as_rotvec().astype(np.float32),
            seed=(*self.seed, 1),
            difficulty=Difficulty(),
            frame=frame,
        )


def sample_clip(seed: int, index: int, frames: int, fps: float = FPS) -> HandClip:
    """One clip of an endless sequence; the same arguments give the same clip.

    Args:
        seed: names the sequence.
        index: which of its clips.
        frames: its length.
        fps: frames per second.
    """
    return HandClip((seed, index), sample_motion(np.random.default_rng([seed, index, 6]), frames, fps))


def _single(*arrays: NDArray[np.float64]) -> tuple[Array, ...]:
    return tuple(array.astype(np.float32) for array in arrays)
