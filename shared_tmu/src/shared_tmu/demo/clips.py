"""Video files read frame by frame, each with the time at which it is shown.

Convention: a clip's frames are upright and have square pixels, however its file stores them; times are in
seconds from the first frame. Times come from the container, so frames of any duration are read correctly. If
a time is missing or impossible, the frame follows the previous one after the usual interval.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_tmu.demo.clip_files import MAX_FRAME_PIXELS, open_container, open_file
from shared_tmu.demo.clip_structure import find_fault
from shared_tmu.demo.frame_clock import USUAL_FPS, FrameClock
from shared_tmu.demo.origins import VIDEO, origin_of
from shared_tmu.demo.read_ahead import Loaded
from shared_tmu.demo.upright import fitted, pixel_aspect, shown_size, upright
from shared_tmu.errors import InputError
from shared_tmu.pictures.images import Picture
from shared_tmu.pictures.listing import Source, shortened
from shared_tmu.programs.identity import file_sha256

_COVERS = ("attached_pic", "timed_thumbnails", "still_image")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """A video file that can be read.

    Attributes:
        path: path of the file.
        size_px: width and height as shown: upright, with square pixels.
        frames: number of frames that the file states, which may be wrong; None if it states none.
    """

    path: Path
    size_px: tuple[int, int]
    frames: int | None

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.path.name

    @property
    def sound_path(self) -> Path | None:
        """The file whose sound belongs to the frames."""
        return self.path

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return file_sha256(self.path)

    @property
    def origin(self) -> str:
        """See `origins`."""
        return origin_of(VIDEO, self.path)

    @property
    def key(self) -> str:
        """Name of its results."""
        return shortened(self.path.stem)

    @classmethod
    def open(cls, path: Path) -> Clip:
        """Read a video's properties.

        Raises:
            InputError: the file does not exist, is not a video, or no frame can be read from it.
        """
        with open_file(path) as file, closing(open_container(file, path)) as container:
            stream = _video_of(container, path)
            decoder = _Decoder(container, stream)
            first = next(iter(decoder), None)
            if first is None:
                raise InputError(
                    f"no frame can be read from --video {path}: it is empty or damaged; name another video "
                    "file."
                )
            height, width = upright(first, pixel_aspect(stream)).shape[:2]
            return cls(path, (width, height), stream.frames or None)

    def source(self, index: int) -> Source:
        """A frame, with its name in messages and boxes files."""
        return Source(self.path, f"{self.path.name}:{index}", str(index))


class ClipReader:
    """Reads a clip once, from the beginning; iteration yields the frames in order.

    Attributes:
        times_s: when each frame that was read is shown, counted from the first.
        start_s: when the first frame is shown, on the file's own clock.
        end_s: when the last frame ends.
    """

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.times_s: list[float] = []
        self.start_s = self.end_s = 0.0
        self._damage: list[str] = []

    def __iter__(self) -> Iterator[Loaded]:
        clip = self.clip
        with open_file(clip.path) as file, closing(open_container(file, clip.path)) as container:
            stream = _video_of(container, clip.path)
            decoder, clock, aspect = _Decoder(container, stream), FrameClock(stream), pixel_aspect(stream)
            started = time.perf_counter()
            for index, frame in enumerate(decoder):
                self.times_s.append(clock.time_s(frame))
                picture = Picture(fitted(upright(frame, aspect), clip.size_px))
                spent = time.perf_counter() - started
                yield Loaded(clip.source(index), picture=picture, read_s=spent)
                started = time.perf_counter()
            self.start_s, self.end_s = clock.start_s, clock.end_s()
            self._damage = decoder.damage(clip, self.times_s)
            fault = find_fault(file)
            if decoder.is_broken_off or (fault is not None and fault.is_end):
                self._damage.append(self._cut_off())
            elif fault is not None:
                self._damage.append(
                    f"{clip.path.name}: the file is damaged at byte {fault.place}, so frames may be missing"
                )

    @property
    def fps(self) -> float:
        """Frames per second, on average over the clip."""
        return len(self.times_s) / self.end_s if self.end_s > 0 else USUAL_FPS

    def done(self, index: int) -> None:
        """A frame is drawn and saved; see `LiveReader`, also for the others."""

    def rows(self) -> list[tuple[str, str]]:
        """What the closing table says about reading: nothing."""
        return []

    def facts(self) -> dict[str, Any]:
        """What the `.json` says about it: nothing."""
        return {}

    def problems(self) -> list[str]:
        """What is damaged; complete when the whole clip has been read."""
        return self._damage

    def _cut_off(self) -> str:
        read, told = len(self.times_s), self.clip.frames or 0
        count = f"{read} of {told}" if told > read else f"{read}"
        return f"{self.clip.path.name}: {count} frames could be read; the rest is damaged or missing"


class _Decoder:
    """Yields the frames of a stream in the order in which they are shown, and notes damage."""

    def __init__(self, container: Any, stream: Any) -> None:
        self.container, self.stream = container, stream
        self.is_broken_off = False
        self.frames = 0
        self._lost: list[int] = []  # number of frames that were decoded before each damaged part
        self._faulty: list[int] = []
        self._is_stream = "mpegts" in container.format.name
        self._waited: int | None = None  # packets since a broken one that may be the joint of two streams

    def __iter__(self) -> Iterator[Any]:
        from av import FFmpegError

        is_begun = False
        for packet in self._packets():
            # packets before the first key frame cannot be decoded in an intact file either
            is_begun |= packet is not None and packet.is_keyframe
            if self._breaks(packet, is_begun):
                self._faulty.append(self.frames)
            try:
                frames = self.stream.codec_context.decode(packet)
            except EOFError:
                return
            except FFmpegError:
                if is_begun:
                    self._lost.append(self.frames)
                continue
            for frame in frames:
                if frame.is_corrupt and is_begun:
                    self._faulty.append(self.frames)
                self.frames += 1
                yield frame

    def _breaks(self, packet: Any, is_begun: bool) -> bool:
        """Whether the container marks that something is missing in a packet, or before it.

        Joints of intact streams are marked too, but there a key frame follows: the next packet, or the one
        after it, since FFmpeg parses a stream one packet ahead.
        """
        if not self._is_stream:
            return packet is not None and packet.is_corrupt
        waited, self._waited = self._waited, None
        if packet is None:
            return waited is not None
        if waited is not None and not packet.is_keyframe:
            if waited:
                return True
            self._waited = 1
        if packet.is_corrupt and is_begun:
            self._waited = 0
        return False

    def _packets(self) -> Iterator[Any]:
        """All packets, then None, which makes the decoder return the frames that it still has."""
        from av import FFmpegError

        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    yield packet
        except (FFmpegError, OSError):  # also a disk that cannot be read
            self.is_broken_off = True
        yield None

    def damage(self, clip: Clip, times_s: list[float]) -> list[str]:
        """One sentence for each kind of damage that was found."""
        name, said = clip.path.name, []
        for places, what in ((self._lost, "cannot be decoded"), (self._faulty, "was decoded with errors")):
            if places:
                at = min(places[0], len(times_s) - 1)
                many = "1 part of it" if len(places) == 1 else f"{len(places)} parts of it"
                said.append(f"{name}: {many} {what}, the first at frame {at} ({times_s[at]:.2f} s)")
        return said


def _video_of(container: Any, path: Path) -> Any:
    """The stream that is shown: the file's default, else the first; cover pictures and thumbnails are
    ignored.

    Raises:
        InputError: there is none, or it cannot be decoded.
    """
    covers = [one for one in container.streams.video if any(name in str(one.disposition) for name in _COVERS)]
    videos = [one for one in container.streams.video if one not in covers]
    if not videos:
        what = "sound and a cover picture" if covers else "sound" if container.streams.audio else "no video"
        raise InputError(
            f"no frame can be read from --video {path}: it holds only {what}; name a file with a video."
        )
    chosen = next((one for one in videos if "default" in str(one.disposition)), videos[0])
    if chosen.codec_context is None:
        raise InputError(
            f"--video {path} uses a codec that cannot be decoded here: convert it, e.g. to H.264."
        )
    width, height = chosen.codec_context.width, chosen.codec_context.height
    shown = shown_size(width, height, pixel_aspect(chosen))
    if math.prod(shown) > MAX_FRAME_PIXELS:
        raise InputError(
            f"--video {path} has frames of {shown[0]} x {shown[1]} pixels, more than the limit of "
            f"{MAX_FRAME_PIXELS // 10**6} megapixels: scale it down first."
        )
    if len(videos) > 1:
        _log.info(
            "%s holds %d video streams: number %d is used.", path.name, len(videos), videos.index(chosen) + 1
        )
    chosen.thread_type = "NONE"  # so that damage is reported where it is, and no frames wait in threads
    return chosen
