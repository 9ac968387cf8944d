"""Opens files with Pillow, limited to a list of formats; converts pictures to upright BGR arrays, a few rows
at a time."""

from __future__ import annotations

import re
import threading
from functools import cache
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import MissingDependencyError
from shared_tmu.pictures.kinds import FORMATS
from shared_tmu.pictures.mending import is_sound_exif

if TYPE_CHECKING:
    from PIL import Image as PilImage

ROWS_AT_ONCE = 64

_BYTES_PER_PX = {"WEBP": 17, "AVIF": 10, "HEIF": 8, "JPEG2000": 20, "TIFF": 10, "GIF": 5}
"""Bytes of memory per pixel, measured for the decoders of these formats; other decoders hold a picture twice,
with 4 and with 3 bytes per pixel.
"""
_USUAL_BYTES_PER_PX, _PROGRESSIVE_BYTES_PER_PX, _CUT_BYTES_PER_PX = 7, 10, 19

_SPACE = rb"\s(?:\s|#[^\n]*\n)*"
_PPM_HEADER = re.compile(rb"P6" + _SPACE + rb"\d+" + _SPACE + rb"\d+" + _SPACE + rb"(\d{1,5})\s")
_lock = threading.Lock()
_MODE_NAMES = {
    "L": "grey",
    "1": "black and white",
    "LA": "grey with transparency (ignored)",
    "RGBA": "colour with transparency (ignored)",
    "P": "palette",
    "PA": "palette with transparency (ignored)",
    "CMYK": "CMYK",
    "LAB": "CIE Lab",
}

_ORIENTATION = 0x0112
_ALREADY_UPRIGHT = ("TIFF", "HEIF")


@cache
def formats() -> tuple[str, ...]:
    """Pillow's names of the formats that are read here.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    try:
        from PIL import features
    except ImportError as error:
        raise MissingDependencyError(
            "reading an image was asked for, but Pillow is not installed: pip install 'shared_tmu[images]'"
        ) from error
    absent = {name for name, part in (("AVIF", "avif"), ("WEBP", "webp")) if not features.check(part)}
    found = [name for name in FORMATS if name not in absent]
    try:
        import pillow_heif
    except ImportError:
        return tuple(found)
    pillow_heif.register_heif_opener()
    return (*found, "HEIF")


def open_image(stream: BinaryIO) -> PilImage.Image:
    """Open a file without decoding it. The caller checks the size, so Pillow's own limit is switched off.

    Raises:
        PIL.UnidentifiedImageError: it has none of the `formats`, or is damaged.
    """
    known = formats()
    from PIL import Image

    stream.seek(0)
    with _lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(stream, formats=known)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def bytes_per_px(image: PilImage.Image, head: bytes) -> int:
    """Memory per pixel for decoding a picture whose file begins with `head`, bytes."""
    if is_cut_to_8_bits(head):
        return _CUT_BYTES_PER_PX
    if "progressive" in image.info or "progression" in image.info:
        return _PROGRESSIVE_BYTES_PER_PX
    return _BYTES_PER_PX.get(image.format or "", _USUAL_BYTES_PER_PX)


def mode_note(mode: str) -> str:
    """How a picture of this Pillow mode is converted; empty for ordinary colour."""
    return "" if mode == "RGB" else f"{_MODE_NAMES.get(mode, f'mode {mode}')}, read as 8-bit colour"


def orientation_of(image: PilImage.Image) -> tuple[int, str]:
    """EXIF's number for how a picture is turned, 1 to 8, and a note on EXIF data that cannot be read."""
    if image.format in _ALREADY_UPRIGHT:
        return 1, ""
    if not is_sound_exif(image.info.get("exif", b"")):
        return 1, "its damaged EXIF data is ignored"
    value = image.getexif().get(_ORIENTATION, 1)
    return value if value in range(1, 9) else 1, ""


def to_bgr(image: PilImage.Image, orientation: int) -> NDArray[np.uint8]:
    """A loaded picture of 8-bit samples, rotated upright, `[H, W, 3]`; only a few rows are held twice."""
    width, height = image.size
    upright, canvas = upright_canvas(width, height, orientation)
    for top in range(0, height, ROWS_AT_ONCE):
        rows = image.crop((0, top, width, min(top + ROWS_AT_ONCE, height)))
        canvas[top : top + ROWS_AT_ONCE] = _rgb(rows)[:, :, ::-1]
    return upright


def is_cut_to_8_bits(head: bytes) -> bool:
    """Whether a file, by its first bytes, has 16 bits of which Pillow would keep 8: colour, and grey with
    transparency, in PNG and PPM.
    """
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return head[24:25] == b"\x10" and head[25:26] != b"\0"
    header = _PPM_HEADER.match(head)
    return header is not None and int(header[1]) > 255


def read_16_bit_colours(data: bytes) -> NDArray[np.generic]:
    """The picture `[H, W, 3]`, BGR, as stored (not rotated).

    Raises:
        ValueError: OpenCV cannot decode it.
    """
    import cv2

    how = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    values = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    if values is None:
        raise ValueError("broken data")
    return np.asarray(values)


def _rgb(image: PilImage.Image) -> NDArray[np.uint8]:
    mode = image.mode
    if mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        return np.asarray(converted)
    if mode in ("PA", "RGBa", "La"):
        image = image.convert("LA" if mode == "La" else "RGBA")
    if image.mode in ("RGBA", "RGBX"):  # the colours unchanged, as from OpenCV
        return np.asarray(image)[:, :, :3]
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def upright_canvas(width: int, height: int, orientation: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An empty upright picture, and a view of it in which the pixels have the order of the file.

    Args:
        width: width as stored, pixels.
        height: height as stored, pixels.
        orientation: EXIF's number, 1 to 8.

    Returns:
        `[H, W, 3]` upright, and `[height, width, 3]`, which shares its memory.
    """
    is_sideways = orientation >= 5
    upright = np.empty((width, height, 3) if is_sideways else (height, width, 3), np.uint8)
    view = upright
    if orientation in (3, 4, 7, 8):
        view = view[::-1]
    if orientation in (2, 3, 6, 7):
        view = view[:, ::-1]
    return upright, view.transpose(1, 0, 2) if is_sideways else view
