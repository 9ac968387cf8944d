"""People by MediaPipe's bundled pose model, over a pyramid of tiles: it finds one person in each view.

The model runs on the whole picture, on the picture with all people found so far painted over, and on
overlapping tiles, then on a close-up of each person; only people that a close-up confirms are reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import Detection, PersonBox, valid_boxes
from shared_tmu.detect.landmarks import box_of
from shared_tmu.detect.mediapipe_graph import import_mediapipe
from shared_tmu.detect.quiet import quiet_native_stderr
from shared_tmu.detect.tiles import Tile, cut, tile_windows
from shared_tmu.masks import Silhouette

TILE_PX = 640
"""Longer side of the model's views, pixels."""

LEVELS = (2,)
"""Numbers of tiles along each side of the picture, in addition to the whole picture."""

REPEATS = 3
"""Largest number of further runs on the picture with the people found so far painted over."""

MIN_DETECTION_SCORE = 0.5
MIN_SCORE = 0.5
"""Smallest mean visibility of face, shoulders, elbows and hips of a reported person."""

MIN_VISIBILITY = 0.2
"""Smallest visibility of landmarks that are used for the box."""

HEAD = 1.0
"""Height of the head above the nose, relative to the distance from the shoulders to the nose."""

MIN_SHARE = 0.5
"""Smallest confidence of the model for a pixel of the person."""

MIN_LANDMARKS = 6
CLOSE_UP = 1.5
"""Side of a close-up, as a multiple of the person's longer side."""

MARGIN = 0.12
"""Margin of the box around the landmarks, relative to its longer side, for hair, hands and feet."""

SAME_PERSON = 0.5
"""Two views show the same person if this fraction of the smaller box lies in the other."""

MIN_PERSON_PX = 24.0

_TRUNK = (0, 2, 5, 11, 12, 13, 14, 23, 24)  # nose, eyes, shoulders, elbows, hips

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class PersonView:
    """A person found by one run of the model.

    Attributes:
        points_px: 33 landmarks in pixels of the picture, `[33, 2]`; points that are not visible are guesses.
        visibility: visibility of each landmark, 0 to 1, `[33]`.
        silhouette: the person's pixels, if the model segments.
    """

    points_px: NDArray[np.float64]
    visibility: NDArray[np.float64]
    silhouette: Silhouette | None = None

    @property
    def score(self) -> float:
        """Confidence that this is a person, 0 to 1."""
        return float(self.visibility[list(_TRUNK)].mean())

    @property
    def box(self) -> Box:
        """Box of the visible landmarks and the top of the head, with a margin."""
        nose, shoulders = self.points_px[0], self.points_px[11:13].mean(axis=0)
        top = nose + HEAD * (nose - shoulders)
        x1, y1, x2, y2 = box_of(np.vstack((self.points_px[self.visibility >= MIN_VISIBILITY], top)))
        margin = MARGIN * max(x2 - x1, y2 - y1)
        return x1 - margin, y1 - margin, x2 + margin, y2 + margin

    @property
    def seen_px(self) -> NDArray[np.float64]:
        """The visible landmarks, NaN in place of the others, `[33, 2]`."""
        points: NDArray[np.float64] = np.where(
            self.visibility[:, None] >= MIN_VISIBILITY, self.points_px, np.nan
        )
        return points

    @property
    def is_person(self) -> bool:
        """Whether enough of the person is visible, and the person is large enough."""
        if self.score < MIN_SCORE or (self.visibility >= MIN_SCORE).sum() < MIN_LANDMARKS:
            return False
        x1, y1, x2, y2 = self.box
        return max(x2 - x1, y2 - y1) >= MIN_PERSON_PX


class PoseGraph:
    """MediaPipe's pose model in still-image mode; to be used by one thread at a time.

    Args:
        segments: also segment the person's pixels.
    """

    def __init__(self, segments: bool = False) -> None:
        mediapipe = import_mediapipe()
        self._has_found = False
        with quiet_native_stderr():
            self._pose = mediapipe.solutions.pose.Pose(
                static_image_mode=True,
                model_complexity=1,
                enable_segmentation=segments,
                smooth_segmentation=False,
                min_detection_confidence=MIN_DETECTION_SCORE,
            )
            self._pose.process(np.zeros((64, 64, 3), np.uint8))  # the models load, and log this, on first use

    def run(self, tile: Tile) -> PersonView | None:
        """The person in a tile, if the model finds one."""
        # the model's last message is about the first person: silence after that could only hide others'
        with nullcontext() if self._has_found else quiet_native_stderr():
            result: Any = self._pose.process(tile.pixels)
        if result.pose_landmarks is None:
            return None
        self._has_found = True
        marks = result.pose_landmarks.landmark
        points = np.array([(mark.x, mark.y) for mark in marks], dtype=np.float64) * tile.size_px
        visibility = np.array([mark.visibility for mark in marks])
        return PersonView(tile.to_image(points), visibility, _silhouette(result.segmentation_mask, tile))


