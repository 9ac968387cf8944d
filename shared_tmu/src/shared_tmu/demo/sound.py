"""Copies a clip's sound into its overlay video, without decoding it.

Packets are copied as they are, moved by as much as the pictures: the first frame is at 0. Sound in a format
that an `.mp4` cannot hold is left out.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from shared_tmu.demo.clip_files import open_container, open_file

FORMATS = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")
"""FFmpeg's names of the formats that are copied."""

_log = logging.getLogger(__name__)


def add_sound(overlay: Path, clip: Path, start_s: float, end_s: float, made: Path) -> bool:
    """Write a copy of an overlay video with the sound of its clip.

    Args:
        overlay: the video without sound; it stays.
        clip: the video with sound.
        start_s: when its first frame is shown on its own clock.
        end_s: when its last frame ends, counted from the first.
        made: path of the copy.

    Returns:
        Whether there is a copy: not if there is no sound, or none that can be copied.

    Raises:
        OSError: it cannot be written.
    """
    import av

    with ExitStack() as stack:
        source = stack.enter_context(closing(open_container(stack.enter_context(open_file(clip)), clip)))
        sound = next((one for one in source.streams.audio), None)
        name = None if sound is None or sound.codec_context is None else sound.codec_context.name
        if sound is None or not _fits(name):
            if sound is not None:
                _log.info("%s: its sound (%s) is not copied: an .mp4 cannot hold it.", clip.name, name)
            return False
        pictures = stack.enter_context(av.open(str(overlay)))
        shown = pictures.streams.video[0]
        out = stack.enter_context(av.open(str(made), "w", format="mp4"))
        copies = {one: out.add_stream_from_template(one) for one in (shown, sound)}
        parts = (_packets(pictures, shown, 0.0, None), _packets(source, sound, start_s, end_s))
        for _, _, packet, stream in heapq.merge(*parts, key=lambda part: part[:2]):
            packet.stream = copies[stream]
            out.mux(packet)
    return True


def _fits(name: str | None) -> bool:
    return name is not None and name.removesuffix("float") in FORMATS


def _packets(
    container: Any, stream: Any, start_s: float, end_s: float | None
) -> Iterator[tuple[float, int, Any, Any]]:
    """A stream's packets from a time on, until the pictures end, each with its time; damage ends them."""
    from av import FFmpegError

    shift = round(start_s / stream.time_base)
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (FFmpegError, OSError):
            return
        if packet is None:
            return
        if packet.dts is None or packet.pts is None:
            continue
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        at = float(packet.pts * stream.time_base)
        if end_s is not None and at >= end_s:
            return
        if packet.pts >= 0 or end_s is None:
            yield at, stream.index if end_s is None else -1, packet, stream
