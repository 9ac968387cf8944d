"""95 % bootstrap intervals of a run: of its errors, and of their differences to the unpatched model's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.metrics.bootstrap import bootstrap_interval
from shared_tmu.metrics.landmarks import MEAN_HAND

PER_SAMPLE = "per_sample.npz"
_Rows = Mapping[str, NDArray[Any]]


def read_intervals(folder: Path, baseline: Path | None, headline: Mapping[str, float]) -> dict[str, Any]:
    """Intervals for a result line, from the per-sample errors of a run.

    Args:
        folder: of the run, where `per_sample.npz` lies.
        baseline: the same of `off` on the same samples; None, or without that file, gives no differences.
        headline: only what is in here, and exists per sample, gets an interval.

    Returns:
        `interval_95`: lowest and highest mean by name. `minus_off_interval_95`: of the paired difference to
        `off`, None without it. On photographs also `minus_mean_hand_interval_95`: of the paired difference
        to the mean hand.
    """
    rows = _read(folder)
    assert rows is not None, f"{folder} has been scored"
    names = [name for name in rows if name in headline]
    off = _read(baseline) if baseline else None
    comparable = off is not None and rows["image"].tolist() == off["image"].tolist()
    own = [name for name in names if not name.startswith(MEAN_HAND)]
    fields: dict[str, Any] = {
        "interval_95": {name: list(bootstrap_interval(rows[name])) for name in names},
        "minus_off_interval_95": _paired(rows, off, own) if off is not None and comparable else None,
    }
    controls = {name: rows[key] for name in own if (key := f"{MEAN_HAND}_{name}") in rows}
    if controls:
        fields[f"minus_{MEAN_HAND}_interval_95"] = _paired(rows, controls, list(controls))
    return fields


def _paired(rows: _Rows, others: _Rows, names: list[str]) -> dict[str, list[float]]:
    return {name: list(bootstrap_interval(rows[name] - others[name])) for name in names}


def _read(folder: Path) -> dict[str, NDArray[Any]] | None:
    path = folder / PER_SAMPLE
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
