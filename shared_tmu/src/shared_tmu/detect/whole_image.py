"""The picture itself is the hand's box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import Detection, HandBox


class WholeImageDetector:
    """One right hand that fills the image; for pictures that are already cropped to a hand.

    Convention: pixel centres are at whole numbers, so the box of an image of width W runs from 0 to W - 1 and
    its centre stays in the middle when the picture is mirrored.
    """

    name = "whole-image"

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[HandBox]:
        """The box of the whole image, right hand, score 1; a 1-pixel side still gets a box of one pixel."""
        height, width = image_bgr.shape[:2]
        return Detection(
            (HandBox((0.0, 0.0, float(max(width - 1, 1)), float(max(height - 1, 1))), True, 1.0),)
        )
