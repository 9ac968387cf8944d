"""A picture file that is inspected, refused or decoded; use it through `shared_tmu.pictures.images`."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError, MissingDependencyError
from shared_tmu.pictures import kinds, tiff
from shared_tmu.pictures.mending import without_metadata
from shared_tmu.pictures.opening import (
    bytes_per_px,
    formats,
    is_cut_to_8_bits,
    mode_note,
    open_image,
    orientation_of,
    read_16_bit_colours,
    to_bgr,
    upright_canvas,
)
from shared_tmu.pictures.values import find_scale

if TYPE_CHECKING:
    from PIL import Image as PilImage

MAX_DECODE_BYTES = 720_000_000
"""Memory that decoding one picture may take: about 100 megapixels of an ordinary JPEG or PNG file."""

MAX_SIDE_PX = 65_535
"""Longest side of a picture, the limit of JPEG files."""

BGR_BYTES = 3
FIRST_IS_USED = "it holds several pictures, and the first is used"
_HEAD_BYTES = 1024


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        bgr: `[H, W, 3]` uint8, upright.
        note: what was changed while reading ("16-bit, read as 8-bit"); empty for an ordinary picture.
    """

    bgr: NDArray[np.uint8]
    note: str = ""

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.bgr.shape[1], self.bgr.shape[0]


