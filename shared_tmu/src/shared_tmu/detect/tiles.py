"""A pyramid of overlapping tiles, so that hands that are small in a picture become large in one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OVERLAP = 0.3
"""Fraction of a tile that its neighbour also shows."""


LONGEST = 2.0
"""Largest ratio of a tile's sides: a long picture has more tiles along its longer side."""

MIN_TILE_PX = 128
"""Smallest tile of long pictures: models see tiles at about this size."""


@dataclass(frozen=True)
class Tile:
    """A window of an image, shown at some scale.

    Convention: pixel centres are at integers, in the image and in the tile. MediaPipe's models and their own
    graphs count in the same way: a fraction of a tile, times its width, is the place of a pixel's centre.

    Attributes:
        pixels: `[h, w, 3]` uint8, RGB; black where the window extends beyond the image.
        origin_px: image coordinates (x, y) of the window's top left pixel, at the image's scale.
        scale: image pixels per tile pixel, (horizontal, vertical).
    """

    pixels: NDArray[np.uint8]
    origin_px: tuple[float, float]
    scale: tuple[float, float]

    def to_image(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert points from pixels of the tile, `[K, 2]`, to pixels of the image."""
        return np.asarray((points + 0.5) * self.scale - 0.5 + self.origin_px)

    def of_image(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert points from pixels of the image, `[K, 2]`, to pixels of the tile."""
        return np.asarray((points + 0.5 - self.origin_px) / self.scale - 0.5)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height, in pixels of the tile."""
        height, width = self.pixels.shape[:2]
        return width, height


def tile_windows(width: int, height: int, levels: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Windows (x0, y0, x1, y1): for each level n, n x n tiles that overlap by `OVERLAP` and cover the image.

    If the longer side of an image is more than `LONGEST` times the shorter one, it has n tiles along the
    shorter side, and along the longer side as many as keep each tile's ratio at `LONGEST`: then level 1 has
    several tiles too. Mirroring the image mirrors the windows. Windows smaller than 2 pixels are left out.
    """
    windows = []
    for count in levels:
        columns, rows = _counts(width, height, count)
        windows += [(x0, y0, x1, y1) for y0, y1 in _spans(height, rows) for x0, x1 in _spans(width, columns)]
    return [w for w in windows if w[2] - w[0] >= 2 and w[3] - w[1] >= 2]


def _counts(width: int, height: int, count: int) -> tuple[int, int]:
    """Tiles along the width and along the height."""
    longer, shorter = max(width, height), min(width, height)
    if longer <= LONGEST * shorter:
        return count, count
    if count > 1 and _tile_side(shorter, count) < MIN_TILE_PX:
        return 0, 0
    side = max(LONGEST * _tile_side(shorter, count), MIN_TILE_PX)
    along = max(count, math.ceil((longer / side - OVERLAP) / (1 - OVERLAP)))
    return (along, count) if width > height else (count, along)


def _tile_side(length: int, count: int) -> float:
    return length / (count - (count - 1) * OVERLAP)


def _spans(length: int, count: int) -> list[tuple[int, int]]:
    if not count:
        return []
    size = _tile_side(length, count)
    spans = []
    for index in range(count):
        start = index * size * (1 - OVERLAP)
        spans.append((max(0, round(start)), min(length, round(start + size))))
    return spans


def cut(image: NDArray[np.uint8], window: tuple[int, int, int, int], shown_px: int) -> Tile:
    """Cut a window out of an image `[H, W, 3]`, BGR, and scale its longer side to at most `shown_px`; the
    window may extend beyond the image.
    """
    import cv2

    height, width = image.shape[:2]
    x0, y0, x1, y1 = window
    inside = image[max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    factor = min(1.0, shown_px / max(x1 - x0, y1 - y0))
    if factor < 1.0:
        size = (max(1, round(inside.shape[1] * factor)), max(1, round(inside.shape[0] * factor)))
        scale = (inside.shape[1] / size[0], inside.shape[0] / size[1])
        inside = np.asarray(cv2.resize(inside, size, interpolation=cv2.INTER_AREA), np.uint8)
    else:
        scale = (1.0, 1.0)
    left, top = round((max(x0, 0) - x0) / scale[0]), round((max(y0, 0) - y0) / scale[1])
    right, bottom = round((x1 - min(x1, width)) / scale[0]), round((y1 - min(y1, height)) / scale[1])
    right, bottom = max(right, 0), max(bottom, 0)
    if left or top or right or bottom:
        bordered = cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_CONSTANT)
        inside = np.asarray(bordered, np.uint8)
    origin = (max(x0, 0) - left * scale[0], max(y0, 0) - top * scale[1])
    return Tile(np.ascontiguousarray(inside[:, :, ::-1]), origin, scale)
