"""Geometry of MediaPipe's hands: palms, landmarks, and the square that is the landmark model's input.

All points are in pixels of the picture. Landmarks `[21, 2]` are in MediaPipe's order (wrist, thumb, index,
middle, ring, little finger: the order of OpenPose); a palm has 7 points `[7, 2]`: wrist, the first joints of
index, middle, ring and little finger, and two of the thumb.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.tiles import Tile

Box = tuple[float, float, float, float]

SAME_PALM = 0.35

_FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))
_PALM_AND_FIRST_JOINTS = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]


@dataclass(frozen=True)
class Square:
    """The input region of the landmark model: the hand upright in the middle.

    Attributes:
        centre_px: (x, y).
        side_px: length of its sides.
        angle: clockwise rotation in the picture, radians.
    """

    centre_px: tuple[float, float]
    side_px: float
    angle: float

    def changed(self, scale: float, turn: float) -> Square:
        """The square enlarged by `scale` and rotated further by `turn` radians."""
        return Square(self.centre_px, self.side_px * scale, self.angle + turn)


@dataclass(frozen=True)
class Palm:
    """A palm found by one run of the palm model.

    Attributes:
        points_px: `[7, 2]`.
        box_px: around the palm.
        score: confidence in [0, 1].
    """

    points_px: NDArray[np.float64]
    box_px: Box
    score: float

    def square(self) -> Square:
        """The square around the whole hand, as MediaPipe's own graph computes it."""
        x1, y1, x2, y2 = self.box_px
        side = max(x2 - x1, y2 - y1)
        return _upright((x1 + x2) / 2, (y1 + y2) / 2, side, self.points_px[2] - self.points_px[0], 0.5, 2.6)


@dataclass(frozen=True)
class HandView:
    """A hand found by one run of the landmark model.

    Attributes:
        points_px: landmarks, `[21, 2]`.
        right: evidence for a right hand in [-1, 1]; negative for a left hand.
        presence: the model's confidence that there is a hand, in [0, 1].
    """

    points_px: NDArray[np.float64]
    right: float
    presence: float = 1.0

    def square(self) -> Square:
        """The square around the hand, as MediaPipe's own graph computes it from one frame to the next."""
        points = self.points_px
        up = ((points[5] + points[13]) / 2 + points[9]) / 2 - points[0]
        angle = _angle(up)
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        turned = points[_PALM_AND_FIRST_JOINTS] @ turn.T
        low, high = turned.min(axis=0), turned.max(axis=0)
        x, y = ((low + high) / 2) @ turn
        return _upright(float(x), float(y), float((high - low).max()), up, 0.1, 2.0)


class PalmFinder(Protocol):
    """Runs the palm model; used by one thread at a time."""

    def run(self, tile: Tile) -> list[Palm]:
        """Palms in a tile, in pixels of the image."""
        ...


class JointFinder(Protocol):
    """Runs the landmark model; used by one thread at a time."""

    def run(self, tile: Tile, square: Square, is_mirrored: bool = False) -> HandView:
        """The hand in a square of the tile, which the model sees as it is or mirrored."""
        ...


def _angle(up: NDArray[np.float64]) -> float:
    """Clockwise angle from the picture's upward direction to `up` (from the wrist to the fingers)."""
    return math.pi / 2 - math.atan2(-float(up[1]), float(up[0]))


def _upright(x: float, y: float, side: float, up: NDArray[np.float64], shift: float, scale: float) -> Square:
    """A square of `side` pixels around (x, y), rotated towards `up`, moved in that direction by a fraction of
    its side, then enlarged.
    """
    angle = _angle(up)
    moved = (x + shift * side * math.sin(angle), y - shift * side * math.cos(angle))
    return Square(moved, scale * side, angle)


def box_of(points_px: NDArray[np.float64]) -> Box:
    """Tight box (x1, y1, x2, y2) of points `[K, 2]`."""
    (x1, y1), (x2, y2) = points_px.min(axis=0), points_px.max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def longer_side(points_px: NDArray[np.float64]) -> float:
    """Longer side of the box of points `[K, 2]`, in pixels."""
    return float(np.ptp(points_px, axis=0).max())


def difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Mean distance of matching landmarks relative to the larger hand's longer side."""
    size = max(longer_side(a), longer_side(b), 1e-6)
    return float(np.linalg.norm(a - b, axis=1).mean()) / size


def same_palm(a: Palm, b: Palm) -> bool:
    """Whether two runs found the same palm: their points are closer than a third of its size."""
    size = max(longer_side(a.points_px), longer_side(b.points_px))
    return bool(np.linalg.norm(a.points_px - b.points_px, axis=1).mean() < SAME_PALM * size)


def grown(box: Box, by: float) -> Box:
    """A box enlarged on each side by a fraction of its width or height."""
    x, y = by * (box[2] - box[0]), by * (box[3] - box[1])
    return box[0] - x, box[1] - y, box[2] + x, box[3] + y


def overlap(a: Box, b: Box) -> tuple[float, float]:
    """Intersection of two boxes divided by their union, and divided by the smaller of the two."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0, 0.0
    both = width * height
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return both / (area_a + area_b - both), both / min(area_a, area_b)


def looks_like_a_hand(points_px: NDArray[np.float64]) -> bool:
    """Whether landmarks have a hand's proportions: the palm is not a line or a point, and fingers are neither
    tiny nor far too long.

    Foreshortening makes fingers short and fists fold them back, so only gross errors are refused.
    """
    palm = float(np.linalg.norm(points_px[9] - points_px[0]))
    width = float(np.linalg.norm(points_px[17] - points_px[5]))
    scale = max(palm, width)
    if scale < 2.0 or longer_side(points_px) > 6.0 * scale:
        return False
    lengths = [np.linalg.norm(np.diff(points_px[list(finger)], axis=0), axis=1).sum() for finger in _FINGERS]
    return bool(max(lengths) < 3.5 * scale and max(lengths) > 0.2 * scale)
