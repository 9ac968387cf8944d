"""Runs the detector on some frames only: in between, boxes follow the meshes that were predicted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo.batching import Job
from shared_tmu.demo.read_ahead import Loaded
from shared_tmu.demo.tracks.association import (
    Track,
    assign,
    concluded,
    stands_for,
)
from shared_tmu.demo.tracks.box_filter import BoxFilter, mesh_numbers
from shared_tmu.demo.tracks.followers import BRIDGED, TIMES, Find, Found
from shared_tmu.demo.tracks.tracker import CONFIRMED, Tracker, is_stray, on_track
from shared_tmu.detect import Detection
from shared_tmu.detect.base import shared_part

AHEAD = 5
"""Frames that vote for the side of a new track before its first is cut."""

JUMP = 0.3
"""A mesh whose box shares less than this part with that of the frame before is doubted."""

SWELL = 1.5
"""So is one that has grown or shrunk by more than this from frame to frame."""

ON_EACH_OTHER = 0.7
"""Of two tracks of one side whose boxes share this part, the newer follows the other's hand."""

Outline = Callable[[Job, int], NDArray[np.float64]]
"""The pixels of the mesh of a subject of a frame, `[N, 2]`."""


@dataclass(eq=False)
class _Followed:
    """A track between detections.

    Attributes:
        track: which.
        anchor: its box where it was found last.
        filter: where it is.
        box: its box in the newest frame.
        missed: in how many frames the detector has missed it since.
        is_doubted: whether its mesh was elsewhere in the newest frame.
    """

    track: Track
    anchor: Any
    filter: BoxFilter
    box: Any
    missed: int = 0
    is_doubted: bool = False

    def move(self, corners: NDArray[np.float64]) -> None:
        """Its box is elsewhere."""
        self.box = concluded(self.anchor, corners, None, self.anchor.score)


