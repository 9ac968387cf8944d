"""Positions of SynthHand's bones and thickness of its flesh: the numbers that all later steps use.

Convention: MANO's template frame for a right hand, metres: fingers along -x, back of the hand +y, thumb
side +z, wrist joint near (0.095, 0.006, 0.006). Lengths are those of an average adult hand (anthropometric
tables give a hand length of about 185 mm); they were chosen by us, not measured on any licensed model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WRIST: Array = np.array([0.095, 0.006, 0.006])
DORSAL: Array = np.array([0.0, 1.0, 0.0])
PARENTS = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])
FINGERS = ("index", "middle", "pinky", "ring", "thumb")  # MANO's sequence; joints 1-3, 4-6, 7-9, 10-12, 13-15


def from_hand(along_mm: float, up_mm: float, radial_mm: float) -> Array:
    """A point given by mm from the wrist along the fingers, to the back and to the thumb, `[3]` metres."""
    return np.asarray(WRIST + np.array([-along_mm, up_mm, radial_mm]) * 1e-3)


def direction(along: float, up: float, radial: float) -> Array:
    """A unit vector given in the same three directions, `[3]`."""
    vector = np.array([-along, up, radial])
    return np.asarray(vector / np.linalg.norm(vector))


@dataclass(frozen=True)
class Finger:
    """One finger: three joints, a tip, flesh radii at these four places, and the way it bends.

    Attributes:
        name: one of `FINGERS`.
        points: base, middle and end joint, then the tip, `[4, 3]` metres.
        radii: flesh radius at the four points, `[4]` metres.
        bend: unit vector towards which the tip moves when the finger flexes, `[3]`.
    """

    name: str
    points: Array
    radii: Array
    bend: Array

    @property
    def axes(self) -> Array:
        """Unit vector of each of the three bones, `[3, 3]`."""
        steps = np.diff(self.points, axis=0)
        return np.asarray(steps / np.linalg.norm(steps, axis=1, keepdims=True))

    @property
    def lengths(self) -> Array:
        """Length of each of the three bones, `[3]` metres."""
        return np.asarray(np.linalg.norm(np.diff(self.points, axis=0), axis=1))


def _finger(
    name: str, base: Array, steps: list[tuple[Array, float]], radii_mm: list[float], bend: Array
) -> Finger:
    points = [base]
    for heading, length_mm in steps:
        points.append(points[-1] + heading * length_mm * 1e-3)
    return Finger(name, np.array(points), np.array(radii_mm) * 1e-3, bend)


def _straight(name: str, base: Array, spread: float, lengths: list[float], radii: list[float]) -> Finger:
    headings = [direction(1.0, -0.02 - 0.03 * i, spread) for i in range(3)]
    return _finger(name, base, list(zip(headings, lengths, strict=True)), radii, -DORSAL)


HAND: dict[str, Finger] = {
    "index": _straight("index", from_hand(88, 2, 24), 0.14, [40, 24, 22.5], [10.2, 8.8, 7.7, 6.2]),
    "middle": _straight("middle", from_hand(90, 4, 2), 0.02, [44, 28, 23.5], [10.5, 9.0, 7.9, 6.4]),
    "pinky": _straight("pinky", from_hand(76, -2, -36), -0.30, [32, 19, 20.0], [8.8, 7.3, 6.4, 5.2]),
    "ring": _straight("ring", from_hand(85, 2.5, -18), -0.12, [40.5, 26, 23.0], [9.8, 8.4, 7.4, 6.0]),
    "thumb": _finger(
        "thumb",
        from_hand(20, -8, 22),
        [
            (direction(0.72, -0.22, 0.66), 44),
            (direction(0.83, -0.16, 0.53), 33),
            (direction(0.88, -0.12, 0.46), 25),
        ],
        [14.5, 11.3, 9.8, 7.4],
        direction(0.35, -0.45, -0.82),
    ),
}


def joints() -> Array:
    """The sixteen joints at rest in MANO's sequence, `[16, 3]` metres."""
    return np.concatenate([WRIST[None], *(HAND[name].points[:3] for name in FINGERS)])


def bone_ends() -> Array:
    """Where each joint's bone ends, `[16, 3]` metres: next joint, tip, or for the wrist the middle finger."""
    ends = [HAND["middle"].points[:1]]
    ends += [HAND[name].points[1:] for name in FINGERS]
    return np.concatenate(ends)
