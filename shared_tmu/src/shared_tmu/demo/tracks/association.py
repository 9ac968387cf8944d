"""Which boxes of a frame continue which tracks.

The cheapest pairing of all boxes with all tracks at once (`scipy.optimize.linear_sum_assignment`), so that
two hands that cross are not decided one after the other. Trackers on PyPI were looked at, not run: their
current releases need numpy 2, which the detector's pin excludes, or bring another OpenCV or matplotlib along,
and none takes sides of hands or uneven frame times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import shared_part

REACH = 0.8
"""How far a subject may be from where it was expected, in units of the longer side of its box."""

GROWTH = 2.0
"""How many times larger or smaller it may be."""

SAME_PLACE = 0.3
"""A box of the other side continues a track only if it shares this part of their union: detectors mistake
the side of a hand, not its place."""

INSIDE = 0.7
"""Part of the smaller of two boxes that is inside the larger one, if they may be of one subject."""

STAYED = 0.3
"""What it costs to be where it was instead of where it was expected: what waves turns round unexpectedly."""

SIDE_COST = 1.0
"""What another side costs, in the units of the other costs: a distance of one side of the box."""

COAST_S = 0.2
"""How long a subject that is not found is expected to keep its velocity; then it is expected to stay."""

_INERTIA = 0.5  # share of the old velocity in the new one
_NEVER = 1e6


@dataclass(eq=False)
class Track:
    """A subject through the frames of a clip.

    Attributes:
        number: its identity, from 0.
        box: in the newest frame in which it was found.
        frame, time_s: of that frame.
        anchor: its box where the detector found it last; None if that was never.
        found: in how many frames the detector has found it.
        is_told: whether it was in a result; see `tracker.is_stray`.
        beside: numbers of the tracks that were found in the same frame as it, in any.
        is_right: its side; None for people, or before the side is decided.
        velocity: of the middle of its box, pixels per second, `[2]`.
        sides: the newest boxes' votes for its side: positive for right, as large as their scores.
    """

    number: int
    box: Any
    frame: int
    time_s: float
    is_right: bool | None = None
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))
    sides: list[float] = field(default_factory=list)
    beside: set[int] = field(default_factory=set)
    anchor: Any = None
    found: int = 0
    is_told: bool = False

    @property
    def side(self) -> bool | None:
        """Its side as far as is known."""
        if self.is_right is not None:
            return self.is_right
        return sum(self.sides) >= 0 if self.sides else None

    def expected(self, time_s: float) -> Any:
        """Its box at another time, if it goes on as before."""
        return shifted(self.box, self.velocity * min(time_s - self.time_s, COAST_S))

    def go_on(self, box: Any, frame: int, time_s: float) -> None:
        """Take the box of a newer frame, or a better one of the same frame."""
        step = time_s - self.time_s
        if step > 0:
            moved = (middle(box) - middle(self.box)) / step
            is_first = not self.velocity.any()
            self.velocity = moved if is_first else _INERTIA * self.velocity + (1 - _INERTIA) * moved
        self.box, self.frame, self.time_s = box, frame, time_s


def assign(tracks: Sequence[Track], boxes: Sequence[Any], time_s: float) -> list[Track | None]:
    """The track that each box continues, None for a new one; no two continue the same.

    Args:
        tracks: those that may go on.
        boxes: what was found in a frame.
        time_s: when that frame is shown.
    """
    from scipy.optimize import linear_sum_assignment

    found: list[Track | None] = [None] * len(boxes)
    if not tracks or not boxes:
        return found
    costs = np.array([_costs(track, boxes, time_s) for track in tracks])
    for row, column in zip(*linear_sum_assignment(costs), strict=True):
        if costs[row, column] < _NEVER:
            found[column] = tracks[row]
    return found


def _costs(track: Track, boxes: Sequence[Any], time_s: float) -> list[float]:
    """How little each box looks like a track where it is expected, or where it was."""
    expected = track.expected(time_s)
    before = [track.box] if track.anchor is None else [track.box, track.anchor]
    return [
        min(_cost(track.side, expected, box), *(STAYED + _cost(track.side, at, box) for at in before))
        for box in boxes
    ]


def _cost(side: bool | None, expected: Any, box: Any) -> float:
    """How little a box looks like the expected one; `_NEVER` if it is another subject."""
    overlap = shared_part(expected.box_xyxy, box.box_xyxy)
    sides = [longer_side(one) for one in (expected, box)]
    growth, away = abs(float(np.log(sides[1] / sides[0]))), distance(expected, box) / max(sides)
    differs = side is not None and getattr(box, "is_right", side) != side
    if growth > np.log(GROWTH) or away > REACH or (differs and overlap < SAME_PLACE):
        return _NEVER
    return (1 - overlap) + away + growth + (SIDE_COST if differs else 0.0)


def distance(one: Any, other: Any) -> float:
    """Mean distance of the key points of two boxes, or of their middles if these are unknown, pixels."""
    points = [box.landmarks_px for box in (one, other)]
    if points[0] is not None and points[1] is not None:
        apart = np.linalg.norm(points[0] - points[1], axis=-1)
        if np.isfinite(apart).any():
            return float(np.nanmean(apart))
    return float(np.linalg.norm(middle(one) - middle(other)))


def stands_for(track: Track, box: Any, missed: Any) -> bool:
    """Whether the box of a track shows what the detector has missed in the same frame: it is in the place of
    that track's box, on the same side, and the two were never found together.
    """
    (x1, y1, x2, y2), (u1, v1, u2, v2) = box.box_xyxy, missed.box_xyxy
    width, height = min(x2, u2) - max(x1, u1), min(y2, v2) - max(y1, v1)
    both = max(width, 0.0) * max(height, 0.0)
    smaller = min((x2 - x1) * (y2 - y1), (u2 - u1) * (v2 - v1))
    same_side = getattr(box, "is_right", None) == getattr(missed, "is_right", None)
    return bool(same_side and both > INSIDE * smaller and missed.track not in track.beside)


def middle(box: Any) -> NDArray[np.float64]:
    """The middle of a box, `[2]`."""
    x1, y1, x2, y2 = box.box_xyxy
    return np.array([(x1 + x2) / 2, (y1 + y2) / 2])


def longer_side(box: Any) -> float:
    """The longer side of a box, pixels."""
    x1, y1, x2, y2 = box.box_xyxy
    return float(max(x2 - x1, y2 - y1))


def shifted(box: Any, by: NDArray[np.float64]) -> Any:
    """A box at another place, with its key points."""
    x, y = (float(value) for value in by)
    x1, y1, x2, y2 = box.box_xyxy
    points = None if box.landmarks_px is None else box.landmarks_px + by
    return replace(box, box_xyxy=(x1 + x, y1 + y, x2 + x, y2 + y), landmarks_px=points)


def between(one: Any, other: Any, share: float) -> Any:
    """A box between two: `share` is 0 for the first and 1 for the second."""
    corners = (1 - share) * np.array(one.box_xyxy) + share * np.array(other.box_xyxy)
    points = None
    if one.landmarks_px is not None and other.landmarks_px is not None:
        points = (1 - share) * one.landmarks_px + share * other.landmarks_px
    return concluded(one, corners, points, min(one.score, other.score))


def concluded(
    box: Any, corners: NDArray[np.float64], points: NDArray[np.float64] | None, score: float
) -> Any:
    """A box elsewhere that was not found, but concluded from other frames: it has no silhouette."""
    x1, y1, x2, y2 = (float(value) for value in corners)
    nothing = {"silhouette": None} if hasattr(box, "silhouette") else {}
    where = {"box_xyxy": (x1, y1, x2, y2), "landmarks_px": points, "score": score}
    return replace(box, is_found=False, **where, **nothing)
