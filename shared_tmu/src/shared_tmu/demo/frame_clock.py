"""When the frames of a video file are shown, whatever the file says."""

from __future__ import annotations

from fractions import Fraction
from statistics import median
from typing import Any

USUAL_FPS = 25.0
"""Frame rate that is assumed if the file gives none: a clip of one frame, or a container without times."""

MOST_FPS = 500.0
"""Highest plausible frame rate: a higher one is the file's time unit (milliseconds), not a frame rate."""

LONGEST_FRAME_S = 3600.0
"""Longest plausible duration of a frame: a longer one comes from a wrong time."""


class FrameClock:
    """Strictly increasing times of frames, counted from the first."""

    def __init__(self, stream: Any) -> None:
        rate = stream.average_rate or stream.guessed_rate
        self._usual_s = float(1 / rate) if rate and 1 / LONGEST_FRAME_S < rate < MOST_FPS else 1 / USUAL_FPS
        self._unit = stream.time_base or Fraction(1, 1000)
        self._steps: list[float] = []
        self._last: float | None = None
        self._shift: float | None = None
        self._length_s = 0.0
        self.start_s = 0.0

    def time_s(self, frame: Any) -> float:
        """When the next frame is shown."""
        told = None if frame.pts is None else float(frame.pts * self._unit)
        self._length_s = float((frame.duration or 0) * self._unit)
        if self._last is None:
            self.start_s = self._shift = 0.0 if told is None else told
            self._last = 0.0
            return 0.0
        assert self._shift is not None
        step = self._step()
        shown = self._last + step if told is None else told - self._shift
        if not 0 < shown - self._last <= LONGEST_FRAME_S:
            if told is not None and abs(shown - self._last) > 1:  # the clock starts again
                self._shift = told - (self._last + step)
            shown = self._last + step
        self._steps.append(shown - self._last)
        self._last = shown
        return shown

    def end_s(self) -> float:
        """When the last frame ends."""
        if self._last is None:
            return 0.0
        length = self._length_s if 1 / MOST_FPS < self._length_s <= LONGEST_FRAME_S else self._step()
        return self._last + length

    def _step(self) -> float:
        """The usual interval between frames."""
        recent = self._steps[-25:]
        return median(recent) if recent else self._usual_s
