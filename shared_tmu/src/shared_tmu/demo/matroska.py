"""The parts of an .mkv or .webm, followed one by one.

Elements are nested, and follow each other without gaps. Names and checksums: RFC 8794 (EBML) and RFC 9559
(Matroska). Live recordings do not give the length of the segment and its clusters.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from shared_tmu.demo.fault import FaultError

_SEGMENT, _CLUSTER, _TRACKS = 0x18538067, 0x1F43B675, 0x1654AE6B
_EBML, _CRC, _TRACK, _TRACK_NUMBER = 0x1A45DFA3, 0xBF, 0xAE, 0xD7
_SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0xA3, 0xA0, 0xA1
_OUTER = {_CLUSTER, _TRACKS, 0x114D9B74, 0x1549A966, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
"""Ids of the elements of a segment: each of them ends a cluster of unknown length."""

_PIECE = 1 << 20


@dataclass(frozen=True)
class _Element:
    """Where an element is: its id, its beginning, the beginning of its content, and its end (None if not
    given).
    """

    name: int
    place: int
    inside: int
    end: int | None


def follow_matroska(file: BinaryIO, size: int) -> None:
    """Check a file.

    Raises:
        FaultError: a part is damaged.
    """
    place = 0
    while place < size:
        element = _element(file, place, size)
        if element.name not in (_EBML, _SEGMENT):
            return  # other data after the video
        if element.end is not None and element.end > size:
            raise FaultError(size, is_end=True)
        if element.name == _SEGMENT:
            place = _Segment(file, size if element.end is None else element.end).follow(element.inside)
        else:
            place = size if element.end is None else element.end


class _Segment:
    def __init__(self, file: BinaryIO, end: int) -> None:
        self.file, self.end = file, end
        self.tracks: set[int] = set()

    def follow(self, place: int) -> int:
        """Check a segment from a position on; returns where it ends."""
        while place < self.end:
            element = _element(self.file, place, self.end)
            if element.name in (_EBML, _SEGMENT):
                return place  # another file follows
            if element.name == _CLUSTER:
                place = self._cluster(element)
                continue
            if element.end is None:
                raise FaultError(place)
            if element.end > self.end:
                raise FaultError(place, is_end=element.name in _OUTER)
            if element.name == _TRACKS:
                self._find_tracks(element)
            place = element.end
        return self.end

    def _find_tracks(self, tracks: _Element) -> None:
        for track in _children(self.file, tracks):
            if track.name == _TRACK:
                for one in _children(self.file, track):
                    if one.name == _TRACK_NUMBER and one.end is not None:
                        content = _read(self.file, one.inside, min(8, one.end - one.inside))
                        self.tracks.add(int.from_bytes(content, "big"))

    def _cluster(self, cluster: _Element) -> int:
        """Check a cluster; returns where it ends."""
        if cluster.end is not None and cluster.end > self.end:
            raise FaultError(cluster.place, is_end=True)
        place, end = cluster.inside, self.end if cluster.end is None else cluster.end
        while place < end:
            element = _element(self.file, place, end)
            if cluster.end is None and element.name in _OUTER | {_EBML, _SEGMENT}:
                return place
            if element.end is None:
                raise FaultError(place)
            if element.end > end:
                known = element.name in (_SIMPLE_BLOCK, _BLOCK_GROUP)
                raise FaultError(place, is_end=known and cluster.end is None)
            if element.name == _SIMPLE_BLOCK:
                self._require_track(element)
            elif element.name == _BLOCK_GROUP:
                for one in _children(self.file, element):
                    if one.name == _BLOCK:
                        self._require_track(one)
            elif element.name == _CRC and place == cluster.inside:
                self._require_sum(element, end)
            place = element.end
        return end

    def _require_track(self, block: _Element) -> None:
        number, _ = _number(_read(self.file, block.inside, 8))
        if self.tracks and number not in self.tracks:
            raise FaultError(block.place)

    def _require_sum(self, checksum: _Element, end: int) -> None:
        """The checksum of a cluster covers all of the cluster that follows it."""
        told = int.from_bytes(_read(self.file, checksum.inside, 4), "little")
        found, place = 0, checksum.inside + 4
        self.file.seek(place)
        while place < end:
            piece = self.file.read(min(_PIECE, end - place))
            if not piece:
                break
            found, place = zlib.crc32(piece, found), place + len(piece)
        if found != told:
            raise FaultError(checksum.place)


def _children(file: BinaryIO, parent: _Element) -> Iterator[_Element]:
    place, end = parent.inside, parent.end
    assert end is not None
    while place < end:
        element = _element(file, place, end)
        if element.end is None or element.end > end:
            raise FaultError(place)
        yield element
        place = element.end


def _element(file: BinaryIO, place: int, end: int) -> _Element:
    """The element at a position in a part that ends at `end`."""
    head = _read(file, place, 12)
    many = 9 - head[0].bit_length() if head else 9
    if many > 4:
        raise FaultError(place)
    length, taken = _number(head[many:])
    if not taken:
        raise FaultError(place, is_end=len(head) < 12 and place + len(head) >= end)
    inside = place + many + taken
    return _Element(
        int.from_bytes(head[:many], "big"), place, inside, None if length is None else inside + length
    )


def _number(content: bytes) -> tuple[int | None, int]:
    """The number of variable length at the beginning (None if all its bits are set) and its length in bytes
    (0 if there is none).
    """
    many = 9 - content[0].bit_length() if content and content[0] else 9
    if many > len(content):
        return None, 0
    value = int.from_bytes(content[:many], "big") & ((1 << 7 * many) - 1)
    return (None if value == (1 << 7 * many) - 1 else value), many


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place, os.SEEK_SET)
    return file.read(count)
