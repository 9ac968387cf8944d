"""Hands by MediaPipe's bundled palm and landmark models, run over a pyramid of tiles.

How a hand comes to be reported:

1. The palm model looks at the whole picture with a margin and at 2 x 2, 3 x 3 and 4 x 4 overlapping tiles, in
   several threads. Sightings of one palm are grouped.
2. The landmark model looks at the best sighting of each group. Where it sees no hand, that is the end.
3. Else it looks again at the hand it found, mirrored, turned and at other scales. A hand counts if it is sure
   each time, its joints stay in place and form a hand, and it agrees on which hand it is. If few tiles saw
   the palm, it must also be found turned sideways and upside down, where knees and stones are not.
4. Joints and side are the median and the vote over these views; of two hands that overlap too much, the
better
   supported one stays.

A mirrored photograph gives exactly the mirrored hands: every picture is first turned so that its left half is
the brighter one, and the result turned back.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import Detection, HandBox, valid_boxes
from shared_tmu.detect.landmarks import (
    Box,
    HandView,
    Palm,
    Square,
    box_of,
    difference,
    grown,
    longer_side,
    looks_like_a_hand,
    overlap,
    same_palm,
)
from shared_tmu.detect.mediapipe_graph import LandmarkModel, PalmModel
from shared_tmu.detect.tiles import Tile, cut, tile_windows

MARGIN = 0.2
"""Black border around the whole picture, as a part of its longer side: palms at its edge need one."""

LEVELS = (2, 3, 4)
"""Tiles along each side of the picture, after the whole of it."""

PALM_TILE_PX = 256
"""Longer side of the tiles: the palm model sees 192 px."""

CLOSE_UP_PX = 320
CLOSE_UP = 1.5
"""A close-up shows this multiple of the landmark model's square, which fills 224 px of it turned any way."""

MIN_PALM_SCORE = 0.4
MIN_FIRST_PRESENCE = 0.2
MIN_PRESENCE = 0.5

VIEWS = ((1.0, 0.0, True), (1.15, 0.35, False), (0.9, -0.35, True))
"""Further looks at a hand: scale, turn in radians, mirrored or not."""

TURNED_VIEWS = ((1.2, math.pi / 2, True), (1.1, math.pi, False))
MIN_TURNED_PRESENCE = 0.3

SPREAD_COST = 5.0
"""A hand's quality is its mean presence less this times the spread of its views, as a part of its size."""

MIN_QUALITY = 0.4
SURE_QUALITY = 0.85
SURE_PALMS = 2
SURE_PALM_SCORE = 0.8
"""So good a quality, or so many sightings with such a score among them, need no turned views."""

MIN_AGREEMENT = 0.3
"""Smallest mean evidence, over views, for a right or a left hand."""

SAME_HAND = 0.25
MIN_HAND_PX = 12.0
"""Hands smaller than this (longer side in pixels) are not reported."""

MAX_THREADS = 4


@dataclass(frozen=True)
class _Candidate:
    """What may be a hand.

    Attributes:
        views: of the landmark model.
        palms: sightings of its palm; those of an earlier candidate in the same place are among them.
        palm_score: the best of them.
        turned: mean presence in the turned views; 1 if none were needed.
    """

    views: tuple[HandView, ...]
    palms: int
    palm_score: float
    turned: float = 1.0

    @property
    def points_px(self) -> NDArray[np.float64]:
        """Median landmarks, `[21, 2]`."""
        return np.asarray(np.median([view.points_px for view in self.views], axis=0))

    @property
    def right(self) -> float:
        """Mean evidence for a right hand."""
        return sum(view.right for view in self.views) / len(self.views)

    @property
    def presence(self) -> float:
        return sum(view.presence for view in self.views) / len(self.views)

    @property
    def quality(self) -> float:
        points = self.points_px
        spread = sum(difference(view.points_px, points) for view in self.views) / len(self.views)
        return self.presence - SPREAD_COST * spread

    @property
    def is_sure(self) -> bool:
        seen_well = self.palms >= SURE_PALMS and self.palm_score >= SURE_PALM_SCORE
        return seen_well or self.quality >= SURE_QUALITY

    def is_hand(self) -> bool:
        points = self.points_px
        return (
            self.quality >= MIN_QUALITY
            and self.turned >= MIN_TURNED_PRESENCE
            and abs(self.right) >= MIN_AGREEMENT
            and longer_side(points) >= MIN_HAND_PX
            and looks_like_a_hand(points)
        )

    def to_box(self) -> HandBox:
        score = min(1.0, max(0.0, self.presence * abs(self.right)))
        return HandBox(box_of(self.points_px), self.right > 0, score)


