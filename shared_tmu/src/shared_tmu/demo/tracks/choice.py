"""Which follower a run uses."""

from __future__ import annotations

from shared_tmu.demo.sources import ImageSource
from shared_tmu.demo.tracks.followers import (
    LOOK_AHEAD,
    LOOK_AHEAD_PIXELS,
    AsGiven,
    EachForItself,
    Find,
    Follower,
    LookAhead,
)
from shared_tmu.detect import Detector
from shared_tmu.detect.segmenter import finder

GIVEN = ("boxes", "whole-image")
"""Detectors whose boxes are what a user said, so that nothing is corrected unless that is asked for."""


def choose_follower(track: bool | None, source: ImageSource, detector: Detector, find: Find) -> Follower:
    """The follower for the images of a source; `track`: see `ClipChoice`."""
    if source.clock is None:
        return EachForItself(find)
    corrects = finder(detector).name not in GIVEN if track is None else track
    if not corrects:
        return AsGiven(find, source.clock)
    return LookAhead(find, source.clock, min(LOOK_AHEAD, LOOK_AHEAD_PIXELS // source.pixels))