class PictureFile:
    """An open image file that can be inspected before it is decoded; a context manager.

    Args:
        stream: its content, seekable.
        name: its name, for messages.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self.name = stream, name
        self._image: PilImage.Image | None = None
        self._page: tiff.TiffPage | None = None
        self._size_px = (0, 0)
        self._notes: list[str] = []

    @classmethod
    def open(cls, path: Path, name: str = "") -> PictureFile:
        """Open a regular file.

        Raises:
            InputError: it is missing, cannot be read, or is not a regular file.
        """
        name = name or path.name
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe would block forever
                what = "it is a folder" if path.is_dir() else "it is not a regular file"
                raise InputError(f"cannot read {name}: {what}.")
            return cls(path.open("rb"), name)
        except OSError as error:
            raise InputError(f"cannot read {name}: {why_not(path, error)}.") from error

    def __enter__(self) -> PictureFile:
        return self

    def __exit__(self, *error: object) -> None:
        if self._image is not None:
            self._image.close()
        self._stream.close()

    def sha256(self) -> str:
        """SHA-256 of the file, in hexadecimal digits.

        Raises:
            InputError: it cannot be read completely.
        """
        try:
            self._stream.seek(0)
            return hashlib.file_digest(self._stream, "sha256").hexdigest()  # type: ignore[arg-type]
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error.strerror or error}.") from error

    def size_px(self) -> tuple[int, int]:
        """Width and height as stored, from its header.

        Raises:
            InputError: see `read_image`.
        """
        self._guarded(self._look)
        return self._size_px

    def decode(self, *, upright: bool = True) -> Picture:
        """The picture; `upright=False` leaves a JPEG or PNG as it is stored, whatever its EXIF says.

        Raises:
            InputError: see `read_image`.
        """
        self._upright = upright
        self._guarded(self._look)
        bgr: NDArray[np.uint8] = self._guarded(self._decode)
        return Picture(bgr, ", ".join(note for note in self._notes if note))

    def _guarded(self, step: Any) -> Any:
        """Turn errors of decoders, which may be of almost any class, into one sentence."""
        try:
            return step()
        except (InputError, MissingDependencyError):
            raise
        except MemoryError as error:
            raise InputError(f"cannot read {self.name}: it does not fit into memory.") from error
        except Exception as error:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise InputError(
                f"cannot read {self.name}: {self._bytes()} bytes cannot be decoded ({reason}); the file may "
                "be truncated or damaged."
            ) from error

    def _look(self) -> None:
        """Open the picture once, and refuse it if it would not fit into memory."""
        if self._image is not None or self._page is not None:
            return
        if not self._bytes():
            raise InputError(f"cannot read {self.name}: the file is empty (0 bytes).")
        head = self._head()
        if kind := kinds.kind_of(head, self.name):
            readable = {kinds.HEIC: "HEIF", kinds.AVIF: "AVIF"}.get(kind)
            if readable is None or readable not in formats():
                advice = kinds.advice(kind)
                raise InputError(f"cannot read {self.name}: it is {kind}{advice and '; '}{advice}.")
        page = tiff.look_at(self._stream) if head[:2] in (b"II", b"MM") else None
        if page is not None and page.is_raw:
            raise InputError(f"cannot read {self.name}: it is {kinds.RAW}; {kinds.advice(kinds.RAW)}.")
        if page is not None and page.is_read_here:
            self._page, self._size_px = page, page.size_px
            self._notes.append(FIRST_IS_USED if page.is_several else "")
        else:
            self._open()
        self._require_small()

    def _open(self) -> None:
        from PIL import UnidentifiedImageError

        try:
            self._image = open_image(self._stream)
        except Exception as error:
            if not self._mend():
                if not isinstance(error, UnidentifiedImageError):
                    raise
                raise InputError(
                    f"cannot read {self.name}: its {self._bytes()} bytes are not an image in a known "
                    "format: convert it to JPEG or PNG."
                ) from None
        assert self._image is not None
        self._size_px = self._image.size
        self._notes.append(FIRST_IS_USED if getattr(self._image, "is_animated", False) else "")

    def _mend(self) -> bool:
        """Try again without metadata, which may be damaged; returns whether it can then be opened."""
        if self._bytes() > MAX_DECODE_BYTES:
            return False
        self._stream.seek(0)
        data = without_metadata(self._stream.read())
        if data is None:
            return False
        stream = io.BytesIO(data)
        try:
            image = open_image(stream)
        except Exception:  # the metadata is not the reason: report the first error
            return False
        self._stream.close()
        self._stream, self._image = stream, image
        self._notes.append("its damaged metadata is ignored")
        return True

    def _decode(self) -> NDArray[np.uint8]:
        if self._page is not None:
            page = self._page
            values = tiff.read_deep(self._stream, page, self.name)
            return self._deep(values, page.orientation, None, page.white, page.photometric == 0)
        image = self._loaded()
        orientation = self._orientation(image)
        if image.mode.startswith(("I", "F")):
            return self._deep(np.asarray(image), orientation, self._png_bits(image))
        if is_cut_to_8_bits(self._head()):
            self._stream.seek(0)
            values = read_16_bit_colours(self._stream.read())
            return self._deep(values, orientation, self._png_bits(image))
        self._notes.append(mode_note(image.mode))
        return to_bgr(image, orientation)

    def _loaded(self) -> PilImage.Image:
        assert self._image is not None
        try:
            self._image.load()
        except Exception:
            if not self._mend():
                raise
            self._image.load()
        return self._image

    def _deep(
        self,
        values: NDArray[np.generic],
        orientation: int,
        bits: int | None,
        white: float | None = None,
        is_inverted: bool = False,
    ) -> NDArray[np.uint8]:
        scale = find_scale(values, self.name, bits, white, is_inverted)
        colour = "colour" if values.ndim == 3 else "grey"
        kind = " floating point" if values.dtype.kind == "f" else ""
        if values.dtype != np.uint8:
            self._notes.append(f"{8 * values.dtype.itemsize}-bit{kind} {colour}, read as 8-bit colour")
        self._notes.append(scale.note)
        upright, canvas = upright_canvas(values.shape[1], values.shape[0], orientation)
        scale.fill(canvas, values)
        return upright

    def _png_bits(self, image: PilImage.Image) -> int | None:
        """Number of significant bits that a PNG file states (sBIT)."""
        if image.format != "PNG":
            return None
        head = self._head()
        at = head.find(b"sBIT")
        return max(head[at + 4 : at + 7][: 1 if image.mode.startswith("I") else 3]) if at > 0 else None

    def _orientation(self, image: PilImage.Image) -> int:
        number, note = orientation_of(image) if self._upright else (1, "")
        self._notes.append(note)
        return number

    def _require_small(self) -> None:
        """Refuse, before decoding, a picture that would not fit into memory."""
        width, height = self._size_px
        need = width * height * self._bytes_per_px()
        if need > MAX_DECODE_BYTES:
            most = MAX_DECODE_BYTES / self._bytes_per_px() / 1e6
            raise InputError(
                f"cannot read {self.name}: {width} x {height} pixels are {width * height / 1e6:.0f} "
                f"megapixels, more than the limit of {most:.0f} for such files; scale it down first."
            )
        if max(width, height) > MAX_SIDE_PX:
            size = f"{width} x {height} pixels"
            raise InputError(f"cannot read {self.name}: {size}, but the limit is {MAX_SIDE_PX} per side.")

    def _bytes_per_px(self) -> int:
        if self._page is not None:
            return 2 * self._page.bytes_per_px + BGR_BYTES
        assert self._image is not None
        return bytes_per_px(self._image, self._head())

    def _head(self) -> bytes:
        self._stream.seek(0)
        return self._stream.read(_HEAD_BYTES)

    def _bytes(self) -> int:
        return self._stream.seek(0, os.SEEK_END)


def why_not(path: Path, error: OSError) -> str:
    """Why a file could not be read, in a few words."""
    if path.is_symlink() and isinstance(error, FileNotFoundError):
        return f"it is a link to {path.readlink()}, which does not exist"
    return (error.strerror or str(error)).lower()
