"""Video files: reading a clip frame by frame, and writing one so that it is whole or not there."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo.read_ahead import Loaded
from shared_tmu.errors import InputError
from shared_tmu.pictures.images import Picture
from shared_tmu.pictures.listing import Source, shortened

CODEC = "mp4v"
"""MPEG-4 part 2, which OpenCV's wheel can write everywhere."""

USUAL_FPS = 25.0
"""Of files that do not say theirs."""

MOST_LOST = 0.02
"""Share of the frames that may be missing at the end of an intact file: what it says is an estimate in some
formats, and edited clips hold frames that are not shown.
"""

_ERRORS_ONLY = 2  # OpenCV's log level

LATEST_START_S = 1e6
"""A first frame that says it comes later has no time: OpenCV gives a huge number then."""

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """A video file that can be read.

    Attributes:
        path: where it is.
        fps: frames per second.
        size_px: width and height, upright.
        frames: how many there are, as the file says; None if it does not.
    """

    path: Path
    fps: float
    size_px: tuple[int, int]
    frames: int | None

    @property
    def key(self) -> str:
        """What its results are called."""
        return shortened(self.path.stem)

    @classmethod
    def open(cls, path: Path) -> Clip:
        """Look at a video.

        Raises:
            InputError: there is no such file, or no frame can be read from it.
        """
        if not path.is_file():
            what = "is no file" if path.exists() else "is not there"
            raise InputError(f"--video {path} {what}: name a video file, such as clip.mp4.")
        import cv2

        capture = _capture(path)
        is_read, frame = capture.read()
        fps, frames = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        capture.release()
        if not is_read:
            raise InputError(f"no frame can be read from --video {path}: it is empty or damaged.")
        is_known = math.isfinite(fps) and 0 < fps <= 1000
        told = int(frames) if math.isfinite(frames) and 0 < frames < 1e9 else None
        return cls(path, fps if is_known else USUAL_FPS, (frame.shape[1], frame.shape[0]), told)

    def source(self, index: int) -> Source:
        """A frame by the name that messages and boxes files have for it."""
        return Source(self.path, f"{self.path.name}:{index}", str(index))

    def missing(self, read: int) -> int:
        """How many frames the file promised beyond the `read` ones; 0 if so few that nothing is wrong."""
        lost = (self.frames or read) - read
        return lost if lost > max(1, MOST_LOST * (self.frames or 0)) else 0

    def read(self, times_s: list[float]) -> Iterator[Loaded]:
        """The frames in order, one at a time.

        Args:
            times_s: gets the time at which each frame is shown.
        """
        import cv2

        capture = _capture(self.path)
        try:
            for index in count():
                started = time.perf_counter()
                is_read, frame = capture.read()
                if not is_read:
                    return
                shown_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                if times_s and not shown_s > times_s[-1]:  # a format without times
                    shown_s = times_s[-1] + 1 / self.fps
                elif not times_s and not 0 <= shown_s < LATEST_START_S:
                    shown_s = 0.0
                times_s.append(shown_s)
                spent = time.perf_counter() - started
                if (frame.shape[1], frame.shape[0]) == self.size_px:
                    picture = Picture(np.asarray(frame, np.uint8))
                    yield Loaded(self.source(index), picture=picture, read_s=spent)
                else:
                    size, expected = frame.shape[1::-1], self.size_px
                    problem = f"it has {size[0]} x {size[1]} pixels, the first {expected[0]} x {expected[1]}"
                    yield Loaded(self.source(index), problem=problem, read_s=spent)
        finally:
            capture.release()


class ClipWriter:
    """Writes an MPEG-4 video; a context manager.

    Args:
        path: of the file, which is there as soon as a frame is.
        fps: frames per second.
        size_px: width and height of every frame; the last column or row is left out where one is odd.
    """

    def __init__(self, path: Path, fps: float, size_px: tuple[int, int]) -> None:
        self.path, self.fps, self.size_px, self.frames = path, fps, size_px, 0
        self._writer: Any = None

    def write(self, frame: Image) -> None:
        """Append a frame `[H, W, 3]`, BGR.

        Raises:
            InputError: videos of this size cannot be written.
        """
        if self._writer is None:
            self._writer = self._open()
        self._writer.write(frame)
        self.frames += 1

    def finish(self) -> None:
        """Complete the file.

        Raises:
            InputError: not all frames are in it; OpenCV says nothing when a disk is full.
        """
        self.close()
        written = 0
        if self.path.is_file():
            import cv2

            capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
            written = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
            capture.release()
        if written != self.frames:
            raise InputError(
                f"only {written} of {self.frames} frames of the overlay video could be written: make room on "
                "the disk, or use --no-overlays for parameters alone."
            )

    def close(self) -> None:
        """Stop writing."""
        if self._writer is not None:
            self._writer.release()
        self._writer = None

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Any:
        import cv2

        code = cv2.VideoWriter.fourcc(*CODEC)
        writer = cv2.VideoWriter(str(self.path), cv2.CAP_FFMPEG, code, self.fps, self.size_px)
        if not writer.isOpened():
            width, height = self.size_px
            raise InputError(
                f"OpenCV cannot write a video of {width} x {height} pixels in {self.path.parent}: use "
                "--no-overlays for parameters alone."
            )
        return writer


def _capture(path: Path) -> Any:
    """Ready to read. What FFmpeg and OpenCV write about damaged files is silenced: ours says what matters."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    level = cv2.setLogLevel(_ERRORS_ONLY)
    try:
        capture = cv2.VideoCapture(str(path.resolve()), cv2.CAP_FFMPEG)
    finally:
        cv2.setLogLevel(level)
    if not capture.isOpened():
        raise InputError(f"--video {path} cannot be opened: it is damaged, or no video that OpenCV reads.")
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # upright, however the camera was held
    return capture