class MediaPipeDetector:
    """Finds hands and handedness with nothing downloaded. Deterministic; one image at a time.

    Args:
        threads: that look for palms; None takes one per core, at most `MAX_THREADS`.
    """

    name = "mediapipe"

    def __init__(self, threads: int | None = None) -> None:
        count = threads or min(_cores(), MAX_THREADS)
        self._palm_models = [PalmModel(MIN_PALM_SCORE) for _ in range(count)]
        self._landmark_model = LandmarkModel()

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[HandBox]:
        """Hands of one image `[H, W, 3]`, largest first; `image_name` is not used."""
        is_turned = _left_is_darker(image_bgr)
        rgb = np.ascontiguousarray((image_bgr[:, ::-1] if is_turned else image_bgr)[:, :, ::-1])
        hands = [candidate.to_box() for candidate in self._hands(rgb)]
        if is_turned:
            hands = [_mirror(hand, image_bgr.shape[1]) for hand in hands]
        hands.sort(key=lambda hand: -_area(hand.box_xyxy))
        return valid_boxes(hands, image_bgr)

    def _hands(self, rgb: NDArray[np.uint8]) -> list[_Candidate]:
        """Hands of a picture, best first, without those that show another one again."""
        candidates: list[_Candidate] = []
        for palms in _group(self._palms(rgb)):
            candidate = self._look(rgb, palms, candidates)
            if candidate is not None:
                candidates.append(candidate)
        hands = [candidate for candidate in candidates if candidate.is_hand()]
        kept: list[_Candidate] = []
        for hand in sorted(hands, key=lambda hand: -(hand.quality + 0.02 * hand.palms)):
            if not any(_is_same(hand, other) for other in kept):
                kept.append(hand)
        return kept

    def _palms(self, rgb: NDArray[np.uint8]) -> list[Palm]:
        """Palms in all tiles, in the order of the tiles, whatever the number of threads."""
        windows = _windows(rgb.shape[1], rgb.shape[0])
        count = len(self._palm_models)

        def run(first: int) -> list[list[Palm]]:
            model = self._palm_models[first]
            return [model.run(cut(rgb, window, PALM_TILE_PX)) for window in windows[first::count]]

        if count == 1:
            return list(chain.from_iterable(run(0)))
        with ThreadPoolExecutor(count) as threads:
            found = list(threads.map(run, range(count)))
        return list(
            chain.from_iterable(found[index % count][index // count] for index in range(len(windows)))
        )

    def _look(
        self, rgb: NDArray[np.uint8], palms: Sequence[Palm], earlier: Sequence[_Candidate]
    ) -> _Candidate | None:
        """What the landmark model makes of a palm; None if it sees no hand, or one that is known and sure."""
        first = self._view(rgb, palms[0].square())
        if first.presence < MIN_FIRST_PRESENCE:
            return None
        known = [other for other in earlier if difference(first.points_px, other.points_px) < SAME_HAND]
        if any(other.is_hand() and other.is_sure for other in known):
            return None
        view = self._view(rgb, first.square())  # the palm says roughly where the hand is, its joints exactly
        if MIN_PRESENCE <= view.presence <= 0.9:
            view = self._view(rgb, view.square())
        if view.presence < MIN_PRESENCE:
            return None
        square = view.square()
        views = [view, *(self._view(rgb, square.changed(*how), mirror) for *how, mirror in VIEWS)]
        number = len(palms) + sum(other.palms for other in known)
        candidate = _Candidate(tuple(views), number, palms[0].score)
        if candidate.is_sure or candidate.quality < MIN_QUALITY:
            return candidate
        turned = [self._view(rgb, square.changed(*how), mirror).presence for *how, mirror in TURNED_VIEWS]
        return _Candidate(tuple(views), number, palms[0].score, sum(turned) / len(turned))

    def _view(self, rgb: NDArray[np.uint8], square: Square, is_mirrored: bool = False) -> HandView:
        return self._landmark_model.run(_close_up(rgb, square), square, is_mirrored)


def _windows(width: int, height: int) -> list[tuple[int, int, int, int]]:
    border = round(MARGIN * max(width, height))
    return [(-border, -border, width + border, height + border), *tile_windows(width, height, LEVELS)]


def _close_up(rgb: NDArray[np.uint8], square: Square) -> Tile:
    half = max(CLOSE_UP * square.side_px / 2, 2.0)
    (x, y) = square.centre_px
    return cut(rgb, (round(x - half), round(y - half), round(x + half), round(y + half)), CLOSE_UP_PX)


def _group(palms: Sequence[Palm]) -> list[list[Palm]]:
    """Put sightings of one palm together, the best first."""
    groups: list[list[Palm]] = []
    for palm in sorted(palms, key=lambda palm: -palm.score):
        for group in groups:
            if same_palm(palm, group[0]):
                group.append(palm)
                break
        else:
            groups.append([palm])
    return groups


def _is_same(hand: _Candidate, better: _Candidate) -> bool:
    """Whether a hand repeats a better one: nearly the same box; one inside the other on the same side with
    close joints (a left hand inside the box of a right one is a second hand); or a small part of it, such as
    a finger tip.
    """
    box, other = box_of(hand.points_px), box_of(better.points_px)
    over_union, over_smaller = overlap(box, other)
    is_inside = over_smaller > 0.7 and (hand.right > 0) == (better.right > 0)
    is_part = longer_side(hand.points_px) < 0.5 * longer_side(better.points_px)
    return (
        over_union > 0.5
        or (is_inside and difference(hand.points_px, better.points_px) < 0.4)
        or (is_part and overlap(box, grown(other, 0.1))[1] > 0.7)
    )


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _mirror(hand: HandBox, width: int) -> HandBox:
    x1, y1, x2, y2 = hand.box_xyxy
    return HandBox((width - 1 - x2, y1, width - 1 - x1, y2), not hand.is_right, hand.score)


def _left_is_darker(image_bgr: NDArray[np.uint8]) -> bool:
    """Which way round a picture is looked at; its mirror image gives the other answer (unless both are the
    same).
    """
    columns = image_bgr.sum(axis=(0, 2), dtype=np.int64)
    weights = 2 * np.arange(len(columns), dtype=np.int64) - (len(columns) - 1)
    return int((columns * weights).sum()) > 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
