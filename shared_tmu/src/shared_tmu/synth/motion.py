"""Procedural hand motion: grasps and gestures as way-points, smooth trajectories between them.

Everything moves from one way-point to the next with the least jerk and rests there for a while; fingers start
a little before or after each other. Joint limits are a box in the angles that are mixed, so they are kept on
the way, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.synth.poses import BUSY_POSTURES, POSTURES, axis_angle_of, sample_hand_angles
from shared_tmu.synth.scene import sample_orientation

Array = NDArray[np.float64]
FPS = 30.0
_MOVE_S, _REST_S = (0.25, 0.9), (0.0, 0.6)  # of fingers: a grasp takes a third of a second or longer
_TURN_S, _PAUSE_S = (0.5, 1.6), (0.0, 0.5)  # of the wrist and of the camera
_LAG_S = 0.07  # between fingers, at most
_TURN_DEG = 55.0  # of the wrist between two way-points, most often
_SWAY_DEG = 1.5  # nobody holds a hand quite still
_JOINTS_PER_FINGER = 3


@dataclass(frozen=True)
class HandMotion:
    """A right hand in T frames. Axis-angle in radians, metres, camera x right, y down, z forward.

    Attributes:
        root: global orientation, `[T, 3]`.
        fingers: finger joints, `[T, 15, 3]`.
        betas: shape, `[10]`.
        middle_m: the middle of the hand, `[T, 3]`.
    """

    root: Array
    fingers: Array
    betas: Array
    middle_m: Array

    def __len__(self) -> int:
        return len(self.root)

    def at(self, rows: NDArray[np.int64] | slice) -> HandMotion:
        """Some of its frames."""
        return replace(self, root=self.root[rows], fingers=self.fingers[rows], middle_m=self.middle_m[rows])


@dataclass(frozen=True)
class _Path:
    """Way-points in time: the K-th move lasts from `starts[K]` to `ends[K]`, seconds."""

    starts: Array
    ends: Array

    @classmethod
    def drawn(
        cls, rng: np.random.Generator, span_s: float, move: tuple[float, float], rest: tuple[float, float]
    ) -> _Path:
        """Moves and rests until `span_s` is filled; the first move may have begun before time 0."""
        count = int(span_s / move[0]) + 3
        moves, rests = rng.uniform(*move, count), rng.uniform(*rest, count)
        starts = np.concatenate(([0.0], np.cumsum(moves + rests)[:-1])) - rng.uniform(0.0, move[1])
        used = int(np.searchsorted(starts, span_s)) + 1
        return cls(starts[:used], (starts + moves)[:used])

    @property
    def way_points(self) -> int:
        """Number of way-points: one more than moves."""
        return len(self.starts) + 1

    def place(self, times_s: Array) -> tuple[NDArray[np.int64], Array]:
        """The way-point that was left last, and the share of the way to the next, `[T]` each."""
        row = np.clip(np.searchsorted(self.starts, times_s, side="right") - 1, 0, len(self.starts) - 1)
        share = np.clip((times_s - self.starts[row]) / (self.ends[row] - self.starts[row]), 0.0, 1.0)
        return row, share**3 * (10.0 - 15.0 * share + 6.0 * share**2)


def sample_motion(rng: np.random.Generator, frames: int, fps: float = FPS) -> HandMotion:
    """Draw the motion of one hand.

    Args:
        rng: the only source of randomness.
        frames: number of frames T.
        fps: frames per second.
    """
    times_s = np.arange(frames) / fps
    return HandMotion(
        root=_orientations(rng, times_s).as_rotvec(),
        fingers=axis_angle_of(sample_finger_angles(rng, times_s)),
        betas=np.clip(rng.normal(0.0, 1.0, 10), -2.5, 2.5),
        middle_m=_places(rng, times_s),
    )


def sample_finger_angles(rng: np.random.Generator, times_s: Array) -> Array:
    """Flexion, side turn and twist of the finger joints at times `[T]` seconds: degrees `[T, 15, 3]`."""
    path = _Path.drawn(rng, float(times_s[-1]) + _LAG_S, _MOVE_S, _REST_S)
    postures = POSTURES if rng.random() < 0.6 else {**POSTURES, **BUSY_POSTURES}
    points = sample_hand_angles(rng, path.way_points, postures)  # [K, 15, 3]
    lags = rng.uniform(0.0, _LAG_S, 5).repeat(_JOINTS_PER_FINGER)
    angles = np.empty((len(times_s), 15, 3))
    for joint, lag in enumerate(lags):
        row, share = path.place(times_s + lag)
        angles[:, joint] = points[row, joint] + share[:, None] * (points[row + 1, joint] - points[row, joint])
    return angles


def _orientations(rng: np.random.Generator, times_s: Array) -> Rotation:
    """Turns of the wrist: from one view to others nearby, with a slow sway."""
    path = _Path.drawn(rng, float(times_s[-1]), _TURN_S, _PAUSE_S)
    views = [sample_orientation(rng, 180.0)]
    for _ in range(path.way_points - 1):
        turn = rng.normal(0.0, np.radians(_TURN_DEG) / np.sqrt(3.0), 3)
        views.append(Rotation.from_rotvec(turn) * views[-1])
    row, share = path.place(times_s)
    stops = Rotation.concatenate(views)
    steps = (stops[row + 1] * stops[row].inv()).as_rotvec()
    rate_hz, phase = rng.uniform(0.2, 0.6, 3), rng.uniform(0.0, 2.0 * np.pi, 3)
    sway = np.radians(_SWAY_DEG) * np.sin(2.0 * np.pi * rate_hz * times_s[:, None] + phase)
    return Rotation.from_rotvec(sway) * Rotation.from_rotvec(share[:, None] * steps) * stops[row]


def _places(rng: np.random.Generator, times_s: Array) -> Array:
    """Middles of the hand in front of the camera, `[T, 3]` metres; the camera moves as well as the hand."""
    path = _Path.drawn(rng, float(times_s[-1]), _TURN_S, _PAUSE_S)
    count = path.way_points
    depth = np.exp(rng.uniform(np.log(0.4), np.log(1.2)) + rng.normal(0.0, 0.07, count))
    points = np.column_stack((rng.normal(0.0, 0.05, (count, 2)), np.ones(count))) * depth[:, None]
    row, share = path.place(times_s)
    return np.asarray(points[row] + share[:, None] * (points[row + 1] - points[row]))
