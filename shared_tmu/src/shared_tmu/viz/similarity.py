"""How similar the layers of a model are, as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError

_WHITE, _UNKNOWN = 255, 160
_STEPS = (1, 2, 5, 10, 20, 50)  # possible ones between numbers at the edges
_ROOM_PX = 24  # of a number


def draw_similarity(matrix: Any, cell_px: int = 28, title: str = "") -> NDArray[np.uint8]:
    """A heat map of similarities between layers in the colours of viridis, with a scale from 0 to 1.

    Layers are numbered from 1; the first is at the lower left. A similarity that is not known (NaN) is grey.

    Args:
        matrix: `[L, L]`, tensor or array, such as `shared_tmu.layers.linear_cka` gives.
        cell_px: side of a cell, pixels.
        title: a line above.

    Returns:
        A picture `[H, W, 3]` uint8, RGB.

    Raises:
        InputError: no square matrix of similarities, or cells of less than 1 pixel.
    """
    values = np.asarray(matrix.detach().cpu() if hasattr(matrix, "detach") else matrix, np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not values.size or cell_px < 1:
        raise InputError(
            f"a heat map needs similarities [L, L] and cells of 1 pixel or more, found {list(values.shape)} "
            f"and {cell_px}."
        )
    low, high = np.nanmin(values, initial=0.0), np.nanmax(values, initial=1.0)
    if low < -1e-6 or high > 1 + 1e-6:
        raise InputError(f"similarities lie in 0..1, but this matrix has values from {low:g} to {high:g}.")
    return _with_edges(_cells(values[::-1], cell_px), len(values), cell_px, title)


def _cells(values: NDArray[np.float64], cell_px: int) -> NDArray[np.uint8]:
    """Cells in colours, `[h, w, 3]` RGB."""
    import cv2

    known = np.isfinite(values)
    grey = np.rint(255 * np.where(known, values, 0).clip(0, 1)).astype(np.uint8)
    colours = cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[:, :, ::-1].copy()
    colours[~known] = _UNKNOWN
    return np.ascontiguousarray(colours.repeat(cell_px, 0).repeat(cell_px, 1))


def _with_edges(map_: NDArray[np.uint8], depth: int, cell_px: int, title: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw, ImageFont

    side, font = map_.shape[0], ImageFont.load_default(13)
    left, top, bottom, right, bar = 34, 24 if title else 8, 26, 62, 16
    sheet = Image.new("RGB", (left + side + right, top + side + bottom), (_WHITE,) * 3)
    pen = ImageDraw.Draw(sheet)
    sheet.paste(Image.fromarray(map_), (left, top))
    pen.text((left, 5), title, fill=0, font=font)
    for number in _shown(depth, cell_px):
        middle = (number - 0.5) * cell_px
        pen.text((left + middle, top + side + 4), str(number), fill=0, font=font, anchor="ma")
        pen.text((left - 5, top + side - middle), str(number), fill=0, font=font, anchor="rm")
    levels = np.linspace(1, 0, max(side, 2))[:, None].repeat(bar, 1)
    sheet.paste(Image.fromarray(_cells(levels, 1)), (left + side + 12, top))
    for value in (1.0, 0.5, 0.0):
        height = top + (1 - value) * (side - 1)
        pen.text((left + side + bar + 16, height), f"{value:.1f}", fill=0, font=font, anchor="lm")
    return np.asarray(sheet)


def _shown(depth: int, cell_px: int) -> Sequence[int]:
    """The layers whose numbers have room: the first, and every so many."""
    return range(1, depth + 1, next((step for step in _STEPS if step * cell_px >= _ROOM_PX), depth))
