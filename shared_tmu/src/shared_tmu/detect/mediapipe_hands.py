"""Hands by MediaPipe's palm and landmark models, run over a pyramid of tiles, in MediaPipe or in LiteRT.

How hands are found:

1. The palm model runs on the whole picture with a margin and on 2 x 2, 3 x 3 and 4 x 4 overlapping tiles, in
several threads; a long picture has more tiles along its longer side, also instead of the whole. Sightings of
the same palm are grouped.
2. The landmark model runs on each group, first once, then on close-ups if it finds a hand (`close_looks`).
3. If two hands overlap too much, the better supported one is kept.

A mirrored photograph gives exactly the mirrored hands: a picture whose right half is brighter is mirrored
first, and the result is mirrored back.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import Detection, HandBox, valid_boxes
from shared_tmu.detect.close_looks import Candidate, CloseLooks
from shared_tmu.detect.landmarks import (
    Box,
    JointFinder,
    Palm,
    PalmFinder,
    box_of,
    difference,
    grown,
    longer_side,
    overlap,
    same_palm,
)
from shared_tmu.detect.litert_files import read_files
from shared_tmu.detect.litert_models import LiteRTLandmarkModel, LiteRTPalmModel
from shared_tmu.detect.mediapipe_graph import LandmarkModel, PalmModel
from shared_tmu.detect.tiles import cut, tile_windows

MARGIN = 0.2
"""Black border around the whole picture, as a fraction of its longer side: palms at the edge need it."""

LEVELS = (2, 3, 4)
"""Numbers of tiles along each side of the picture, in addition to the whole picture."""

PALM_TILE_PX = 256
"""Longer side of the tiles in pixels; the input of the palm model has 192."""

MIN_PALM_SCORE = 0.4
MAX_THREADS = 4


class TiledHands:
    """Finds hands, left or right. Deterministic; one image at a time.

    Args:
        palms, joints: the two models, once for each thread that processes tiles and hands.
    """

    name = "tiled"

    def __init__(self, palms: Sequence[PalmFinder], joints: Sequence[JointFinder]) -> None:
        self._palm_models, self._looks = palms, CloseLooks(joints)

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[HandBox]:
        """Hands of one image `[H, W, 3]`, with landmarks, largest first; `image_name` is not used."""
        is_turned = _left_is_darker(image_bgr)
        image = np.ascontiguousarray(image_bgr[:, ::-1]) if is_turned else image_bgr
        hands = [candidate.to_box() for candidate in self._hands(image)]
        if is_turned:
            hands = [_mirror(hand, image_bgr.shape[1]) for hand in hands]
        return valid_boxes(sorted(hands, key=lambda hand: -_area(hand.box_xyxy)), image_bgr)

    def _hands(self, image: NDArray[np.uint8]) -> list[Candidate]:
        """Hands of a picture, best first, without duplicates."""
        candidates = self._looks.candidates(image, _group(self._palms(image)))
        hands = [candidate for candidate in candidates if candidate.is_hand()]
        kept: list[Candidate] = []
        for hand in sorted(hands, key=lambda hand: -(hand.quality + 0.02 * hand.palms)):
            if not any(_is_same(hand, other) for other in kept):
                kept.append(hand)
        return kept

    def _palms(self, image: NDArray[np.uint8]) -> list[Palm]:
        """Palms in all tiles, in the order of the tiles for any number of threads."""
        windows = _windows(image.shape[1], image.shape[0])
        count = len(self._palm_models)

        def run(first: int) -> list[list[Palm]]:
            model = self._palm_models[first]
            return [model.run(cut(image, window, PALM_TILE_PX)) for window in windows[first::count]]

        if count == 1:
            return list(chain.from_iterable(run(0)))
        with ThreadPoolExecutor(count) as threads:
            found = list(threads.map(run, range(count)))
        return list(
            chain.from_iterable(found[index % count][index // count] for index in range(len(windows)))
        )


class MediaPipeDetector(TiledHands):
    """The two models in MediaPipe's own graphs; nothing to download.

    Args:
        threads: how many; None for one per core, at most `MAX_THREADS`.

    Raises:
        MissingDependencyError: MediaPipe is not installed, or a version without graphs.
    """

    name = "mediapipe"

    def __init__(self, threads: int | None = None) -> None:
        count = range(thread_count(threads))
        super().__init__([PalmModel(MIN_PALM_SCORE) for _ in count], [LandmarkModel() for _ in count])


class LiteRTDetector(TiledHands):
    """The same models run by LiteRT, where MediaPipe cannot be installed.

    Args:
        folder: of detector files; see `litert_files`.
        threads: as above.

    Raises:
        MissingAssetError: the models are not there.
        MissingDependencyError: LiteRT is not installed.
        InputError: the files are not the ones that were measured.
    """

    name = "litert"

    def __init__(self, folder: Path | None, threads: int | None = None) -> None:
        files, count = read_files(folder), range(thread_count(threads))
        palms = [LiteRTPalmModel(files.palm, MIN_PALM_SCORE) for _ in count]
        super().__init__(palms, [LiteRTLandmarkModel(files.hand) for _ in count])


def thread_count(asked: int | None) -> int:
    """How many threads find hands."""
    return asked or min(_cores(), MAX_THREADS)


def _windows(width: int, height: int) -> list[tuple[int, int, int, int]]:
    windows = []
    for x0, y0, x1, y1 in tile_windows(width, height, (1,)) or [(0, 0, width, height)]:
        border = round(MARGIN * max(x1 - x0, y1 - y0))
        windows.append((x0 - border, y0 - border, x1 + border, y1 + border))
    return [*windows, *tile_windows(width, height, LEVELS)]


def _group(palms: Sequence[Palm]) -> list[list[Palm]]:
    """Group sightings of the same palm, the best first."""
    groups: list[list[Palm]] = []
    for palm in sorted(palms, key=lambda palm: -palm.score):
        for group in groups:
            if same_palm(palm, group[0]):
                group.append(palm)
                break
        else:
            groups.append([palm])
    return groups


def _is_same(hand: Candidate, better: Candidate) -> bool:
    """Whether a hand repeats a better one: it has nearly the same box; or one box is inside the other, both
    are left or both right, and joints are close (a left hand inside the box of a right hand is a second
    hand); or it is a small part of the better one, such as a finger tip.
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
    points = hand.landmarks_px
    mirrored = None if points is None else points * (-1.0, 1.0) + (width - 1.0, 0.0)
    return HandBox((width - 1 - x2, y1, width - 1 - x1, y2), not hand.is_right, hand.score, mirrored)


def _left_is_darker(image_bgr: NDArray[np.uint8]) -> bool:
    """Whether to mirror a picture before detection; the answer for its mirror image is the opposite (unless
    the two are equal).
    """
    columns = image_bgr.sum(axis=(0, 2), dtype=np.int64)
    weights = 2 * np.arange(len(columns), dtype=np.int64) - (len(columns) - 1)
    return int((columns * weights).sum()) > 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
