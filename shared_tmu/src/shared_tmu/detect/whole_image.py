"""Uses the whole picture as the box of a hand or a person."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import Detection, HandBox, PersonBox


class WholeImageDetector:
    """Reports one right hand, or one person, that fills the image; for pictures that are already cropped.

    Convention: pixel centres are at whole numbers, so the box of an image of width W runs from 0 to W - 1 and
    its centre stays in the middle when the picture is mirrored.
    """

    name = "whole-image"

    def __init__(self, of_people: bool = False) -> None:
        self.of_people = of_people

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[Any]:
        """The box of the whole image, score 1; a side of 1 pixel gives a box of one pixel."""
        height, width = image_bgr.shape[:2]
        box = (0.0, 0.0, float(max(width - 1, 1)), float(max(height - 1, 1)))
        return Detection((PersonBox(box) if self.of_people else HandBox(box, True),))
