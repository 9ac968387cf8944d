"""Bootstrap confidence intervals for a mean over samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bootstrap_interval(
    values: NDArray[np.float64], share: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean of `values` `[N]`, by drawing N values with replacement.

    To compare two runs on the same samples, pass the differences: variation common to both then cancels.

    Args:
        values: at least one value.
        share: probability that the interval should cover.
        draws: number of draws.
        seed: seed of the draws.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife".
    """
    generator = np.random.default_rng(seed)
    means = [values[generator.integers(0, len(values), len(values))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