def _silhouette(share: NDArray[np.float32] | None, tile: Tile) -> Silhouette | None:
    """Pixels of a tile that the model counts as the person's, `[h, w]`."""
    if share is None:
        return None
    to_picture = np.column_stack((np.diag(tile.scale), tile.to_image(np.zeros(2))))
    return Silhouette(np.asarray(share) > MIN_SHARE, to_picture)


class MediaPipePeople:
    """Finds people without any download. Deterministic; to be used by one thread at a time.

    Args:
        segments: also segment each person's pixels.
    """

    name = "mediapipe"

    def __init__(self, segments: bool = False) -> None:
        self._graph = PoseGraph(segments)

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[PersonBox]:
        """People of one image `[H, W, 3]`, largest first; `image_name` is not used."""
        height, width = image_bgr.shape[:2]
        people: list[PersonView] = []
        for tile in self._tiles(image_bgr, people):
            view = self._graph.run(tile)
            if view is None or not view.is_person or _is_known(view, people):
                continue
            closer = self._look_again(image_bgr, view, people)
            if closer is not None and not _is_known(closer, people):
                people.append(closer)
        boxes = [
            PersonBox(
                _inside(person.box, width, height),
                min(1.0, person.score),
                person.seen_px,
                person.silhouette,
            )
            for person in people
        ]
        boxes.sort(key=lambda box: -_area(box.box_xyxy))
        return valid_boxes(boxes, image_bgr)

    def _tiles(self, image: NDArray[np.uint8], people: list[PersonView]) -> Iterator[Tile]:
        """The views to run the model on; `people` grows meanwhile."""
        height, width = image.shape[:2]
        for window in tile_windows(width, height, (1,)):  # one, except for a long picture
            before = len(people)
            yield cut(image, window, TILE_PX)
            for _ in range(REPEATS):
                if len(people) == before:
                    break
                before = len(people)
                yield _without(people, cut(image, window, TILE_PX))
        for window in tile_windows(width, height, LEVELS):
            yield cut(image, window, TILE_PX)

    def _look_again(
        self, image: NDArray[np.uint8], view: PersonView, people: list[PersonView]
    ) -> PersonView | None:
        """The same person in a close-up, with the others painted over; None if the model does not find the
        person again.
        """
        x1, y1, x2, y2 = view.box
        x, y, half = (x1 + x2) / 2, (y1 + y2) / 2, CLOSE_UP * max(x2 - x1, y2 - y1) / 2
        window = (round(x - half), round(y - half), round(x + half), round(y + half))
        closer = self._graph.run(_without(people, cut(image, window, TILE_PX)))
        if closer is None or not closer.is_person or not _is_known(closer, [view]):
            return None
        return closer


def overlap_of_smaller(a: Box, b: Box) -> float:
    """The fraction of the smaller box that lies in the other one, 0 to 1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0) / max(min(_area(a), _area(b)), 1e-9)


def _is_known(view: PersonView, people: list[PersonView]) -> bool:
    return any(overlap_of_smaller(view.box, person.box) >= SAME_PERSON for person in people)


def _without(people: list[PersonView], tile: Tile) -> Tile:
    """A tile with people painted over."""
    for person in people:
        corners = np.reshape(person.box, (2, 2))
        shown = np.rint(tile.of_image(corners))
        (x1, y1), (x2, y2) = np.add(shown, ((0, 0), (1, 1))).clip(0).astype(int)
        tile.pixels[y1:y2, x1:x2] = 128
    return tile


def _inside(box: Box, width: int, height: int) -> Box:
    x1, y1, x2, y2 = box
    return max(x1, 0.0), max(y1, 0.0), min(x2, width - 1.0), min(y2, height - 1.0)


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
