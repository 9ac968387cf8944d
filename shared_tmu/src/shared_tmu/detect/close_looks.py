"""Confirms hand candidates with MediaPipe's landmark model, run on close-ups (views) in several threads.

The model first runs once on each palm. If it finds no hand, the candidate is dropped. Otherwise it runs again
on the hand that it found, mirrored, rotated and at other scales. A hand is accepted if the model is confident
in every view, the joints stay in place and form a hand, and all views agree on left or right. If few tiles
showed the palm, the hand must also be found in views rotated sideways and upside down, in which the model
rejects false positives such as knees and stones. Joints are the median over the views; left or right is their
majority.

Independent views run at the same time: first the first views of all palms, then the second views of all
hands, and so on. The result does not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import HandBox
from shared_tmu.detect.landmarks import (
    HandView,
    JointFinder,
    Palm,
    Square,
    box_of,
    difference,
    longer_side,
    looks_like_a_hand,
)
from shared_tmu.detect.tiles import Tile, cut

CLOSE_UP_PX = 320
CLOSE_UP = 1.5
"""Side of a close-up, as a multiple of the side of the landmark model's square, which has 224 px in it: the
square fits at every rotation.
"""

MIN_FIRST_PRESENCE = 0.2
MIN_PRESENCE = 0.5
SURE_PRESENCE = 0.9
"""From `MIN_PRESENCE` up to this presence, the model runs again on the hand that it found."""

VIEWS = ((1.0, 0.0, True), (1.15, 0.35, False), (0.9, -0.35, True))
"""Further views of a hand: scale, rotation in radians, mirrored or not."""

TURNED_VIEWS = ((1.2, math.pi / 2, True), (1.1, math.pi, False))
MIN_TURNED_PRESENCE = 0.3

SPREAD_COST = 5.0
"""Weight of the spread in a hand's quality: mean presence minus this weight times the spread of its views
relative to its size.
"""

MIN_QUALITY = 0.4
SURE_QUALITY = 0.85
SURE_PALMS = 2
SURE_PALM_SCORE = 0.8
"""With this quality, or this many sightings of which one has this score, a hand needs no rotated views."""

MIN_AGREEMENT = 0.3
"""Smallest mean evidence over the views for left or right."""

SAME_HAND = 0.25
MIN_HAND_PX = 12.0
"""Hands smaller than this (longer side in pixels) are not reported."""

Image = NDArray[np.uint8]
Look = tuple[Square, bool]
"""A square, and whether the model sees it mirrored."""


@dataclass(frozen=True)
class Candidate:
    """A candidate for a hand.

    Attributes:
        views: results of the landmark model.
        palms: number of sightings of its palm, including those of an earlier candidate at the same place.
        palm_score: best score of the sightings.
        turned: mean presence in the rotated views; 1 if none were needed.
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
        """Mean over views."""
        return sum(view.presence for view in self.views) / len(self.views)

    @property
    def quality(self) -> float:
        """Mean presence, reduced by the differences between views."""
        points = self.points_px
        spread = sum(difference(view.points_px, points) for view in self.views) / len(self.views)
        return self.presence - SPREAD_COST * spread

    @property
    def is_sure(self) -> bool:
        """Whether no rotated views are needed."""
        seen_well = self.palms >= SURE_PALMS and self.palm_score >= SURE_PALM_SCORE
        return seen_well or self.quality >= SURE_QUALITY

    def is_hand(self) -> bool:
        """Whether to report it."""
        points = self.points_px
        return (
            self.quality >= MIN_QUALITY
            and self.turned >= MIN_TURNED_PRESENCE
            and abs(self.right) >= MIN_AGREEMENT
            and longer_side(points) >= MIN_HAND_PX
            and looks_like_a_hand(points)
        )

    def to_box(self) -> HandBox:
        """The hand in the form that detectors report."""
        score, points = min(1.0, max(0.0, self.presence * abs(self.right))), self.points_px
        return HandBox(box_of(points), self.right > 0, score, points)


