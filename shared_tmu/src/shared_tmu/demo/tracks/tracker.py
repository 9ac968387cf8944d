"""Gives the boxes of frames, in order, the numbers of their tracks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from shared_tmu.demo.tracks.association import Track, assign

FORGET_S, FORGET_FRAMES = 1.0, 2
"""A track that was not found for longer than this, and in more frames than this, has ended."""

CONFIRMED = 3
"""A track that the detector finds in fewer frames is stray, if there are so many around."""

AROUND_S = 0.3
"""How far these may be away: where frames are far apart, nothing can be found in several of them."""

VOTES = 5
"""Number of a track's newest boxes that vote for its side, unless more are looked at ahead."""

CONTRARY = 0.75
"""A track whose side is decided ends, and another begins, if this part of its newest votes is for the other
side: then two hands were taken for one."""


class Tracker:
    """Follows subjects through the frames of one clip.

    Args:
        decides_sides: whether a track has one side; otherwise boxes keep the side that they have.
        votes: number of its newest boxes that vote for it.
    """

    def __init__(self, decides_sides: bool, votes: int = VOTES) -> None:
        self.decides_sides, self.votes = decides_sides, votes
        self.tracks: list[Track] = []
        self._numbers = count()

    def step(self, boxes: Sequence[Any], frame: int, time_s: float) -> list[Track]:
        """The tracks of the boxes of the next frame, in their order; new ones begin and old ones end."""
        self.tracks = [
            track
            for track in self.tracks
            if time_s - track.time_s <= FORGET_S or frame - track.frame - 1 <= FORGET_FRAMES
        ]
        found = []
        for box, track in zip(boxes, assign(self.tracks, boxes, time_s), strict=True):
            if track is None:
                track = self.begin(box, frame, time_s)
            else:
                track.go_on(box, frame, time_s)
            self._vote(track, box)
            track.found, track.anchor = track.found + 1, box
            found.append(track)
        numbers = {track.number for track in found}
        for track in found:
            track.beside |= numbers - {track.number}
        return found

    def begin(self, box: Any, frame: int, time_s: float) -> Track:
        """A new track."""
        track = Track(next(self._numbers), box, frame, time_s)
        self.tracks.append(track)
        return track

    def is_contrary(self, track: Track) -> bool:
        """Whether a track's newest boxes are of the other side than the one that was decided."""
        if track.is_right is None or len(track.sides) < self.votes:
            return False
        against = sum(abs(vote) for vote in track.sides if (vote >= 0) != track.is_right)
        return against >= CONTRARY * sum(map(abs, track.sides))

    def split(self, track: Track) -> Track:
        """End a track, and begin another of the opposite side where it is now."""
        new = self.begin(track.box, track.frame, track.time_s)
        new.velocity, new.sides, new.is_right = track.velocity, track.sides, not track.is_right
        new.found, new.is_told, new.anchor = track.found, track.is_told, track.anchor
        self.tracks.remove(track)
        return new

    def _vote(self, track: Track, box: Any) -> None:
        if self.decides_sides and hasattr(box, "is_right"):
            vote = max(box.score, 1e-3) * (1 if box.is_right else -1)
            track.sides = [*track.sides, vote][-self.votes :]


def is_stray(found: int, time_s: float, times_s: Iterable[float]) -> bool:
    """Whether boxes that look like a subject are likely none, but what a detector sees for a moment.

    Args:
        found: in how many frames they are found.
        time_s: of the frame in question.
        times_s: of the frames that are known, with it.
    """
    return found < CONFIRMED and sum(abs(one - time_s) <= AROUND_S for one in times_s) >= CONFIRMED


def on_track(box: Any, track: Track) -> Any:
    """A box with the number of its track, and the track's side if that is decided."""
    side = {} if track.is_right is None else {"is_right": track.is_right}
    return replace(box, track=track.number, **side)
