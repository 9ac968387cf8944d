"""Hands by MediaPipe's bundled palm and landmark models, run over a pyramid of tiles.

How a hand comes to be reported:

1. Tiles (the whole picture with three margins, 2 x 2, 3 x 3, 4 x 4; the large ones also mirrored) propose
   hands.
2. Proposals of one hand are grouped by their landmarks.
3. Close-ups around each group look for the same hand again, at other scales, mirrored and turned. A hand
   counts if tiles and close-ups together saw it often enough, agree on which hand it is and where its joints
   are, and the joints are shaped like a hand's.
4. Box and handedness are the median and the vote over all its views; of two hands that overlap too much, the
   one seen more often stays.

A mirrored photograph gives exactly the mirrored hands: every picture is first turned so that its left half is
the brighter one, and the result turned back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import Detection, HandBox, valid_boxes
from shared_tmu.detect.landmarks import (
    SAME_HAND,
    HandGroup,
    HandView,
    box_of,
    difference,
    group_views,
    longer_side,
    looks_like_a_hand,
    overlap,
)
from shared_tmu.detect.mediapipe_graph import HandGraph
from shared_tmu.detect.tiles import Tile, cut, tile_windows

MARGINS = (0.0, 0.2, 0.5)
"""Black borders around the whole picture, as parts of its longer side: palms at the border need one to be
found.
"""

LEVELS = (2, 3, 4)
MIRRORED_LEVELS = (2,)
TILE_PX = 512
"""Tiles are shown to the models at most this large: the palm model sees 192 px, the landmark model a hand in
224.
"""

LOOKS = (
    (2.2, False, 0),
    (3.0, True, 0),
    (1.7, False, 1),
    (1.3, False, 0),
    (4.0, False, 0),
    (2.2, True, 1),
    (3.0, False, 3),
    (4.0, True, 1),
    (6.0, False, 0),
    (8.0, True, 0),
)
"""Close-ups: side as a multiple of the hand's longer side, mirrored or not, quarter turns."""

MIN_EVIDENCE = 5
"""Tiles and close-ups that must have seen a hand, together..."""

MIN_TILES = 3
"""... or this many tiles alone: of two hands that cross, close-ups show only the one in front."""

ENOUGH_EVIDENCE = 9
"""No further close-ups once this many have seen it, and `MIN_LOOKS` were taken."""

MIN_LOOKS = 3
MIN_AGREEMENT = 0.3
"""Smallest mean evidence, over views, for a right or a left hand."""

MAX_SPREAD = 0.13
"""Largest mean difference of the views' landmarks from their median, as a part of the hand's longer side."""

MIN_HAND_PX = 12.0
"""Hands smaller than this (longer side in pixels) are not reported."""


@dataclass(frozen=True)
class _Candidate:
    """A hand, how many tiles saw it, and how many tiles and close-ups together."""

    group: HandGroup
    tiles: int
    evidence: int

    def is_hand(self) -> bool:
        points = self.group.points_px
        spread = float(np.mean([difference(view.points_px, points) for view in self.group.views]))
        return (
            (self.evidence >= MIN_EVIDENCE or self.tiles >= MIN_TILES)
            and abs(self.group.right) / len(self.group.views) >= MIN_AGREEMENT
            and spread <= MAX_SPREAD
            and longer_side(points) >= MIN_HAND_PX
            and looks_like_a_hand(points)
        )

    def to_box(self) -> HandBox:
        agreement = abs(self.group.right) / len(self.group.views)
        score = agreement * min(1.0, self.evidence / ENOUGH_EVIDENCE)
        return HandBox(box_of(self.group.points_px), self.group.right > 0, min(1.0, score))


class MediaPipeDetector:
    """Finds hands and handedness with nothing downloaded. Deterministic; one thread at a time."""

    name = "mediapipe"

    def __init__(self) -> None:
        self._graph = HandGraph()

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[HandBox]:
        """Hands of one image `[H, W, 3]`, largest first; `image_name` is not used."""
        is_turned = _left_is_darker(image_bgr)
        rgb = np.ascontiguousarray((image_bgr[:, ::-1] if is_turned else image_bgr)[:, :, ::-1])
        hands = [candidate.to_box() for candidate in self._candidates(rgb)]
        if is_turned:
            hands = [_mirror(hand, image_bgr.shape[1]) for hand in hands]
        hands.sort(key=lambda hand: -_area(hand.box_xyxy))
        return valid_boxes(hands, image_bgr)

    def _candidates(self, rgb: NDArray[np.uint8]) -> list[_Candidate]:
        """Hands of a picture, best supported first, without those that show another one again."""
        tile_of: dict[int, int] = {}
        views: list[HandView] = []
        for number, (tile, both_ways) in enumerate(_proposal_tiles(rgb)):
            for is_mirrored in (False, True)[: 1 + both_ways]:
                seen = self._graph.run(tile, is_mirrored)
                tile_of.update({id(view): number for view in seen})
                views += seen
        candidates = []
        for group in group_views(views):
            tiles = len({tile_of[id(view)] for view in group.views})
            candidates.append(self._look_again(rgb, group, tiles))
        candidates = sorted((c for c in candidates if c.is_hand()), key=lambda c: -c.evidence)
        kept: list[_Candidate] = []
        for candidate in candidates:
            if not any(_is_same(candidate.group, other.group) for other in kept):
                kept.append(candidate)
        return kept

    def _look_again(self, rgb: NDArray[np.uint8], group: HandGroup, tiles: int) -> _Candidate:
        """Count in how many close-ups the group's hand is seen again, and take those views in."""
        height, width = rgb.shape[:2]
        points = group.points_px
        x1, y1, x2, y2 = box_of(points)
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        seen: list[HandView] = []
        for taken, (factor, is_mirrored, quarter_turns) in enumerate(LOOKS):
            if taken >= MIN_LOOKS and tiles + len(seen) >= ENOUGH_EVIDENCE:
                break
            half = factor * max(longer_side(points), MIN_HAND_PX) / 2
            window = (round(x - half), round(y - half), round(x + half), round(y + half))
            if window[2] <= 0 or window[3] <= 0 or window[0] >= width or window[1] >= height:
                break
            views = self._graph.run(cut(rgb, window, TILE_PX), is_mirrored, quarter_turns)
            best = min(views, key=lambda view: difference(view.points_px, points), default=None)
            if best is not None and difference(best.points_px, points) < SAME_HAND:
                seen.append(best)
        return _Candidate(HandGroup(group.views + seen), tiles, tiles + len(seen))


def _proposal_tiles(rgb: NDArray[np.uint8]) -> Iterator[tuple[Tile, bool]]:
    """Tiles, and whether each is to be looked at mirrored too."""
    height, width = rgb.shape[:2]
    for margin in MARGINS:
        border = round(margin * max(width, height))
        yield cut(rgb, (-border, -border, width + border, height + border), TILE_PX), True
    for level in LEVELS:
        for window in tile_windows(width, height, (level,)):
            yield cut(rgb, window, TILE_PX), level in MIRRORED_LEVELS


def _is_same(a: HandGroup, b: HandGroup) -> bool:
    """Whether two groups report one hand twice: nearly the same box, or one inside the other on the same side
    with close landmarks. (A left hand inside the box of a right one is a second hand.)
    """
    over_union, over_smaller = overlap(box_of(a.points_px), box_of(b.points_px))
    is_inside = over_smaller > 0.7 and (a.right > 0) == (b.right > 0)
    return over_union > 0.5 or (is_inside and difference(a.points_px, b.points_px) < 0.4)


def _area(box: tuple[float, float, float, float]) -> float:
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
