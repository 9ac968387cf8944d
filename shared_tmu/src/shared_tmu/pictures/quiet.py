"""OpenCV without its own messages, where an error of ours says what they would."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_FFMPEG = "OPENCV_FFMPEG_LOGLEVEL", "-8"


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """OpenCV says nothing inside, unless FFmpeg in it was told to by its own variable."""
    import cv2

    os.environ.setdefault(*_FFMPEG)  # read once, when the first video is opened
    log: Any = getattr(cv2.utils, "logging", cv2)  # where it is depends on the version
    level = log.setLogLevel(0)
    try:
        yield
    finally:
        log.setLogLevel(level)
