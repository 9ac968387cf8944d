"""Read any picture a user may have as 8-bit BGR, or say in one sentence why it cannot be read.

Convention: images are `[H, W, 3]` uint8 in BGR order, as OpenCV holds them, upright (EXIF rotation applied);
the centre of pixel (column u, row v) has image coordinates (u, v).
"""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from PIL import Image as PilImage

MAX_PIXELS = 500_000_000
"""Largest picture that is decoded: 1.5 GB of memory as 8-bit colour."""

_open_lock = threading.Lock()
_PLAIN_MODES = ("RGB",)


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        bgr: `[H, W, 3]` uint8, upright.
        note: what was changed to get there ("16-bit, read as 8-bit"), empty for an ordinary picture.
    """

    bgr: NDArray[np.uint8]
    note: str = ""

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.bgr.shape[1], self.bgr.shape[0]


def read_image(path: Path) -> Picture:
    """Decode an image file of any format that Pillow reads, the first frame of a sequence.

    Raises:
        InputError: the file is missing, empty, truncated, not an image, or larger than `MAX_PIXELS`.
        MissingDependencyError: Pillow or OpenCV is not installed.
    """
    return decode_image(read_bytes(path), path.name)


def read_bytes(path: Path) -> bytes:
    """The whole file, or an `InputError` that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        reason = "is a folder" if path.is_dir() else (error.strerror or str(error)).lower()
        raise InputError(f"cannot read {path.name}: {reason}.") from error


def decode_image(data: bytes, name: str) -> Picture:
    """`read_image` for bytes already in memory; `name` is used in messages only."""
    if not data:
        raise InputError(f"cannot read {name}: the file is empty (0 bytes).")
    try:
        return _decode(data, name)
    except (InputError, MissingDependencyError):
        raise
    except MemoryError as error:
        raise InputError(f"cannot read {name}: it does not fit into memory.") from error
    except Exception as error:  # decoders raise almost anything on a damaged file; each becomes one sentence
        reason = str(error).strip().rstrip(".") or type(error).__name__
        raise InputError(
            f"cannot read {name}: {len(data)} bytes that do not decode ({reason}); "
            "the file may be truncated or damaged."
        ) from error


def _decode(data: bytes, name: str) -> Picture:
    try:
        from PIL import ImageOps, UnidentifiedImageError
    except ImportError as error:
        raise MissingDependencyError(
            "reading an image was asked for, but Pillow is not installed: pip install 'shared_tmu[images]'"
        ) from error
    try:
        image = _open(data)
    except UnidentifiedImageError:
        return _decode_by_opencv(data, name)
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise InputError(
                f"cannot read {name}: {width} x {height} pixels is more than the "
                f"{MAX_PIXELS // 10**6} megapixels that are decoded; make it smaller first."
            )
        image.load()
        mode = image.mode
        upright = ImageOps.exif_transpose(image) if image.getexif().get(0x0112, 1) != 1 else image
        rgb = _to_rgb(upright, name)
    note = "" if mode in _PLAIN_MODES else f"{_mode_name(mode)}, read as 8-bit colour"
    return Picture(np.ascontiguousarray(rgb[:, :, ::-1]), note)


def _open(data: bytes) -> PilImage.Image:
    """Open with Pillow's own size limit lifted, since `MAX_PIXELS` is checked instead."""
    from PIL import Image

    with _open_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(data))
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _mode_name(mode: str) -> str:
    names = {
        "L": "grey",
        "1": "black and white",
        "LA": "grey with transparency (ignored)",
        "RGBA": "colour with transparency (ignored)",
        "P": "palette",
        "PA": "palette with transparency (ignored)",
        "CMYK": "CMYK",
    }
    if mode.startswith("I;16"):
        return "16-bit grey"
    return names.get(mode, f"mode {mode}")


def _to_rgb(image: PilImage.Image, name: str) -> NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):
        grey = _to_8_bit(np.asarray(image), name)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "RGBA":  # the colours as they are, as OpenCV gives them
        return np.asarray(image)[:, :, :3]
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _to_8_bit(values: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Keep the high byte of 16-bit values; values that already fit into 8 bits stay; more than 16 bits is
    refused.
    """
    if values.dtype == np.uint8:
        return values.view(np.uint8)
    numbers = np.nan_to_num(values.astype(np.float64))
    low, high = float(numbers.min()), float(numbers.max())
    if low < 0 or high > 65535:
        raise InputError(
            f"cannot read {name}: values from {low:g} to {high:g}; 8-bit or 16-bit images are read."
        )
    is_16_bit = values.dtype.itemsize == 2 or high > 255
    return np.floor(numbers / 256 if is_16_bit else numbers).astype(np.uint8)


def _decode_by_opencv(data: bytes, name: str) -> Picture:
    """What Pillow does not know but OpenCV does (16-bit colour TIFF, OpenEXR off)."""
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            "reading an image was asked for, but OpenCV is not installed: pip install 'shared_tmu[images]'"
        ) from error
    pixels = None
    if data[:4] in (b"II*\0", b"MM\0*"):  # anything else would only make OpenCV complain on stderr
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if pixels is None:
        raise InputError(f"cannot read {name}: its {len(data)} bytes are not an image (no known format).")
    return Picture(np.ascontiguousarray(_to_8_bit(pixels, name)), "16-bit colour, read as 8-bit colour")
