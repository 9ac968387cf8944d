"""Rotations as functions of time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unwrapped(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axis-angle `[T, 3]` of the same rotations, each as near as can be to the one before, so that mixtures
    of neighbours lie between them."""
    found = vectors.copy()
    for frame in range(1, len(found)):
        angle = np.linalg.norm(found[frame])
        before = np.linalg.norm(found[frame - 1])
        if angle < 1e-9 and before < 1e-9:
            continue
        axis = found[frame] / angle if angle >= 1e-9 else found[frame - 1] / before
        rounds = np.round((found[frame - 1] @ axis - angle) / (2 * np.pi))
        found[frame] = axis * (angle + 2 * np.pi * rounds)
    return found