class MeshFollower:
    """Runs the detector on every k-th frame, while a track is new, and when one is lost.

    Args:
        find: the detector.
        time_of: when a frame is shown, seconds.
        every: the detector runs at least on each of so many frames.
        newest: waits until the frame that was given back last has its meshes, and returns it.
        outline: gives the pixels of a mesh.
        ahead: frames to look ahead: for the sides of new tracks, and for where a track is found next.
    """

    is_step_by_step = True

    def __init__(
        self,
        find: Find,
        time_of: Callable[[int], float],
        every: int,
        newest: Callable[[], Job],
        outline: Outline,
        ahead: int = AHEAD,
    ) -> None:
        self.find, self.time_of, self.every = find, time_of, every
        self.newest, self.outline, self.frames_held = newest, outline, ahead
        self.tracker = Tracker(decides_sides=True, votes=AHEAD)
        self._waiting: deque[Loaded] = deque()
        self._detected: dict[int, Detection[Any] | None] = {}  # of waiting frames
        self._followed: list[_Followed] = []
        self._last = -every
        self._later: tuple[float, Mapping[int, Any]] | None = None  # boxes by track, in the next such frame
        self._is_awaited = self._is_unsure = False
        self._times_s: deque[float] = deque(maxlen=TIMES)

    def take(self, loaded: Loaded) -> Iterator[Found]:
        """See `Follower`, also for the other."""
        self._waiting.append(loaded)
        while len(self._waiting) > self.frames_held:
            yield from self._next()

    def finish(self) -> Iterator[Found]:
        while self._waiting:
            yield from self._next()

    def _next(self) -> Iterator[Found]:
        """The frame that has waited longest, unless the detector failed on it."""
        loaded = self._waiting.popleft()
        frame = int(loaded.source.key)
        self._times_s.append(self.time_of(frame))
        is_lost = self._learn()
        for one in self._followed:
            one.filter.go_to(self.time_of(frame))
            one.move(one.filter.box)
        is_due = frame - self._last >= self.every or frame in self._detected
        if is_due or is_lost or self._needs_another_look() or self._is_unsure_between():
            found = self._look(loaded, frame)
        else:
            found = Detection(tuple(on_track(one.box, one.track) for one in self._followed))
        if found is not None:
            self._is_awaited = True
            yield loaded, found

    def _learn(self) -> bool:
        """Take the meshes of the frame before; whether the detector must say where one of the tracks is."""
        if not self._is_awaited:
            return False
        job, self._is_awaited = self.newest(), False
        frame, before = int(job.source.key), self._followed
        numbers = {box.track: index for index, box in enumerate(job.detection.boxes)}
        self._followed = []
        for one in before:
            index = numbers.get(one.track.number)
            mesh = None if index is None else mesh_numbers(self.outline(job, index))
            if mesh is not None and self._goes_on(one, mesh, frame, job.size_px):
                self._followed.append(one)
        apart = list(_apart(self._followed))
        for one in self._followed:
            if one not in apart:  # it has ended: what is found there next is the other track's
                self.tracker.tracks.remove(one.track)
        self._followed = apart
        return len(self._followed) < len(before) or any(one.is_doubted for one in apart)

    def _goes_on(
        self, one: _Followed, mesh: NDArray[np.float64], frame: int, size_px: tuple[int, int]
    ) -> bool:
        """Whether a mesh may show its track, which then learns from it unless that is doubted."""
        if one.box.is_found:
            one.filter.compare(one.box.box_xyxy, mesh)
            return True
        if not _is_plausible(one.box.box_xyxy, one.filter.expected(mesh), size_px):
            return False
        one.is_doubted = one.filter.departs(mesh)
        if not one.is_doubted:
            one.filter.seen(mesh)
        one.move(one.filter.box)
        one.track.go_on(one.box, frame, self.time_of(frame))
        return True

    def _needs_another_look(self) -> bool:
        """Whether a track was missed, is perhaps stray, or has had too few votes for its side."""
        return self._is_unsure or any(
            one.missed or 0 < len(one.track.sides) < AHEAD for one in self._followed
        )

    def _is_unsure_between(self) -> bool:
        """Move all boxes towards where they are found next; whether one may still be elsewhere."""
        self._look_forward()
        later_s, later = self._later or (0.0, {})
        for one in self._followed:
            if one.track.number in later:
                one.move(one.filter.between(later[one.track.number].box_xyxy, later_s))
        return any(one.filter.is_unsure for one in self._followed)

    def _look_forward(self) -> None:
        """Find the tracks in the next frame on which the detector runs, if that is here already."""
        numbered = ((int(loaded.source.key), loaded) for loaded in self._waiting)
        due = (one for one in numbered if one[0] in self._detected or one[0] - self._last >= self.every)
        if self._later is not None or (next_one := next(due, None)) is None:
            return
        frame, loaded = next_one
        detection, time_s = self._detection(loaded, frame), self.time_of(frame)
        boxes: Sequence[Any] = () if detection is None else detection.boxes
        tracks = assign([one.track for one in self._followed], boxes, time_s)
        pairs = zip(tracks, boxes, strict=True)
        self._later = time_s, {track.number: box for track, box in pairs if track is not None}

    def _look(self, loaded: Loaded, frame: int) -> Detection[Any] | None:
        """The boxes of a frame on which the detector runs, and those of tracks that it has just missed."""
        detection = self._detection(loaded, frame)
        self._detected.pop(frame, None)
        self._last, self._later = frame, None
        if detection is None:
            return None
        tracks = self.tracker.step(detection.boxes, frame, self.time_of(frame))
        pairs = zip(tracks, detection.boxes, strict=True)
        told = [(track, box) for track, box in pairs if self._is_told(track, frame)]
        self._is_unsure = len(told) < len(tracks)
        tracks = [self._one_side(track, box) for track, box in told]
        boxes = [on_track(box, track) for track, (_, box) in zip(tracks, told, strict=True)]
        found = {track.number for track in tracks}
        missed = [one for one in self._followed if one.track.number not in found and one.missed < BRIDGED]
        missed = [one for one in missed if one.track in self.tracker.tracks]
        for one in missed:
            one.missed += 1
        bridges = [on_track(one.box, one.track) for one in missed]
        shown = zip(tracks, boxes, strict=True)
        boxes = [box for track, box in shown if not any(stands_for(track, box, other) for other in bridges)]
        filters = {one.track.number: one.filter for one in self._followed}
        by_number = {track.number: track for track in tracks}
        seen = [_Followed(by_number[box.track], box, self._found(box, filters, frame), box) for box in boxes]
        self._followed = [*seen, *missed]
        return Detection((*boxes, *bridges), detection.problems, len(detection.boxes) - len(told))

    def _found(self, box: Any, filters: Mapping[int, BoxFilter], frame: int) -> BoxFilter:
        """The filter of a track that was found: its own, or a new one after a jump."""
        known = filters.get(box.track)
        if known is None or not _is_near(known.box, box.box_xyxy):
            return BoxFilter(box.box_xyxy, self.time_of(frame))
        known.found(box.box_xyxy)
        return known

    def _detection(self, loaded: Loaded, frame: int) -> Detection[Any] | None:
        if frame not in self._detected:
            self._detected[frame] = self.find(loaded)
        return self._detected[frame]

    def _is_told(self, track: Track, frame: int) -> bool:
        """Whether a track that was just found is no stray, as far as the next frames say."""
        if track.is_told:
            return True
        later = [self.time_of(int(loaded.source.key)) for loaded in self._waiting]
        now, found = self.time_of(frame), track.found
        if is_stray(found, now, (*self._times_s, *later)):
            found += len(self._found_ahead(track, CONFIRMED - found))
        track.is_told = not is_stray(found, now, (*self._times_s, *later))
        return track.is_told

    def _one_side(self, track: Track, box: Any) -> Track:
        """The track of a box: with a side that the next frames have voted for too, or another track."""
        if not hasattr(box, "is_right"):
            return track
        if track.is_right is None:
            ahead = (one.score * (1 if one.is_right else -1) for one in self._found_ahead(track, AHEAD))
            track.is_right = sum(track.sides) + sum(ahead) >= 0
        return self.tracker.split(track) if self.tracker.is_contrary(track) else track

    def _found_ahead(self, track: Track, enough: int) -> list[Any]:
        """The boxes of a track in the next frames, as far as they are here, until there are enough."""
        ahead = copy(track)
        found: list[Any] = []
        for loaded in islice(self._waiting, AHEAD):
            if len(found) >= enough:
                break
            frame = int(loaded.source.key)
            detection = self._detection(loaded, frame)
            boxes: Sequence[Any] = () if detection is None else detection.boxes
            for box, same in zip(boxes, assign([ahead], boxes, self.time_of(frame)), strict=True):
                if same is not None:
                    ahead.go_on(box, frame, self.time_of(frame))
                    found.append(box)
        return found


def _is_plausible(old: Sequence[float], new: NDArray[np.float64], size_px: tuple[int, int]) -> bool:
    """Whether a box may show the same subject as another one, in the picture."""
    at = (new[:2] + new[2:]) / 2
    return bool(np.all((at >= 0) & (at < size_px))) and _is_near(old, new)


def _is_near(old: Sequence[float] | NDArray[np.float64], new: Sequence[float] | NDArray[np.float64]) -> bool:
    """Whether a box may show the same subject as another one."""
    sides = (max(box[2] - box[0], box[3] - box[1]) for box in (old, new))
    growth = next(sides) / next(sides)
    return shared_part(old, new) >= JUMP and 1 / SWELL <= growth <= SWELL


def _apart(followed: Sequence[_Followed]) -> Iterator[_Followed]:
    """Those that do not follow the subject of another one that has been followed for longer."""
    kept: list[_Followed] = []
    for one in sorted(followed, key=lambda one: one.track.number):
        if not any(_is_on(one, other) for other in kept):
            kept.append(one)
            yield one


def _is_on(one: _Followed, other: _Followed) -> bool:
    same_side = one.track.side == other.track.side
    return same_side and shared_part(one.box.box_xyxy, other.box.box_xyxy) > ON_EACH_OTHER
