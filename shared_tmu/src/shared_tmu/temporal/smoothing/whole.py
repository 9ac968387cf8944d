"""Filters over a whole clip."""

from __future__ import annotations

from collections.abc import Sequence

from shared_tmu.temporal.smoothing.kinds import BOTH_WAYS, SAVGOL
from shared_tmu.temporal.smoothing.motion import Motion
from shared_tmu.temporal.smoothing.one_euro import OneEuro, turn_between, turn_by
from shared_tmu.temporal.smoothing.savgol import fit_clip


def smooth_clip(kind: str, times_s: Sequence[float], motions: Sequence[Motion]) -> list[Motion]:
    """All frames of a clip, smooth.

    Args:
        kind: `one-euro`, `savgol`, or `one-euro-both`: the first, from both ends, and the middle of the two,
            which lags behind in neither direction but needs the whole clip, as the decoder does.
        times_s: when each frame is shown.
        motions: of one track, one per frame.
    """
    if kind == SAVGOL:
        return fit_clip(times_s, motions)
    forward = _one_way(times_s, motions)
    if kind != BOTH_WAYS:
        return forward
    back = _one_way([times_s[-1] - time for time in reversed(times_s)], motions[::-1])[::-1]
    return [_middle(*both) for both in zip(forward, back, strict=True)]


def _one_way(times_s: Sequence[float], motions: Sequence[Motion]) -> list[Motion]:
    smoother = OneEuro()
    return [smoother.step(time, motion) for time, motion in zip(times_s, motions, strict=True)]


def _middle(a: Motion, b: Motion) -> Motion:
    rotations = turn_by(a.rotations, 0.5 * turn_between(a.rotations, b.rotations))
    return Motion(rotations, 0.5 * (a.shape + b.shape), 0.5 * (a.place + b.place), a.size)
