"""Hands seen in several views of one picture, brought together: which views saw the same hand, and what they
agree on.

All points are in pixels of the picture, `[21, 2]`, in MediaPipe's landmark order (wrist, thumb, index,
middle, ring, little finger: the order of OpenPose).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAME_HAND = 0.25
"""Two views saw the same hand if their landmarks differ by less than this part of the hand's longer side."""

_FINGERS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18, 19, 20))


@dataclass(frozen=True)
class HandView:
    """One hand as one run of the landmark model saw it.

    Attributes:
        points_px: landmarks, `[21, 2]`.
        right: evidence for a right hand in [-1, 1]; negative for a left hand.
    """

    points_px: NDArray[np.float64]
    right: float


@dataclass
class HandGroup:
    """Views of what is taken to be one hand."""

    views: list[HandView]

    @property
    def points_px(self) -> NDArray[np.float64]:
        """Median landmarks over the views, `[21, 2]`."""
        return np.asarray(np.median([view.points_px for view in self.views], axis=0))

    @property
    def right(self) -> float:
        """Summed evidence for a right hand."""
        return sum(view.right for view in self.views)


def box_of(points_px: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Tight box (x1, y1, x2, y2) of points `[K, 2]`."""
    (x1, y1), (x2, y2) = points_px.min(axis=0), points_px.max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def longer_side(points_px: NDArray[np.float64]) -> float:
    """Longer side of the box of points `[K, 2]`, in pixels."""
    return float(np.ptp(points_px, axis=0).max())


def difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Mean distance of matching landmarks, as a part of the larger hand's longer side."""
    size = max(longer_side(a), longer_side(b), 1e-6)
    return float(np.linalg.norm(a - b, axis=1).mean()) / size


def group_views(views: Sequence[HandView]) -> list[HandGroup]:
    """Put views of the same hand together; a view joins the first group that holds one close to it."""
    groups: list[HandGroup] = []
    for view in views:
        for group in groups:
            if any(difference(view.points_px, other.points_px) < SAME_HAND for other in group.views):
                group.views.append(view)
                break
        else:
            groups.append(HandGroup([view]))
    return groups


def overlap(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> tuple[float, float]:
    """Intersection of two boxes over their union, and over the smaller of the two."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0, 0.0
    both = width * height
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return both / (area_a + area_b - both), both / min(area_a, area_b)


def looks_like_a_hand(points_px: NDArray[np.float64]) -> bool:
    """Whether landmarks have a hand's proportions: a palm that is not a line or a point, fingers neither tiny
    nor endless.

    Foreshortening makes fingers short and fists make them fold back, so only gross failures are refused.
    """
    palm = float(np.linalg.norm(points_px[9] - points_px[0]))
    width = float(np.linalg.norm(points_px[17] - points_px[5]))
    scale = max(palm, width)
    if scale < 2.0 or longer_side(points_px) > 6.0 * scale:
        return False
    lengths = [np.linalg.norm(np.diff(points_px[list(finger)], axis=0), axis=1).sum() for finger in _FINGERS]
    return bool(max(lengths) < 3.5 * scale and max(lengths) > 0.2 * scale)
