"""The one-euro filter: a low pass whose cutoff grows with speed, so that still hands are steady and fast ones
do not lag.

Source: Casiez, Roussel, Vogel 2012, 1 € Filter, doi:10.1145/2207676.2208639. Rotations are filtered as
rotations: along the shortest turn between the filtered and the new one, with the speed of that turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from shared_tmu.temporal.smoothing.motion import Motion, Numbers

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

SPEED_HZ = 1.0
"""Cutoff for the speed itself."""


@dataclass(frozen=True)
class Pass:
    """A low pass whose cutoff is `still_hz` without motion, and grows by `per_speed` per unit of speed."""

    still_hz: float
    per_speed: float

    def share(self, speed: Any, step_s: float) -> Any:
        """How much of the new value is taken, 0 to 1."""
        return _share(self.still_hz + self.per_speed * speed, step_s)


ROTATIONS = Pass(1.5, 0.35)  # speed in radians per second; chosen by scripts/tune_filters.py
PLACE = Pass(1.5, 1.5)  # speed in sizes of the subject per second
SHAPE = Pass(0.2, 0.0)  # a hand keeps its shape


class OneEuro:
    """Smooths one track, frame after frame, without delay.

    Args:
        rotations: how rotations are filtered.
    """

    def __init__(self, rotations: Pass = ROTATIONS) -> None:
        self.rotations = rotations
        self._time_s: float | None = None
        self._raw: Motion | None = None
        self._smooth: Motion | None = None
        self._turning: Numbers = np.zeros(3)
        self._moving: Numbers = np.zeros(3)

    def step(self, time_s: float, motion: Motion) -> Motion:
        """The smoothed motion in the next frame of the track."""
        if self._time_s is None or self._raw is None or self._smooth is None:
            self._turning = np.zeros((len(motion.rotations), 3))
            smooth = motion
        else:
            smooth = self._filter(self._raw, self._smooth, motion, max(time_s - self._time_s, 1e-6))
        self._time_s, self._raw, self._smooth = time_s, motion, smooth
        return smooth

    def _filter(self, raw: Motion, smooth: Motion, new: Motion, step_s: float) -> Motion:
        speed_share = _share(SPEED_HZ, step_s)
        turn = turn_between(raw.rotations, new.rotations) / step_s
        self._turning = self._turning + speed_share * (turn - self._turning)
        move = (new.place - raw.place) / (_sizes(new) * step_s)
        self._moving = self._moving + speed_share * (move - self._moving)
        turned = self.rotations.share(np.linalg.norm(self._turning, axis=-1, keepdims=True), step_s)
        placed, shaped = PLACE.share(np.abs(self._moving), step_s), SHAPE.share(0.0, step_s)
        return Motion(
            turn_by(smooth.rotations, turned * turn_between(smooth.rotations, new.rotations)),
            smooth.shape + shaped * (new.shape - smooth.shape),
            smooth.place + placed * (new.place - smooth.place),
            new.size,
        )


def _sizes(motion: Motion) -> Numbers:
    """The subject's size in units of each number of its place; the distance changes as sizes do."""
    return np.array([motion.size, motion.size, 1.0])


def _share(cutoff_hz: Any, step_s: float) -> Any:
    return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * step_s))


def turn_between(old: Rotation, new: Rotation) -> Numbers:
    """The shortest turns that lead from rotations to others, axis times angle, `[R, 3]`."""
    turn: Numbers = (old.inv() * new).as_rotvec()
    return turn


def turn_by(old: Rotation, turn: Numbers) -> Rotation:
    """Rotations after such turns."""
    from scipy.spatial.transform import Rotation

    turned: Rotation = old * Rotation.from_rotvec(turn)
    return turned
