"""Windows of one length of motions of any length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def windows_of(pose: NDArray[np.float64], frames: int) -> list[NDArray[np.float64]]:
    """Windows `[frames, ...]` that cover a motion `[T, ...]`, the last one from its end."""
    if len(pose) < frames:
        to_and_fro = np.concatenate((np.arange(len(pose)), np.arange(len(pose) - 2, 0, -1)))
        return [pose[np.resize(to_and_fro, frames)]]
    starts = {*range(0, len(pose) - frames + 1, frames), len(pose) - frames}
    return [pose[start : start + frames] for start in sorted(starts)]
