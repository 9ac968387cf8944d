"""Recognises a file's format from its first bytes, so that a message can name a format that is not
supported."""

from __future__ import annotations

from pathlib import PurePath

FORMATS = (
    "JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "JPEG2000", "PPM", "QOI", "PCX", "SGI", "TGA",
)  # fmt: skip
"""Pillow's names of the formats that are opened; none of them starts another program (EPS would)."""

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".jp2",
    ".j2k", ".ppm", ".pgm", ".pbm", ".qoi", ".pcx", ".sgi", ".tga", ".heic", ".heif", ".jxl",
)  # fmt: skip
"""Usual suffixes of pictures; the last three are of formats that are not opened, and the message says why."""

RAW_SUFFIXES = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".kdc", ".mos", ".mrw", ".nef", ".nrw", ".orf",
    ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srw",
)  # fmt: skip
RAW = "a camera's raw file"

_STARTS = (
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
    (b"8BPS", "a Photoshop document (PSD)"),
    (b"%PDF-", "a PDF document"),
    (b"%!", "a PostScript drawing (EPS)"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript drawing (EPS)"),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"IIRO", RAW),
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"IIU\0", RAW),
    (b"\0MRM", RAW),
    (b"FOVb", RAW),
    (b"II\xbc\x01", "a JPEG XR picture"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"#?RGBE", "a Radiance HDR picture"),
    (b"gimp xcf", "a GIMP document (XCF)"),
    (b"DDS ", "a DirectDraw texture (DDS)"),
    (b"SIMPLE  =", "a FITS file"),
    (b"icns", "an icon file (ICNS)"),
    (b"\0\0\x01\0", "an icon file (ICO)"),
    (b"BPG\xfb", "a BPG picture"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile (WMF)"),
    (b"\x1a\x45\xdf\xa3", "a video (Matroska or WebM): name it with --video"),
    (b"OggS", "a video or sound file (Ogg)"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"version https://git-lfs", "a Git LFS pointer, not the picture: fetch the picture with git lfs pull"),
)
_BRANDS = {
    "a HEIC picture": b"heic heix heim heis hevc hevx",
    "an AVIF picture": b"avif avis",
    "a camera's raw file": b"crx ",
}
HEIC, AVIF = "a HEIC picture", "an AVIF picture"


def kind_of(head: bytes, name: str = "") -> str:
    """The format of a file that is not a supported picture, with its article; empty if unknown.

    Args:
        head: its first bytes, about a thousand.
        name: its name; distinguishes raw files from other TIFF files.
    """
    if head[4:8] == b"ftyp":
        return _isobmff(head)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "a video (AVI): name it with --video"
    if head[:2] in (b"II", b"MM") and (
        head[8:10] == b"CR" or head[6:14] == b"HEAPCCDR" or PurePath(name).suffix.lower() in RAW_SUFFIXES
    ):
        return RAW
    if head[128:132] == b"DICM":
        return "a DICOM file"
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    return _text(head)


def _isobmff(head: bytes) -> str:
    """The format by the container's brands, the major brand first: HEIC, AVIF and MP4 files share one
    container.
    """
    size = int.from_bytes(head[:4], "big")
    names = [head[8:12], *(head[at : at + 4] for at in range(16, min(max(size, 16), len(head)), 4))]
    for brand in names:
        for kind, brands in _BRANDS.items():
            if len(brand) == 4 and brand in brands:
                return kind
    if names[0] in (b"mif1", b"msf1", b"miaf"):  # any codec
        return HEIC
    return "a video (MP4 or QuickTime): name it with --video"


def _text(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page"
    if start.startswith(b"<svg") or (start.startswith((b"<?xml", b"<!")) and b"<svg" in start):
        return "a vector drawing (SVG)"
    return ""


def advice(kind: str) -> str:
    """What to do with such a file; empty if its description already says it."""
    if kind == HEIC:
        return "pip install 'shared_tmu[heif]' reads it, or convert it to JPEG or PNG"
    if kind == AVIF:
        return "this Pillow is built without AVIF; convert it to JPEG or PNG"
    if ":" in kind or "archive" in kind or "web page" in kind:
        return ""
    return "convert it to JPEG or PNG"
