"""Bootstrap confidence intervals for a mean over samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def bootstrap_interval(
    values: NDArray[np.float64],
    share: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    groups: Sequence[int] | NDArray[np.int64] | None = None,
) -> tuple[float, float]:
    """Percentile interval of the mean of `values` `[N]`, by drawing N values with replacement.

    To compare two runs on the same samples, pass the differences: variation common to both then cancels.
    Values that are alike, such as those of a clip's frames, must be drawn together: otherwise the interval
    is too narrow.

    Args:
        values: at least one value.
        share: probability that the interval should cover.
        draws: number of draws.
        seed: seed of the draws.
        groups: number of each value's group, `[N]`; as many groups as there are get drawn, each with all of
            its values. None: every value is a group.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife"; for groups, Davison and Hinkley
    1997, "Bootstrap Methods and their Application", section 3.8.
    """
    generator = np.random.default_rng(seed)
    _, rows = np.unique(np.arange(len(values)) if groups is None else groups, return_inverse=True)
    counts = np.bincount(rows)
    sums = np.bincount(rows, weights=values)
    drawn = (generator.integers(0, len(counts), len(counts)) for _ in range(draws))
    means = [sums[picked].sum() / counts[picked].sum() for picked in drawn]
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
