"""Share of points within a distance, over a range of distances, and the area under that curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pck_curve(distances: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of correct points at each threshold; a point at exactly the threshold counts as correct.

    The official scripts average one curve per point; since all points have the same number of samples, the
    share of all distances is equal to that average.

    Args:
        distances: `[N, P]`, any unit.
        thresholds: `[K]`, ascending, the same unit.

    Returns:
        `[K]`, shares between 0 and 1.
    """
    # K if it is never within a threshold
    first_within = np.searchsorted(thresholds, distances.ravel(), side="left")
    counts = np.bincount(first_within, minlength=len(thresholds) + 1)[: len(thresholds)]
    shares: NDArray[np.float64] = counts.cumsum() / distances.size
    return shares


def area_under_pck(curve: NDArray[np.float64], thresholds: NDArray[np.float64]) -> float:
    """Area under a PCK curve by the trapezoid rule, divided by the range of thresholds: between 0 and 1."""
    widths = np.diff(thresholds)
    return float((0.5 * (curve[1:] + curve[:-1]) * widths).sum() / widths.sum())
