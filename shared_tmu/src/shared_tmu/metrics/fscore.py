"""F-scores of two point clouds: nearest neighbours in both directions, without correspondence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.errors import MissingDependencyError

Shares = NDArray[np.float64]


@dataclass(frozen=True)
class FScores:
    """F-scores of N samples at one threshold.

    Args:
        per_sample: `[N]`, harmonic mean of the two shares, 0 where both are 0.
        truth_share: `[N]`, share of true vertices with a predicted vertex nearer than the threshold.
        prediction_share: `[N]`, share of predicted vertices with a true vertex nearer than the threshold.
    """

    per_sample: Shares
    truth_share: Shares
    prediction_share: Shares

    @property
    def mean(self) -> float:
        """Mean over samples, which the official tables print as F@t."""
        return float(self.per_sample.mean())

    def undefined(self) -> FScores:
        """NaN instead of all shares."""
        nan = np.full_like(self.per_sample, np.nan)
        return FScores(nan, nan, nan)


def f_scores(prediction: ArrayLike, truth: ArrayLike, thresholds: Sequence[float]) -> dict[float, FScores]:
    """F-score of each sample at each threshold; "nearer" is strict.

    The nearest neighbours of a sample are searched once for all thresholds, and only up to the largest one:
    farther points are simply "not near".

    Args:
        prediction: `[N, V, 3]` metres.
        truth: `[N, W, 3]` metres; the number of vertices may differ.
        thresholds: metres, such as 0.005 and 0.015.

    Returns:
        One `FScores` per threshold.

    Raises:
        MissingDependencyError: scipy is not installed.

    Source: Knapitsch et al. 2017, "Tanks and Temples"; FreiHAND's evaluation for hands.
    """
    predicted, true = np.asarray(prediction, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    reach = max(thresholds)
    nearest = [_nearest_both_ways(p, t, reach) for p, t in zip(predicted, true, strict=True)]
    scores: dict[float, FScores] = {}
    for threshold in thresholds:
        of_truth = np.array([(to_prediction < threshold).mean() for to_prediction, _ in nearest])
        of_prediction = np.array([(to_truth < threshold).mean() for _, to_truth in nearest])
        total = of_truth + of_prediction
        f = np.divide(2 * of_truth * of_prediction, total, out=np.zeros_like(total), where=total > 0)
        scores[threshold] = FScores(f, of_truth, of_prediction)
    return scores


def _nearest_both_ways(prediction: Shares, truth: Shares, reach: float) -> tuple[Shares, Shares]:
    """Distance to the nearest point of the other cloud, `[W]` and `[V]`; infinite beyond `reach`."""
    try:
        from scipy.spatial import cKDTree
    except ImportError as error:
        raise MissingDependencyError("F-scores need scipy: pip install 'shared_tmu[eval]'.") from error
    prediction_tree, truth_tree = cKDTree(prediction), cKDTree(truth)
    to_prediction, _ = prediction_tree.query(truth, distance_upper_bound=reach)
    to_truth, _ = truth_tree.query(prediction, distance_upper_bound=reach)
    return to_prediction, to_truth
