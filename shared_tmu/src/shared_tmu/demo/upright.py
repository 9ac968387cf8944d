"""Converts decoded frames to pictures: 8-bit BGR, upright, with square pixels."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

WIDEST_PIXEL = 10
"""Largest plausible ratio of a pixel's sides; a file that states a larger one is wrong."""

_SQUARE = Fraction(1)


def pixel_aspect(stream: Any) -> Fraction:
    """Width of a stream's pixels divided by their height."""
    told = stream.sample_aspect_ratio or _SQUARE
    return told if Fraction(1, WIDEST_PIXEL) <= told <= WIDEST_PIXEL else _SQUARE


def shown_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Size with square pixels: the shorter side is enlarged, so that no detail is lost."""
    if aspect >= 1:
        return round(width * aspect), height
    return width, round(height / aspect)


def upright(frame: Any, aspect: Fraction) -> Image:
    """The picture of a frame, `[H, W, 3]`, BGR.

    Args:
        frame: PyAV's.
        aspect: width of its pixels divided by their height.
    """
    width, height = shown_size(frame.width, frame.height, aspect)
    picture = frame.to_ndarray(format="bgr24", width=width, height=height, interpolation="BICUBIC")
    return np.ascontiguousarray(_turned(np.asarray(picture, np.uint8), _matrix(frame)))


def fitted(picture: Image, size_px: tuple[int, int]) -> Image:
    """A picture scaled to fit `size_px` (width and height), centred on black."""
    height, width = picture.shape[:2]
    if (width, height) == size_px:
        return picture
    import cv2

    factor = min(size_px[0] / width, size_px[1] / height)
    small = max(1, round(width * factor)), max(1, round(height * factor))
    area = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    left, top = (size_px[0] - small[0]) // 2, (size_px[1] - small[1]) // 2
    whole = np.zeros((size_px[1], size_px[0], 3), np.uint8)
    whole[top : top + small[1], left : left + small[0]] = cv2.resize(picture, small, interpolation=area)
    return whole


def _matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """a, b, c, d of the frame's display matrix: it shows (x, y) at (ax + cy, bx + dy)."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            values = np.frombuffer(bytes(data), np.int32)
            return int(values[0]), int(values[1]), int(values[3]), int(values[4])
    return None


def _turned(picture: Image, matrix: tuple[int, int, int, int] | None) -> Image:
    """The picture rotated by quarter turns and mirrored, whichever is nearest to the matrix."""
    if matrix is None or not any(matrix):
        return picture
    a, b, c, d = matrix
    if abs(b) > abs(a):
        picture, across, down = picture.transpose(1, 0, 2), c, b
    else:
        across, down = a, d
    return picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
