"""Reads TIFF files whose samples have more than 8 bits, a sign, or are floating point, and plain YCbCr."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError, MissingDependencyError
from shared_tmu.pictures.kinds import RAW
from shared_tmu.pictures.quiet import quiet_opencv

_SIGNED, _FLOAT = 2, 3
_SAMPLE_FORMATS = {1: "u", _SIGNED: "i", _FLOAT: "f", 4: "u"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _YCBCR = 0, 1, 2, 6
_UNCOMPRESSED = 1
_RAW_PHOTOMETRIC = (32803, 34892)  # colour filter array, linear raw
_DNG_VERSION, _SMALLER_COPY = 50706, 1
_WHITE_TAGS = ("SMaxSampleValue", "MaxSampleValue")


@dataclass(frozen=True)
class TiffPage:
    """Properties of the first page of a TIFF file, from its tags.

    Attributes:
        size_px: width and height, as stored.
        kind: type of its samples, `u`, `i` or `f`; empty for other types.
        bits: bits per sample.
        samples: samples per pixel.
        photometric: TIFF's number for the meaning of the samples.
        is_planar: whether each colour is stored separately.
        orientation: EXIF's number.
        white: the largest possible value; None if not given.
        is_raw: whether it is a camera's raw picture, or the small preview at its beginning.
        is_several: whether more pages follow.
        compression: TIFF's number for it.
    """

    size_px: tuple[int, int]
    kind: str
    bits: int
    samples: int
    photometric: int
    is_planar: bool
    orientation: int
    white: float | None
    is_raw: bool
    is_several: bool
    compression: int = _UNCOMPRESSED

    @property
    def is_deep(self) -> bool:
        """Whether its samples are other than the 8-bit samples that Pillow reads unchanged."""
        return self.bits > 8 or self.kind != "u"

    @property
    def is_read_here(self) -> bool:
        """Whether `read_deep` reads it: deep ones, and uncompressed YCbCr, which Pillow before 13 cannot."""
        if self.photometric == _YCBCR:
            return not self.is_deep and self.compression == _UNCOMPRESSED
        return self.is_deep and self.photometric <= _RGB

    @property
    def bytes_per_px(self) -> int:
        """Memory for its values, bytes."""
        return -(-self.bits // 8) * self.samples


def look_at(stream: BinaryIO) -> TiffPage | None:
    """Read the first page's tags; None if the file is not a readable TIFF file.

    Raises:
        MissingDependencyError: tifffile is not installed.
    """
    tifffile = _tifffile()
    stream.seek(0)
    try:
        with tifffile.TiffFile(stream) as file:
            return _facts(file)
    except Exception:  # the decoder that is tried next reports the error
        return None


def _facts(file: Any) -> TiffPage:
    page = file.pages[0]
    tags = page.tags
    white = None
    for name in _WHITE_TAGS:
        told = tags.get(name)
        if told is not None and white is None:
            white = float(np.max(told.value))
    photometric = int(page.photometric if page.photometric is not None else _BLACK_IS_ZERO)
    is_raw = photometric in _RAW_PHOTOMETRIC or tags.get(_DNG_VERSION) is not None or _is_preview(page, tags)
    orientation = tags.get("Orientation")
    return TiffPage(
        size_px=(int(page.imagewidth), int(page.imagelength)),
        kind=_SAMPLE_FORMATS.get(int(page.sampleformat), ""),
        bits=int(np.max(page.bitspersample)),
        samples=int(page.samplesperpixel),
        photometric=photometric,
        is_planar=int(page.planarconfig or 1) == 2,
        orientation=int(orientation.value) if orientation is not None else 1,
        white=white if white else None,
        is_raw=is_raw,
        is_several=len(file.pages) > 1,
        compression=int(page.compression),
    )


def _is_preview(page: Any, tags: Any) -> bool:
    """Whether the file is a camera's raw file: it begins with a small preview, and the picture itself is in a
    sub-directory.
    """
    return bool(int(page.subfiletype or 0) & _SMALLER_COPY) and tags.get("SubIFDs") is not None


def read_deep(stream: BinaryIO, page: TiffPage, name: str) -> NDArray[np.generic]:
    """The values of the first page, `[H, W]`, or `[H, W, 3]` in BGR order, as stored (not rotated).

    Raises:
        InputError: it is neither grey nor colour, or its number type or compression is not supported.
    """
    if page.photometric == _YCBCR and page.is_read_here:
        stream.seek(0)
        return _by_opencv(stream.read(), page, name)
    if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB) or not page.kind:
        raise InputError(
            f"cannot read {name}: a TIFF file of {page.bits}-bit samples that are neither grey nor RGB "
            f"(photometric interpretation {page.photometric}); convert it to 8 bits."
        )
    tifffile = _tifffile()
    stream.seek(0)
    try:
        with tifffile.TiffFile(stream) as file:
            values = np.asarray(file.pages[0].asarray())
    except ValueError as error:  # a compression for which tifffile needs another package
        if "imagecodecs" not in str(error) or page.is_planar:
            raise
        stream.seek(0)
        return _by_opencv(stream.read(), page, name)
    if page.is_planar and values.ndim == 3:
        values = np.moveaxis(values, 0, -1)
    if values.ndim == 3 and page.photometric != _RGB:
        values = values[:, :, 0]
    if values.shape[:2] != page.size_px[::-1] or values.ndim not in (2, 3):
        raise InputError(
            f"cannot read {name}: a TIFF file of {list(values.shape)} numbers is not a two-dimensional "
            "picture; save its first page alone."
        )
    return values if values.ndim == 2 else values[:, :, 2::-1]


def _by_opencv(data: bytes, page: TiffPage, name: str) -> NDArray[np.generic]:
    """Decode with OpenCV's TIFF library."""
    import cv2

    try:
        with quiet_opencv():  # the library prints what it cannot read; the error below reports it
            values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        values = None
    if values is None or values.dtype.kind != page.kind or values.shape[:2] != page.size_px[::-1]:
        raise InputError(
            f"cannot read {name}: a compressed TIFF file of {page.bits}-bit samples is not supported; save "
            "it without compression, or with 8 bits."
        )
    return np.asarray(values if values.ndim == 2 else values[:, :, :3])


def _tifffile() -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise MissingDependencyError(
            "reading a TIFF file was asked for, but tifffile is not installed: pip install "
            "'shared_tmu[images]'"
        ) from error
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # tifffile logs tags that are not needed here
    return tifffile


__all__ = ["RAW", "TiffPage", "look_at", "read_deep"]
