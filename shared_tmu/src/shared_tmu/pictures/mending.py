"""Removes the metadata of a picture file: if only EXIF, XMP or the colour profile is damaged, the picture is
readable."""

from __future__ import annotations

import struct

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"tRNS", b"sBIT")
# JFIF and Adobe, which tell how colours are stored; shorter segments are damaged
_JPEG_KEPT = {0xE0: 16, 0xEE: 14}
_WEBP_KEPT = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
_WEBP_METADATA_FLAGS = 0x20 | 0x08 | 0x04  # profile, EXIF, XMP
_TYPE_BYTES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes per value for TIFF's type numbers; the other types have one byte."""
_TIFF_METADATA = (700, 33723, 34377, 34665, 34675, 34853, 37724, 40965)


def without_metadata(data: bytes) -> bytes | None:
    """The same picture without metadata; None if the format is not supported here, or there is no
    metadata.
    """
    for start, mend in ((_PNG, _png), (b"\xff\xd8", _jpeg), (b"RIFF", _webp), (b"II", _tiff), (b"MM", _tiff)):
        if data.startswith(start):
            try:
                mended = mend(data)
            except (struct.error, IndexError):
                return None
            return mended if mended != data else None
    return None


def _png(data: bytes) -> bytes:
    parts, at = [_PNG], len(_PNG)
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, end = data[at + 4 : at + 8], at + 12 + length
        is_critical = kind[:1].isupper()
        if not is_critical and not _is_png_chunk(data, end):  # its length is damaged
            found = [where for name in (b"PLTE", b"IDAT") if (where := data.find(name, at + 8)) >= 0]
            if not found:
                break
            at = min(found) - 4
            continue
        if is_critical or kind in _PNG_KEPT:
            parts.append(data[at:end])
        at = end
    return b"".join(parts)


def _is_png_chunk(data: bytes, at: int) -> bool:
    return at + 8 <= len(data) and data[at + 4 : at + 8].isalpha()


def _jpeg(data: bytes) -> bytes:
    parts, at = [data[:2]], 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:  # the length of the previous part is damaged: tables follow
            at = data.find(b"\xff\xdb", at)
            if at < 0:
                break
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xDA:
            parts.append(data[at:])
            break
        end = at + 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
        is_metadata = marker == 0xFE or (
            0xE0 <= marker <= 0xEF and end - at - 2 < _JPEG_KEPT.get(marker, 1 << 16)
        )
        if not is_metadata:
            parts.append(data[at:end])
        at = end
    return b"".join(parts)


def _webp(data: bytes) -> bytes:
    parts, at = [], 12
    while at + 8 <= len(data):
        kind = data[at : at + 4]
        (length,) = struct.unpack("<I", data[at + 4 : at + 8])
        end = at + 8 + length + length % 2
        if kind in _WEBP_KEPT:
            chunk = bytearray(data[at:end])
            if kind == b"VP8X":
                chunk[8] &= ~_WEBP_METADATA_FLAGS & 0xFF
            parts.append(bytes(chunk))
        at = end
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tiff(data: bytes) -> bytes:
    order = "<" if data[:2] == b"II" else ">"
    if struct.unpack(order + "H", data[2:4])[0] != 42:  # BigTIFF and others
        return data
    (at,) = struct.unpack(order + "I", data[4:8])
    (count,) = struct.unpack(order + "H", data[at : at + 2])
    entries = [data[at + 2 + 12 * index : at + 14 + 12 * index] for index in range(count)]
    kept = [entry for entry in entries if struct.unpack(order + "H", entry[:2])[0] not in _TIFF_METADATA]
    following = data[at + 2 + 12 * count : at + 6 + 12 * count]
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + following
    return data[:at] + directory + data[at + len(directory) :]


def is_sound_exif(data: bytes) -> bool:
    """Whether the first directory of EXIF data, which has the orientation, can be read; True if there is
    none.

    Pillow drops entries that it cannot read, without a message.
    """
    data = data.removeprefix(b"Exif\0\0")
    if not data:
        return True
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None or len(data) < 10:
        return False
    (at,) = struct.unpack(order + "I", data[4:8])
    if at + 2 > len(data):
        return False
    (count,) = struct.unpack(order + "H", data[at : at + 2])
    if at + 2 + 12 * count > len(data):
        return False
    for index in range(count):
        _, kind, number, where = struct.unpack(
            order + "HHII", data[at + 2 + 12 * index : at + 14 + 12 * index]
        )
        size = _TYPE_BYTES.get(kind, 1) * number
        if size > 4 and where + size > len(data):
            return False
    return True
