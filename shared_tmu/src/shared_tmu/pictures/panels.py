"""Small helpers for the demo's pictures: panels side by side, captions, files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.pictures.hand_crops import MEAN, STD

CAPTION_PX = 26


def side_by_side(panels: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Join pictures of equal height `[H, W_i, 3]` in a row."""
    return np.concatenate(list(panels), axis=1)


def with_caption(picture: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Add a line of text above a picture."""
    import cv2

    strip = np.full((CAPTION_PX, picture.shape[1], 3), 255, np.uint8)
    scale = 0.5
    width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]
    scale *= min(1.0, (picture.shape[1] - 8) / max(width, 1))
    cv2.putText(
        strip, text, (4, CAPTION_PX - 8), cv2.FONT_HERSHEY_SIMPLEX, scale, (40, 40, 40), 1, cv2.LINE_AA
    )
    return np.concatenate([strip, picture])


def encode(picture: NDArray[np.uint8], suffix: str) -> bytes:
    """Encode a BGR picture in the file format of `suffix`."""
    import cv2

    is_done, data = cv2.imencode(suffix, picture)
    assert is_done, f"OpenCV cannot write {picture.shape} as {suffix}"
    return bytes(data)


def denormalise(img: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Convert a hand model's normalised input `[3, S, S]` to a BGR picture `[S, S, 3]`."""
    return to_bgr((img.transpose(1, 2, 0) * STD + MEAN).transpose(2, 0, 1))


def to_bgr(rgb: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Convert RGB in 0..1 `[3, H, W]` to a BGR picture `[H, W, 3]`."""
    pixels = np.clip(np.rint(rgb.transpose(1, 2, 0) * 255.0), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[:, :, ::-1])
