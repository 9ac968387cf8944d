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
    """Tiles in rows, each in the middle of a square: `[H, W, 3]` uint8, RGB.

    Args:
        rows: the tiles; rows may have different lengths.
        side_px: of the squares; tiles must not be larger.
    """
    from PIL import Image, ImageDraw, ImageFont

    across, down = side_px + GAP_PX, side_px + GAP_PX + TITLE_PX
    width = max(len(row) for row in rows) * across + GAP_PX
    sheet = Image.new("RGB", (width, len(rows) * down + GAP_PX), (_WHITE,) * 3)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_PX)
    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            x, y = GAP_PX + column * across, GAP_PX + number * down
            pen.multiline_text((x, y), tile.title, fill=0, font=font, spacing=2)
            height, wide = tile.rgb.shape[:2]
            place = x + (side_px - wide) // 2, y + TITLE_PX + (side_px - height) // 2
            sheet.paste(Image.fromarray(tile.rgb), place)
    return np.asarray(sheet)


def colour(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map `[h, w]` of values in 0..1 in the colours of viridis, `[h, w, 3]` RGB."""
    import cv2

    grey = (255 * values.clip(0, 1)).round().astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[:, :, ::-1])
