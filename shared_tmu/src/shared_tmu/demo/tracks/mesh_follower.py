"""Runs the detector on some frames only: in between, boxes follow the meshes that were predicted."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo.batching import Job
from shared_tmu.demo.read_ahead import Loaded
from shared_tmu.demo.tracks.association import (
    Track,
    assign,
    between,
    concluded,
    longer_side,
    middle,
    stands_for,
)
from shared_tmu.demo.tracks.followers import BRIDGED, Find, Found
from shared_tmu.demo.tracks.tracker import Tracker, on_track
from shared_tmu.detect import Detection
from shared_tmu.detect.base import shared_part

AHEAD = 5
"""Frames that vote for the side of a new track before its first is cut."""

JUMP = 0.3
"""A mesh whose box shares less than this part with that of the frame before is doubted."""

SWELL = 1.5
"""So is one that has grown or shrunk by more than this from frame to frame."""

FOLLOWED = 0.5
"""How far a box follows its mesh from frame to frame, 0 to 1."""

ON_EACH_OTHER = 0.7
"""Of two tracks of one side whose boxes share this part, the newer follows the other's hand."""

Extent = tuple[NDArray[np.float64], float]
Outline = Callable[[Job, int], NDArray[np.float64]]
"""The pixels of the mesh of a subject of a frame, `[N, 2]`."""


@dataclass(eq=False)
class _Followed:
    """A track between detections.

    Attributes:
        track: which.
        anchor: its box where it was found last.
        mesh: middle and spread of its mesh there, see `_extent`; None until that is predicted.
        box: where its mesh is now.
        missed: in how many frames the detector has missed it since.
    """

    track: Track
    anchor: Any
    mesh: Extent | None
    box: Any
    missed: int = 0


class MeshFollower:
    """Runs the detector on every k-th frame, while a track is new, and when one is lost.

    Args:
        find: the detector.
        time_of: when a frame is shown, seconds.
        every: the detector runs at least on each of so many frames.
        newest: waits until the frame that was given back last has its meshes, and returns it.
        outline: gives the pixels of a mesh.
        ahead: frames to look ahead for the sides of new tracks.
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
        self._is_awaited = False

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
        is_lost = self._learn()
        is_due = frame - self._last >= self.every or frame in self._detected
        if is_due or is_lost or self._needs_another_look():
            found = self._look(loaded, frame)
        else:
            found = Detection(tuple(self._boxes()))
        if found is not None:
            self._is_awaited = True
            yield loaded, found

    def _learn(self) -> bool:
        """Move the followed boxes to the meshes of the frame before; whether one of them is lost."""
        if not self._is_awaited:
            return False
        job, self._is_awaited = self.newest(), False
        frame, before = int(job.source.key), self._followed
        numbers = {box.track: index for index, box in enumerate(job.detection.boxes)}
        self._followed = []
        for one in before:
            index = numbers.get(one.track.number)
            mesh = None if index is None else _extent(self.outline(job, index))
            if mesh is None:
                continue
            one.mesh = mesh if one.mesh is None else one.mesh
            goal = _mapped(one, mesh)
            if _is_plausible(one.box, goal, job.size_px):
                # part of the way: a mesh that shakes must not shake the crop that it comes from
                one.box = between(one.box, goal, FOLLOWED)
                one.track.go_on(one.box, frame, self.time_of(frame))
                self._followed.append(one)
        apart = list(_apart(self._followed))
        for one in self._followed:
            if one not in apart:  # it has ended: what is found there next is the other track's
                self.tracker.tracks.remove(one.track)
        self._followed = apart
        return len(self._followed) < len(before)

    def _needs_another_look(self) -> bool:
        """Whether a track was missed, or has had too few votes for its side."""
        return any(one.missed or 0 < len(one.track.sides) < AHEAD for one in self._followed)

    def _boxes(self) -> Iterator[Any]:
        """The boxes of a frame on which the detector does not run."""
        for one in self._followed:
            yield on_track(replace(one.box, is_found=False), one.track)

    def _look(self, loaded: Loaded, frame: int) -> Detection[Any] | None:
        """The boxes of a frame on which the detector runs, and those of tracks that it has just missed."""
        detection = self._detection(loaded, frame)
        self._detected.pop(frame, None)
        self._last = frame
        if detection is None:
            return None
        tracks = self.tracker.step(detection.boxes, frame, self.time_of(frame))
        pairs = zip(tracks, detection.boxes, strict=True)
        tracks = [self._one_side(track, box) for track, box in pairs]
        boxes = [on_track(box, track) for track, box in zip(tracks, detection.boxes, strict=True)]
        found = {track.number for track in tracks}
        missed = [one for one in self._followed if one.track.number not in found and one.missed < BRIDGED]
        missed = [one for one in missed if one.track in self.tracker.tracks]
        for one in missed:
            one.missed += 1
        bridges = [on_track(replace(one.box, is_found=False), one.track) for one in missed]
        shown = zip(tracks, boxes, strict=True)
        boxes = [box for track, box in shown if not any(stands_for(track, box, other) for other in bridges)]
        by_number = {track.number: track for track in tracks}
        seen = [_Followed(by_number[box.track], box, None, box) for box in boxes]
        self._followed = [*seen, *missed]
        return Detection((*boxes, *bridges), detection.problems)

    def _detection(self, loaded: Loaded, frame: int) -> Detection[Any] | None:
        if frame not in self._detected:
            self._detected[frame] = self.find(loaded)
        return self._detected[frame]

    def _one_side(self, track: Track, box: Any) -> Track:
        """The track of a box: with a side that the next frames have voted for too, or another track."""
        if not hasattr(box, "is_right"):
            return track
        if track.is_right is None:
            track.is_right = self._vote_ahead(track)
        return self.tracker.split(track) if self.tracker.is_contrary(track) else track

    def _vote_ahead(self, track: Track) -> bool:
        """The side of a new track."""
        ahead, sides = copy(track), list(track.sides)
        for loaded in self._waiting:
            frame = int(loaded.source.key)
            detection = self._detection(loaded, frame)
            boxes: Sequence[Any] = () if detection is None else detection.boxes
            for box, same in zip(boxes, assign([ahead], boxes, self.time_of(frame)), strict=True):
                if same is not None:
                    ahead.go_on(box, frame, self.time_of(frame))
                    sides.append(box.score * (1 if box.is_right else -1))
        return sum(sides) >= 0


def _extent(points: NDArray[np.float64]) -> Extent | None:
    """The middle of points `[N, 2]` and how far they are from it; None if some are not finite."""
    if not np.isfinite(points).all():
        return None
    centre = points.mean(0)
    return centre, float(np.sqrt(np.square(points - centre).sum(-1).mean()))


def _mapped(one: _Followed, mesh: Extent) -> Any:
    """The box of a track, moved and grown as its mesh since the detector found it."""
    assert one.mesh is not None
    (old, old_spread), (new, new_spread) = one.mesh, mesh
    scale = new_spread / max(old_spread, 1e-6)
    goal = (np.reshape(one.anchor.box_xyxy, (2, 2)) - old) * scale + new
    return concluded(one.anchor, goal.reshape(-1), None, one.anchor.score)


def _is_plausible(old: Any, new: Any, size_px: tuple[int, int]) -> bool:
    """Whether a box may show the same subject a frame later, in the picture."""
    growth = longer_side(new) / longer_side(old)
    is_inside = bool(np.all((middle(new) >= 0) & (middle(new) < size_px)))
    is_near = shared_part(old.box_xyxy, new.box_xyxy) >= JUMP
    return is_inside and is_near and 1 / SWELL <= growth <= SWELL


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
