"""Errors that alignment hides: the rotation of a prediction, and its size in the picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.metrics.alignments import fit_similarity

Rows = NDArray[np.float64]


def orientation_error_deg(prediction: ArrayLike, truth: ArrayLike) -> Rows:
    """Angle of the rotation that best aligns each prediction with the ground truth, `[N]` degrees, 0 to 180.

    Args:
        prediction: `[N, P, 3]`.
        truth: `[N, P, 3]`.
    """
    turn = fit_similarity(prediction, truth, reflection=False).matrix
    scale = np.cbrt(np.linalg.det(turn))
    cosine = (np.trace(turn, axis1=-2, axis2=-1) / scale - 1) / 2
    angles: Rows = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    return angles


def scale_errors(prediction_px: ArrayLike, truth_px: ArrayLike) -> dict[str, Rows]:
    """How much larger predictions are in the picture than the ground truth: the scale error of the camera.

    The size of points is their root mean square distance to their mean.

    Args:
        prediction_px: projected points, `[N, P, 2]`.
        truth_px: where they are, `[N, P, 2]`.

    Returns:
        `scale_bias_pct`: how much larger, in per cent, negative for too small, `[N]`; its mean shows a drift.
        `scale_error_pct`: the same without sign.
    """
    bias: Rows = 100.0 * (_spread(prediction_px) / _spread(truth_px) - 1.0)
    return {"scale_bias_pct": bias, "scale_error_pct": np.abs(bias)}


def _spread(points: ArrayLike) -> Rows:
    rows = np.asarray(points, np.float64)
    moved = rows - rows.mean(axis=-2, keepdims=True)
    size: Rows = np.sqrt((moved**2).sum(axis=-1).mean(axis=-1))
    return size
