"""Finds damage in a video file, as far as its container shows it.

FFmpeg continues after damage: it searches for the next readable place, and drops the part in between without
a message. Here the parts of a file are followed one by one, without decoding: each part says where the next
begins, and some have a checksum. Damage inside a part without a checksum is not found.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from shared_tmu.demo.fault import FaultError
from shared_tmu.demo.matroska import follow_matroska

_PIECE = 1 << 20
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_CHUNK = re.compile(rb"\d\d[A-Za-z]{2}|ix\d\d|JUNK|LIST|idx1|RIFF")
"""Names of chunks that may lie between the frames of an .avi."""

_SYNC = 0x47


def find_fault(file: BinaryIO) -> FaultError | None:
    """The first damaged part of a file; None if there is none, or the format cannot be checked."""
    size = file.seek(0, os.SEEK_END)
    try:
        beginning = _read(file, 0, 16)
        follow = next(follow for pattern, follow in _FOLLOWED if re.match(pattern, beginning, re.DOTALL))
        follow(file, size)
    except FaultError as fault:
        return fault
    except OSError:  # a disk that cannot be read
        return FaultError(file.tell())
    return None


def _follow_boxes(file: BinaryIO, size: int) -> None:
    """An .mp4: only whether all frames are inside the file, since its tables give the place of each."""
    place = 0
    while place < size:
        head = _read(file, place, 16)
        length = int.from_bytes(head[:4], "big")
        length = int.from_bytes(head[8:16], "big") if length == 1 else length
        if length < 8 or not re.fullmatch(rb"[ -~]{4}", head[4:8]):
            return
        if head[4:8] == b"mdat" and place + length > size:
            raise FaultError(size, is_end=True)
        place += length


def _follow_riff(file: BinaryIO, size: int) -> None:
    """An .avi: its chunks, and the chunks between the frames."""
    place = 0
    while place + 12 <= size:
        head = _read(file, place, 12)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF" or not 0 < length < 0xFFFFFFFF:
            return  # other data after the video, or a recording that was not finished
        if place + 8 + length > size:
            raise FaultError(size, is_end=True)
        _follow_chunks(file, place + 12, place + 8 + length, is_outside=True)
        place += 8 + length + length % 2


def _follow_chunks(file: BinaryIO, place: int, end: int, is_outside: bool = False) -> None:
    while place + 8 <= end:
        head = _read(file, place, 12)
        length = int.from_bytes(head[4:8], "little")
        if not is_outside and not _CHUNK.match(head):
            unpadded = _read(file, place - 1, 12)  # some writers omit the padding byte after an odd length
            if not _CHUNK.match(unpadded):
                raise FaultError(place)
            place, head, length = place - 1, unpadded, int.from_bytes(unpadded[4:8], "little")
        if place + 8 + length > end + 1:
            raise FaultError(place)
        if head[:4] == b"LIST" and head[8:12] in (b"movi", b"rec "):
            _follow_chunks(file, place + 12, place + 8 + length)
        place += 8 + length + length % 2


def _follow_pages(file: BinaryIO, size: int) -> None:
    """An .ogv: pages, each with a number and a checksum; the last page of each stream is marked."""
    place = 0
    numbers: dict[bytes, int] = {}
    open_streams: set[bytes] = set()
    while place < size:
        head = _read(file, place, 27)
        lengths = _read(file, place + 27, head[26] if len(head) == 27 else 0)
        content = _read(file, place + 27 + len(lengths), sum(lengths))
        if len(head) < 27 or len(lengths) < head[26] or len(content) < sum(lengths):
            raise FaultError(place, is_end=b"OggS".startswith(head[:4]))
        stream, number = head[14:18], int.from_bytes(head[18:22], "little")
        told = int.from_bytes(head[22:26], "little")
        if head[:4] != b"OggS" or told != _ogg_sum(head[:22] + bytes(4) + head[26:] + lengths + content):
            raise FaultError(place)
        is_first, is_last = head[5] & 2, head[5] & 4
        if not is_first and stream in numbers and number != (numbers[stream] + 1) % (1 << 32):
            raise FaultError(place)
        numbers[stream] = number
        (open_streams.discard if is_last else open_streams.add)(stream)
        place += 27 + len(lengths) + len(content)
    if open_streams:
        raise FaultError(size, is_end=True)


def _ogg_sum(content: bytes) -> int:
    """Ogg's CRC-32: as in zip files, but with reversed bit order, starting from 0 and not inverted."""
    turned = zlib.crc32(content.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{turned:032b}"[::-1], 2)


def _follow_gif(file: BinaryIO, size: int) -> None:
    """A .gif: blocks up to the one that ends the file; zero bytes between blocks are accepted."""
    head = _read(file, 0, 13)
    place = 13 + _colours(head[10])
    while (kind := _read(file, place, 1)) != b";":
        if kind == b"\0":
            place += 1
        elif kind == b"!":
            place = _after_blocks(file, place + 2)
        elif kind == b",":
            head = _read(file, place, 10)
            place = _after_blocks(file, place + 11 + _colours(head[9] if len(head) == 10 else 0))
        else:
            raise FaultError(min(place, size), is_end=not kind)


def _colours(flags: int) -> int:
    """Size of a table of colours in bytes."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(file: BinaryIO, place: int) -> int:
    file.seek(place)
    while length := file.read(1):
        place += 1 + length[0]
        if not length[0]:
            break
        file.seek(length[0], os.SEEK_CUR)
    return place


def _follow_transport(file: BinaryIO, size: int) -> None:
    """A .ts: packets of one length, each with the same first byte."""
    beginning = np.frombuffer(_read(file, 0, 8 * 204 * 2), np.uint8)
    for length in (188, 192, 204):
        for first in range(length):
            marks = beginning[first::length][:8]
            if len(marks) == 8 and bool((marks == _SYNC).all()):
                _follow_packets(file, size, first, length)
                return


def _follow_packets(file: BinaryIO, size: int, first: int, length: int) -> None:
    many = _PIECE // length * length
    for place in range(first, size, many):
        marks = np.frombuffer(_read(file, place, many), np.uint8)[::length]
        if len(wrong := np.flatnonzero(marks != _SYNC)):
            raise FaultError(place + int(wrong[0]) * length)
    lead = 4 if length == 192 else 0  # in this variant, a time stamp precedes each packet
    if (size - first + lead) % length:
        raise FaultError(size, is_end=True)


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


_FOLLOWED: tuple[tuple[bytes, Callable[[BinaryIO, int], None]], ...] = (
    (rb"\x1a\x45\xdf\xa3", follow_matroska),
    (rb"OggS", _follow_pages),
    (rb"RIFF....AVI", _follow_riff),
    (rb"GIF8", _follow_gif),
    (rb"....(ftyp|styp|moov|moof|mdat|free|skip|wide|pnot|sidx|uuid)", _follow_boxes),
    (rb"", _follow_transport),
)
"""First bytes of a file, with the function that follows its parts."""
