"""How subjects are found in the frames of a source: each frame for itself, or along tracks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from shared_tmu.demo.read_ahead import Loaded
from shared_tmu.demo.tracks.association import Track, between, stands_for
from shared_tmu.demo.tracks.tracker import FORGET_S, VOTES, Tracker, is_stray, on_track
from shared_tmu.detect import Detection

Find = Callable[[Loaded], Detection[Any] | None]
"""Runs the detector on a frame; None if it failed, which it has then reported."""

Found = tuple[Loaded, Detection[Any]]

LOOK_AHEAD = 12
"""Frames that are found before the first of them is cut: their votes decide the sides of new tracks."""

LOOK_AHEAD_PIXELS = 40_000_000
"""Limit of the pixels of these frames."""

TIMES = 64
"""Number of the newest frames whose times are known, to see how far apart frames are."""

BRIDGED = 5
"""Most frames of a gap that is bridged: a track that the detector loses for longer is not made up."""


class Follower(Protocol):
    """Finds the subjects of frames that come in order."""

    @property
    def frames_held(self) -> int:
        """Number of frames that it may keep before it gives back the first."""

    @property
    def is_step_by_step(self) -> bool:
        """Whether it must know the meshes of a frame before it gives back the next."""

    def take(self, loaded: Loaded) -> Iterator[Found]:
        """Take a frame; gives back, in order, those in which all is now found."""

    def finish(self) -> Iterator[Found]:
        """Those that are left."""


class EachForItself:
    """Runs the detector on every picture."""

    frames_held, is_step_by_step = 0, False

    def __init__(self, find: Find) -> None:
        self.find = find

    def take(self, loaded: Loaded) -> Iterator[Found]:
        """See `Follower`, also for the others."""
        detection = self.find(loaded)
        if detection is not None:
            yield loaded, detection

    def finish(self) -> Iterator[Found]:
        yield from ()


class AsGiven:
    """Runs the detector on every frame and numbers the tracks; boxes stay as they are, with their sides.

    Args:
        find: the detector.
        time_of: when a frame is shown, seconds.
    """

    frames_held, is_step_by_step = 0, False

    def __init__(self, find: Find, time_of: Callable[[int], float]) -> None:
        self.find, self.time_of, self.tracker = find, time_of, Tracker(decides_sides=False)

    def take(self, loaded: Loaded) -> Iterator[Found]:
        """See `Follower`, also for the others."""
        detection = self.find(loaded)
        if detection is not None:
            frame = int(loaded.source.key)
            tracks = self.tracker.step(detection.boxes, frame, self.time_of(frame))
            boxes = (on_track(box, track) for box, track in zip(detection.boxes, tracks, strict=True))
            yield loaded, replace(detection, boxes=tuple(boxes))

    def finish(self) -> Iterator[Found]:
        yield from ()


@dataclass
class _Waiting:
    """A frame that waits for those after it.

    Attributes:
        frame: its number.
        found: its boxes by track, in the order of the detector.
    """

    loaded: Loaded
    detection: Detection[Any]
    frame: int
    found: list[tuple[Track, Any]] = field(default_factory=list)

    def box_of(self, track: Track) -> Any:
        """The box of a track; None if it was not found."""
        return next((box for other, box in self.found if other is track), None)


class LookAhead:
    """Runs the detector on every frame, some frames ahead: a track has one side from its first frame on,
    short gaps are bridged by boxes between those on both sides, and stray boxes are left out.

    Args:
        find: the detector.
        time_of: when a frame is shown, seconds.
        frames: frames to look ahead.
        believes: keep boxes that may be stray: a user gave them.
    """

    is_step_by_step = False

    def __init__(
        self, find: Find, time_of: Callable[[int], float], frames: int = LOOK_AHEAD, believes: bool = False
    ) -> None:
        self.find, self.time_of, self.frames_held, self.believes = find, time_of, frames, believes
        self.tracker = Tracker(decides_sides=True, votes=max(frames, VOTES))
        self._waiting: deque[_Waiting] = deque()
        self._times_s: deque[float] = deque(maxlen=TIMES)
        self._found: dict[int, tuple[int, Any]] = {}  # by track: the last frame that had it, and its box

    def take(self, loaded: Loaded) -> Iterator[Found]:
        """See `Follower`, also for the others."""
        detection = self.find(loaded)
        if detection is None:
            return
        frame = int(loaded.source.key)
        self._times_s.append(self.time_of(frame))
        tracks = self.tracker.step(detection.boxes, frame, self._times_s[-1])
        found = list(zip(tracks, detection.boxes, strict=True))
        self._waiting.append(_Waiting(loaded, detection, frame, found))
        for track in tracks:
            if self.tracker.is_contrary(track):
                self._split(track)
        while len(self._waiting) > self.frames_held:
            yield self._give_back()

    def finish(self) -> Iterator[Found]:
        while self._waiting:
            yield self._give_back()

    def _give_back(self) -> Found:
        """The frame that has waited longest, with the boxes of bridged gaps after the detector's own."""
        first = self._waiting.popleft()
        strays = [track for track, _ in first.found if not self._is_told(track, first.frame)]
        first.found = [(track, box) for track, box in first.found if track not in strays]
        for track, _ in first.found:
            track.is_right = track.side
        bridges = list(self._bridges(first))
        boxes = [
            on_track(box, track)
            for track, box in first.found
            if not any(stands_for(track, on_track(box, track), bridge) for bridge in bridges)
        ]
        self._found |= {box.track: (first.frame, box) for box in boxes}
        alive = {track.number for track in self.tracker.tracks}
        alive |= {track.number for one in self._waiting for track, _ in one.found}
        self._found = {number: last for number, last in self._found.items() if number in alive}
        return first.loaded, replace(first.detection, boxes=(*boxes, *bridges), strays=len(strays))

    def _is_told(self, track: Track, frame: int) -> bool:
        """Whether a track is no stray, seen from a frame of it."""
        track.is_told |= self.believes or not is_stray(track.found, self.time_of(frame), self._times_s)
        return track.is_told

    def _bridges(self, gap: _Waiting) -> Iterator[Any]:
        """Boxes of the tracks that were found before a frame, and are found again after it."""
        present = {track.number for track, _ in gap.found}
        for number, (before, box) in self._found.items():
            again = None if number in present else self._next_of(number)
            if again is None:
                continue
            after, track, other = again
            start, now, end = (self.time_of(frame) for frame in (before, gap.frame, after))
            if after - before - 1 <= BRIDGED and end - start <= FORGET_S:
                share = (now - start) / max(end - start, 1e-9)
                yield on_track(between(box, other, share), track)

    def _next_of(self, number: int) -> tuple[int, Track, Any] | None:
        """The first waiting frame in which a track was found, with the track and its box."""
        later = ((one.frame, *pair) for one in self._waiting for pair in one.found)
        return next((one for one in later if one[1].number == number), None)

    def _split(self, track: Track) -> None:
        """Give the waiting boxes of a track, from the first that contradicts its side on, to a new one."""
        new, is_new = self.tracker.split(track), False
        for one in self._waiting:
            box = one.box_of(track)
            is_new |= box is not None and box.is_right != track.is_right
            if is_new:
                one.found = [(new if other is track else other, box) for other, box in one.found]
