"""Savitzky-Golay smoothing: a parabola is fitted to the frames around each one, at the times at which they
are shown, and read off there.

At an even frame rate it equals `scipy.signal.savgol_filter`, which knows no other. Rotations are fitted as
turns away from that of the middle frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared_tmu.temporal.smoothing.kinds import AROUND
from shared_tmu.temporal.smoothing.motion import Motion, Numbers
from shared_tmu.temporal.smoothing.one_euro import turn_between, turn_by

ORDER = 2
"""Of the polynomial."""


def weights(times_s: Sequence[float], at_s: float, order: int = ORDER) -> Numbers:
    """What each of some frames counts in the value at a time, `[N]`; their sum is 1."""
    from_there = np.asarray(times_s, np.float64) - at_s
    scaled = from_there / max(np.abs(from_there).max(), 1e-9)
    powers = np.vander(scaled, min(order, len(scaled) - 1) + 1, increasing=True)
    first: Numbers = np.linalg.pinv(powers)[0]
    return first


def fit_clip(times_s: Sequence[float], motions: Sequence[Motion], around: int = AROUND) -> list[Motion]:
    """All frames of a clip, each smoothed with `around` on each side."""
    found = []
    for index in range(len(motions)):
        first = max(0, index - around)
        near = slice(first, index + around + 1)
        found.append(fit(times_s[near], motions[near], index - first))
    return found


def fit(times_s: Sequence[float], motions: Sequence[Motion], index: int) -> Motion:
    """The smoothed motion of one of some frames of a track."""
    middle, parts = motions[index], weights(times_s, times_s[index])
    turns = np.stack([turn_between(middle.rotations, one.rotations) for one in motions])
    return Motion(
        turn_by(middle.rotations, np.tensordot(parts, turns, 1)),
        np.tensordot(parts, np.stack([one.shape for one in motions]), 1),
        np.tensordot(parts, np.stack([one.place for one in motions]), 1),
        middle.size,
    )
