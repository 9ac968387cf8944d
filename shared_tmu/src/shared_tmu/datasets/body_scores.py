"""Scores of whole bodies, as the evaluation runner takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADLINE = {"pa_mpvpe_all": "pa_mpvpe", "pa_mpjpe_body": "pa_mpjpe", "mpvpe_all": "mpvpe"}


@dataclass(frozen=True)
class BodyScores:
    """Every EHF measure of every sample.

    Args:
        errors_mm: arrays `[N]` by measure, in millimetres; see `score_ehf`.
    """

    errors_mm: dict[str, NDArray[np.float64]]

    @property
    def headline(self) -> dict[str, float]:
        """Means in millimetres; `pa_mpvpe_mm` is of the whole body, `pa_mpjpe_mm` of its 14 joints."""
        means = {name: float(values.mean()) for name, values in self.per_sample.items()}
        return {**{f"{name}_mm": means[f"{name}_mm"] for name in _HEADLINE.values()}, **means}

    @property
    def per_sample(self) -> dict[str, NDArray[np.float64]]:
        """Arrays `[N]` in millimetres, named as in `headline`."""
        return {f"{_HEADLINE.get(name, name)}_mm": values for name, values in self.errors_mm.items()}

    def official(self) -> dict[str, float]:
        """Mean of each measure over samples, in millimetres."""
        return {name: float(values.mean()) for name, values in self.errors_mm.items()}

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types."""
        return {
            name: {"mean_mm": mean, "per_sample_mm": self.errors_mm[name].tolist()}
            for name, mean in self.official().items()
        }

    def scores_txt(self) -> str:
        """One `name: value` per line, millimetres. (EHF has no score file of its own.)"""
        return "".join(f"{name}: {value:f}\n" for name, value in self.official().items())
