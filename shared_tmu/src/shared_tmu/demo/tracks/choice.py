"""Which follower a run uses."""

from __future__ import annotations

from collections.abc import Callable

from shared_tmu.demo.batching import Job
from shared_tmu.demo.clip_flags import GIVEN, ClipChoice
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
from shared_tmu.demo.tracks.mesh_follower import AHEAD, MeshFollower, Outline
from shared_tmu.detect import Detector
from shared_tmu.detect.segmenter import finder


def choose_follower(
    clip: ClipChoice,
    source: ImageSource,
    detector: Detector,
    find: Find,
    newest: Callable[[], Job],
    outline: Outline,
) -> Follower:
    """The follower for the images of a source.

    Args:
        clip: how frames belong together.
        source: the images.
        detector: what `find` runs.
        find, newest, outline: see `MeshFollower`.
    """
    if source.clock is None:
        return EachForItself(find)
    is_given = finder(detector).name in GIVEN
    if not (not is_given if clip.track is None else clip.track):
        return AsGiven(find, source.clock)
    most = 0 if source.is_live else LOOK_AHEAD_PIXELS // source.pixels
    if clip.detect_every > 1:
        ahead = min(max(AHEAD, clip.detect_every), most)
        return MeshFollower(find, source.clock, clip.detect_every, newest, outline, ahead)
    return LookAhead(find, source.clock, min(LOOK_AHEAD, most), believes=is_given)
