"""Writes a video clip: MPEG-4, frames of any duration; a full disk is an error."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError

CODEC = "mpeg4"
"""MPEG-4 part 2 by FFmpeg's own encoder: it needs no other library, whose licence or patents would bind
users.
"""

TICKS_PER_S = 60000
"""Unit in which times are written: the periods of all usual frame rates, and milliseconds, are whole numbers
of it.
"""

BEST_QUALITY, WORST_QUALITY = "2", "4"
"""Quantiser of the encoder, 1 (finest) to 31."""

BT_601, BT_709, LIMITED = 5, 1, 1
"""FFmpeg's numbers of the matrix with which it converts frames from RGB, of the colours of pictures and most
videos, and of the range. A player that is not told takes the matrix of BT.709 for large frames, and shows
other colours.
"""

LONGEST_SIDE_PX = 8190
"""Longest side of a frame in MPEG-4 part 2."""

Image = NDArray[np.uint8]


class ClipWriter:
    """Writes a video; a context manager.

    Args:
        path: path of the file, which is created with the first frame.
        size_px: width and height of every frame.
    """

    def __init__(self, path: Path, size_px: tuple[int, int]) -> None:
        self.path, self.size_px, self.frames = path, size_px, 0
        self._sink: _Sink | None = None
        self._container: Any = None
        self._stream: Any = None
        self._waiting: Any = None  # the last packet: its duration is known with the next frame

    def write(self, frame: Image, time_s: float) -> None:
        """Append a frame `[H, W, 3]`, BGR, which is shown from `time_s` on.

        Raises:
            InputError: videos of this size cannot be written.
            OSError: the disk is full or can no longer be written to.
        """
        import av

        if self._container is None:
            self._open()
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="bgr24")
        picture.pts = max(round(time_s * TICKS_PER_S), self._waiting.pts + 1 if self._waiting else 0)
        picture.time_base = Fraction(1, TICKS_PER_S)
        for packet in self._stream.encode(picture):
            self._mux(until=packet.pts)
            self._waiting = packet
        self.frames += 1

    def finish(self, end_s: float) -> None:
        """Complete the file; the last frame is shown until `end_s`.

        Raises:
            OSError: as in `write`.
        """
        if self._container is None:
            return
        self._mux(until=max(round(end_s * TICKS_PER_S), self._waiting.pts + 1))
        self._waiting = None
        self._container.close()
        assert self._sink is not None
        self._sink.check()
        self._container = None
        self.close()

    def close(self) -> None:
        """Stop writing."""
        if self._sink is not None:
            self._sink.is_open = False
        if self._container is not None:
            self._container.close()
        if self._sink is not None:
            self._sink.file.close()
        self._container = self._sink = self._waiting = None

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _mux(self, until: int) -> None:
        if self._waiting is None:
            return
        assert self._sink is not None
        self._waiting.duration = until - self._waiting.pts
        self._container.mux(self._waiting)
        self._sink.check()

    def _open(self) -> None:
        import av

        width, height = self.size_px
        if max(self.size_px) > LONGEST_SIDE_PX:
            raise InputError(
                f"an overlay video of {width} x {height} pixels cannot be written, because MPEG-4 allows at "
                f"most {LONGEST_SIDE_PX} pixels per side: use --no-overlays to save parameters only."
            )
        self._sink = _Sink(self.path)
        self._container = av.open(self._sink, mode="w", format="mp4")
        options = {"qmin": BEST_QUALITY, "qmax": WORST_QUALITY, "bf": "0", "g": "50"}
        stream = self._container.add_stream(CODEC, rate=TICKS_PER_S, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, TICKS_PER_S)
        context = stream.codec_context
        context.colorspace, context.color_range = BT_601, LIMITED
        context.color_primaries = context.color_trc = BT_709  # without these nothing is written
        stream.bit_rate = 8 * width * height * 30
        self._stream = stream


class _Sink:
    """A file for FFmpeg, which does not report write errors: an error is stored here and raised later."""

    def __init__(self, path: Path) -> None:
        self.file: BinaryIO = path.open("wb", buffering=0)
        self.seek, self.tell = self.file.seek, self.file.tell
        self.error: OSError | None = None
        self.is_open = True

    def write(self, content: bytes) -> int:
        """Write all of it, or store the error."""
        rest = memoryview(content)
        while self.is_open and self.error is None and rest:
            try:
                rest = rest[self.file.write(rest) :]
            except OSError as error:
                self.error = error
        return len(content)

    def check(self) -> None:
        """Raise the error that was stored, if any."""
        if self.error is not None:
            raise self.error
