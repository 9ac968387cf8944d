"""Distances between corresponding points, and their means as in the official scripts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.errors import InputError

MM_PER_M = 1000.0


def point_distances(prediction: ArrayLike, truth: ArrayLike) -> NDArray[np.float64]:
    """Euclidean distance of each point to its counterpart.

    Args:
        prediction: `[N, P, 3]` metres.
        truth: `[N, P, 3]` metres.

    Returns:
        `[N, P]` metres.

    Raises:
        InputError: the shapes differ.
    """
    a, b = np.asarray(prediction, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if a.shape != b.shape:
        raise InputError(f"cannot compare points of shape {a.shape} with {b.shape}: they must be the same.")
    distances: NDArray[np.float64] = np.sqrt(np.square(a - b).sum(axis=-1))
    return distances


def mean_error_mm(distances: NDArray[np.float64]) -> float:
    """Mean over samples for each point, then mean over points, in mm; `distances` is `[N, P]` metres."""
    return float(distances.mean(axis=0).mean()) * MM_PER_M


def mean_of_median_error_mm(distances: NDArray[np.float64]) -> float:
    """Median over samples for each point, then mean over points, in mm; `distances` is `[N, P]` metres."""
    return float(np.median(distances, axis=0).mean()) * MM_PER_M
