"""How well projected key points agree with landmarks of another detector, in units of the hand's box.

Photographs have no ground truth, but an independent landmark model can serve as the same reference for every
hand model: fingers at the right place in the picture get a good score. This says nothing about depth, and the
errors of the landmark model affect all models alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.metrics.hand_table import expect_finite

THRESHOLDS = (0.1, 0.15, 0.2)
"""Thresholds as fractions of the longer side of the hand's box."""
MEAN_HAND = "mean_hand"
"""Name of the control that uses only the box."""


@dataclass(frozen=True)
class LandmarkScores:
    """Distances to the landmarks, divided by the longer side of each hand's box.

    Args:
        model: distances of the evaluated model, `[N, J]`.
        controls: distances of predictions that use only the box, by name, `[N, J]` each.
    """

    model: NDArray[np.float64]
    controls: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def headline(self) -> dict[str, float]:
        """`error_box`, `pck_10`, `pck_15`, `pck_20`, and the same for each control with its name as
        prefix.
        """
        return _numbers(self.model) | {
            f"{name}_{key}": value
            for name, distances in self.controls.items()
            for key, value in _numbers(distances).items()
        }

    @property
    def per_sample(self) -> dict[str, NDArray[np.float64]]:
        """Means over each hand's key points, `[N]`, by the names of `headline`."""
        return _rows(self.model) | {
            f"{name}_{key}": values
            for name, distances in self.controls.items()
            for key, values in _rows(distances).items()
        }

    def official(self) -> dict[str, float]:
        """The same as `headline`: no official score file exists."""
        return self.headline

    def scores_txt(self) -> str:
        """One `name: value` per line, six decimals."""
        return "".join(f"{name}: {value:f}\n" for name, value in self.headline.items())

    def as_dict(self) -> dict[str, Any]:
        """Means and all distances."""
        return {**self.headline, "distances_over_box": self.model.tolist()}


def score_landmarks(
    prediction: ArrayLike,
    landmarks: ArrayLike,
    unit_px: ArrayLike,
    controls: dict[str, NDArray[np.float64]] | None = None,
) -> LandmarkScores:
    """Compare predicted key points with landmarks.

    Args:
        prediction: `[N, J, 2]` picture pixels.
        landmarks: `[N, J, 2]` picture pixels, in the same order.
        unit_px: the longer side of each hand's box, `[N]`.
        controls: further predictions, by name.

    Raises:
        InputError: predictions are not finite.
    """
    points = np.asarray(prediction, dtype=np.float64)
    expect_finite("the predicted key points", points)
    truth, unit = np.asarray(landmarks, dtype=np.float64), np.asarray(unit_px, dtype=np.float64)[:, None]

    def relative(found: NDArray[np.float64]) -> NDArray[np.float64]:
        distances: NDArray[np.float64] = np.linalg.norm(found - truth, axis=-1) / unit
        return distances

    return LandmarkScores(relative(points), {k: relative(v) for k, v in (controls or {}).items()})


def _percent(threshold: float) -> int:
    return round(100 * threshold)


def _rows(distances: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    shares = {f"pck_{_percent(t)}": (distances <= t).mean(axis=1) for t in THRESHOLDS}
    return {"error_box": distances.mean(axis=1), **shares}


def _numbers(distances: NDArray[np.float64]) -> dict[str, float]:
    shares = {f"pck_{_percent(t)}": float((distances <= t).mean()) for t in THRESHOLDS}
    return {"error_box": float(distances.mean()), **shares}
