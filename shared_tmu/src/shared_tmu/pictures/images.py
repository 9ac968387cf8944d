"""Read any common picture file as 8-bit BGR, or report in one sentence why it cannot be read.

Convention: images are `[H, W, 3]` uint8 in BGR order, as OpenCV holds them, upright (EXIF rotation applied);
the centre of pixel (column u, row v) has image coordinates (u, v).

Files are opened by Pillow, with a list of formats of which none starts another program; OpenCV and tifffile
decode formats that Pillow reduces to 8 bits or does not support. A file is decoded only if this fits into
`MAX_DECODE_BYTES`, and is held in memory only once.
"""

from __future__ import annotations

import io
from pathlib import Path

from shared_tmu.pictures.picture_file import MAX_DECODE_BYTES, MAX_SIDE_PX, Picture, PictureFile

__all__ = ["MAX_DECODE_BYTES", "MAX_SIDE_PX", "Picture", "PictureFile", "decode_image", "read_image"]


def read_image(path: Path, *, upright: bool = True) -> Picture:
    """Decode an image file, the first picture if it holds several; `upright`: see `PictureFile.decode`.

    Raises:
        InputError: the file is missing, empty, truncated, not an image in a supported format, or needs more
            than `MAX_DECODE_BYTES` for decoding.
        MissingDependencyError: Pillow or OpenCV is not installed.
    """
    with PictureFile.open(path) as file:
        return file.decode(upright=upright)


def decode_image(data: bytes, name: str) -> Picture:
    """`read_image` for bytes already in memory; `name` is used in messages only."""
    with PictureFile(io.BytesIO(data), name) as file:
        return file.decode()