class CloseLooks:
    """Checks palms, one picture at a time.

    Args:
        models: landmark models, each used by one thread at a time.
    """

    def __init__(self, models: Sequence[JointFinder]) -> None:
        self._count = len(models)
        self._free: SimpleQueue[JointFinder] = SimpleQueue()
        for model in models:
            self._free.put(model)

    def candidates(self, image: Image, groups: Sequence[Sequence[Palm]]) -> list[Candidate]:
        """Candidates for hands.

        Args:
            image: the picture `[H, W, 3]`, BGR.
            groups: sightings of one palm each, the best first; the result has the same order.
        """
        with ThreadPoolExecutor(self._count) as threads:
            return _Looks(self, threads, image).candidates(groups)

    def view(self, image: Image, look: Look) -> HandView:
        """One run of a landmark model."""
        square, is_mirrored = look
        model = self._free.get()
        try:
            return model.run(_close_up(image, square), square, is_mirrored)
        finally:
            self._free.put(model)


class _Looks:
    """Checks the palms of one picture."""

    def __init__(self, looks: CloseLooks, threads: ThreadPoolExecutor, image: Image) -> None:
        self._looks, self._threads, self._image = looks, threads, image

    def candidates(self, groups: Sequence[Sequence[Palm]]) -> list[Candidate]:
        firsts = self._all([(palms[0].square(), False) for palms in groups])
        seen = [(palms, first) for palms, first in zip(groups, firsts, strict=True) if _may_be(first)]
        # A group at the place of an earlier one is usually the same hand: it waits for the earlier result.
        own = [index for index, (_, first) in enumerate(seen) if not _is_near(first, seen[:index])]
        views = dict(zip(own, self._views([seen[index][1] for index in own]), strict=True))
        found: list[Candidate] = []
        for index, (palms, first) in enumerate(seen):
            known = [other for other in found if difference(first.points_px, other.points_px) < SAME_HAND]
            if any(other.is_hand() and other.is_sure for other in known):
                continue
            these = views[index] if index in views else self._views([first])[0]
            if these:
                number = len(palms) + sum(other.palms for other in known)
                found.append(self._turned(Candidate(these, number, palms[0].score)))
        return found

    def _views(self, firsts: Sequence[HandView]) -> list[tuple[HandView, ...]]:
        """All views of each hand except the rotated ones; none if it is found not to be a hand."""
        # the palm gives the hand's place roughly, the joints give it exactly
        views = self._all([(first.square(), False) for first in firsts])
        unsure = [index for index, view in enumerate(views) if MIN_PRESENCE <= view.presence <= SURE_PRESENCE]
        again = self._all([(views[index].square(), False) for index in unsure])
        for index, view in zip(unsure, again, strict=True):
            views[index] = view
        hands = [index for index, view in enumerate(views) if view.presence >= MIN_PRESENCE]
        squares = [views[index].square() for index in hands]
        more = iter(
            self._all([(square.changed(*how), mirror) for square in squares for *how, mirror in VIEWS])
        )
        all_views: list[tuple[HandView, ...]] = [() for _ in firsts]
        for index in hands:
            all_views[index] = (views[index], *(next(more) for _ in VIEWS))
        return all_views

    def _turned(self, candidate: Candidate) -> Candidate:
        if candidate.is_sure or candidate.quality < MIN_QUALITY:
            return candidate
        square = candidate.views[0].square()
        turned = self._all([(square.changed(*how), mirror) for *how, mirror in TURNED_VIEWS])
        return replace(candidate, turned=sum(view.presence for view in turned) / len(turned))

    def _all(self, looks: Sequence[Look]) -> list[HandView]:
        return list(self._threads.map(lambda look: self._looks.view(self._image, look), looks))


def _may_be(first: HandView) -> bool:
    return first.presence >= MIN_FIRST_PRESENCE


def _is_near(first: HandView, others: Sequence[tuple[Sequence[Palm], HandView]]) -> bool:
    return any(difference(first.points_px, other.points_px) < SAME_HAND for _, other in others)


def _close_up(image: Image, square: Square) -> Tile:
    half = max(CLOSE_UP * square.side_px / 2, 2.0)
    (x, y) = square.centre_px
    return cut(image, (round(x - half), round(y - half), round(x + half), round(y + half)), CLOSE_UP_PX)
