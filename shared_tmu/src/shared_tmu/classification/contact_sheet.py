"""Pictures side by side with a title above each, as one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TITLE_PX, GAP_PX, FONT_PX = 34, 6, 13
_WHITE = 255


@dataclass(frozen=True)
class SheetTile:
    """A picture of a sheet.

    Attributes:
        rgb: `[h, w, 3]` uint8.
        title: up to two lines above it.
    """

    rgb: NDArray[np.uint8]
    title: str = ""


def draw_sheet(rows: Sequence[Sequence[SheetTile]], side_px: int = 224) -> NDArray[np.uint8]:
    """Tiles in rows, each as high as its highest tile: `[H, W, 3]` uint8, RGB.

    Args:
        rows: the tiles; rows may have different lengths.
        side_px: width of the columns; tiles must not be wider.
    """
    from PIL import Image, ImageDraw, ImageFont

    across, heights = side_px + GAP_PX, [max(tile.rgb.shape[0] for tile in row) for row in rows]
    width = max(len(row) for row in rows) * across + GAP_PX
    sheet = Image.new("RGB", (width, sum(heights) + len(rows) * (GAP_PX + TITLE_PX) + GAP_PX), (_WHITE,) * 3)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    y = GAP_PX
    for row, high in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            x = GAP_PX + column * across
            pen.multiline_text((x, y), tile.title, fill=0, font=font, spacing=2)
            place = x + (side_px - tile.rgb.shape[1]) // 2, y + TITLE_PX
            sheet.paste(Image.fromarray(tile.rgb), place)
        y += high + TITLE_PX + GAP_PX
    return np.asarray(sheet)


def colour(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map `[h, w]` of values in 0..1 in the colours of viridis, `[h, w, 3]` RGB."""
    import cv2

    grey = (255 * values.clip(0, 1)).round().astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[:, :, ::-1])
