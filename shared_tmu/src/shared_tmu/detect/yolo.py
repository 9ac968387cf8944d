"""Hands by a YOLO hand detector in ultralytics' format (WiLoR's `detector.pt`), when its file is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import Detection, HandBox, valid_boxes
from shared_tmu.errors import MissingAssetError, MissingDependencyError

MIN_SCORE = 0.3
FILE_NAME = "detector.pt"


class YoloDetector:
    """Boxes and handedness from one network: class 1 is a right hand, class 0 a left one.

    ultralytics unpickles the file, which runs code from it: use only a file you trust.
    """

    name = "yolo"

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        if not weights.is_file():
            raise MissingAssetError(
                f"the yolo detector was asked for, but {weights} is not there: put WiLoR's {FILE_NAME} "
                "into that folder, name another with --detector_dir, or use --detector mediapipe, which "
                "needs no files."
            )
        try:
            from ultralytics import YOLO
        except ImportError as error:
            raise MissingDependencyError(
                "the yolo detector was asked for, but the package ultralytics is not installed: pip install "
                "ultralytics, or use --detector mediapipe."
            ) from error
        self._model = YOLO(str(weights))
        self._device = device

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[HandBox]:
        """Hands of one image `[H, W, 3]` with a score above `MIN_SCORE`, best first; `image_name` is not
        used.
        """
        found = self._model.predict(image_bgr, conf=MIN_SCORE, verbose=False, device=self._device)[0].boxes
        boxes = np.asarray(found.xyxy.cpu(), dtype=np.float64).reshape(-1, 4)
        sides = np.asarray(found.cls.cpu()).reshape(-1)
        scores = np.asarray(found.conf.cpu()).reshape(-1)
        hands = [
            HandBox((float(x1), float(y1), float(x2), float(y2)), bool(side > 0.5), float(score))
            for (x1, y1, x2, y2), side, score in zip(boxes, sides, scores, strict=True)
        ]
        return valid_boxes(hands, image_bgr)
