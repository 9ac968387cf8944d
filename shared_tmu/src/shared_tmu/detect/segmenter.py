"""Which pixels are whose, by a YOLO segmentation network in ultralytics' format: for people whom any detector
has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import Detection, Detector, PersonBox, shared_part
from shared_tmu.detect.yolo import PERSON, load_yolo, require_people
from shared_tmu.masks import Silhouette

FILE_NAME = "yolo11n-seg.pt"
"""FastHMR's choice at inference."""

MIN_SCORE = 0.3
SAME_PERSON = 0.3
"""A box and a segment belong to one person if their boxes share at least this part of their union."""


class YoloSegmenter:
    """Segments people with a network trained on COCO.

    Args:
        weights: its file; ultralytics unpickles it, so use only one that you trust.
        device: where it runs.

    Raises:
        MissingAssetError: the file is not there.
        MissingDependencyError: ultralytics is not installed.
        CheckpointError: the file has other classes.
    """

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        self._model = load_yolo(weights, f"ultralytics' {FILE_NAME}")
        require_people(self._model, weights)
        self._device = device

    def segment(self, image_bgr: NDArray[np.uint8]) -> list[tuple[NDArray[np.float64], Silhouette]]:
        """Box (x1, y1, x2, y2) and pixels of everybody in an image `[H, W, 3]`."""
        result = self._model.predict(
            image_bgr, conf=MIN_SCORE, classes=[PERSON], retina_masks=True, verbose=False, device=self._device
        )[0]
        if result.masks is None:
            return []
        boxes = np.asarray(result.boxes.xyxy.cpu(), np.float64).reshape(-1, 4)
        return [
            (box, _cut_out(np.asarray(mask.cpu()) > 0.5))
            for box, mask in zip(boxes, result.masks.data, strict=True)
        ]


def _cut_out(mask: NDArray[np.bool_]) -> Silhouette:
    """The part of a picture's mask `[H, W]` in which there is something."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return Silhouette(np.zeros((1, 1), bool), np.eye(2, 3))
    top, left = rows[0], columns[0]
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1].copy()
    return Silhouette(part, np.array(((1.0, 0.0, left), (0.0, 1.0, top))))


class Segmented:
    """A detector of people whose boxes also say which pixels are whose.

    Args:
        detector: finds them.
        segmenter: says whose pixels are whose; people whom it does not see have no silhouette.
    """

    def __init__(self, detector: Detector, segmenter: YoloSegmenter) -> None:
        self.detector, self.segmenter = detector, segmenter
        self.name = detector.name

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[PersonBox]:
        """See `Detector`."""
        found = self.detector.detect(image_bgr, image_name)
        segments = self.segmenter.segment(image_bgr) if found.boxes else []
        boxes = [replace(box, silhouette=_matching(box.box_xyxy, segments)) for box in found.boxes]
        return Detection(tuple(boxes), found.problems)


def finder(detector: Detector) -> Detector:
    """The detector that finds people, without the network that segments them."""
    return detector.detector if isinstance(detector, Segmented) else detector


def _matching(
    box: Sequence[float], segments: Sequence[tuple[NDArray[np.float64], Silhouette]]
) -> Silhouette | None:
    """The segment whose box shares most with another; None if none shares enough."""
    shares = [shared_part(box, of) for of, _ in segments]
    best = int(np.argmax(shares)) if shares else 0
    return segments[best][1] if shares and shares[best] >= SAME_PERSON else None
