"""95 % bootstrap intervals of a run: of its errors, and of their differences to the unpatched model's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.evaluation.store import UNREADABLE
from shared_tmu.metrics.bootstrap import bootstrap_interval
from shared_tmu.metrics.landmarks import MEAN_HAND

PER_SAMPLE = "per_sample.npz"
_Rows = Mapping[str, NDArray[Any]]


def read_intervals(folder: Path, baseline: Path | None, headline: Mapping[str, float]) -> dict[str, Any]:
    """Intervals for a result line, from the per-sample errors of a run.

    Args:
        folder: of the run, where `per_sample.npz` lies.
        baseline: the same of `off` on the same samples; None, or without that file, gives no differences.
        headline: only errors that are named here and exist per sample get an interval.

    Returns:
        `interval_95`: lowest and highest mean by name. `minus_off_interval_95`: of the paired difference to
        `off`, None without it. On photographs also `minus_mean_hand_interval_95`: of the paired difference
        to the mean hand.
    """
    rows = read_per_sample(folder)
    assert rows is not None, f"{folder} has been scored"
    names = [name for name in rows if name in headline]
    off = read_per_sample(baseline) if baseline else None
    comparable = off is not None and rows["image"].tolist() == off["image"].tolist()
    own = [name for name in names if not name.startswith(MEAN_HAND) and (off is None or name in off)]
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


def is_damaged(folder: Path) -> bool:
    """Whether the per-sample errors of a run are there and cannot be read."""
    return (folder / PER_SAMPLE).exists() and read_per_sample(folder) is None


def read_per_sample(folder: Path) -> dict[str, NDArray[Any]] | None:
    """Errors by name and the pictures' names as `image`, `[N]` each; None if there are none, or damaged."""
    try:
        with np.load(folder / PER_SAMPLE, allow_pickle=False) as archive:
            rows = {name: archive[name] for name in archive.files}
        count = len(rows["image"])
    except (*UNREADABLE, TypeError, AttributeError):
        return None
    errors = [values for name, values in rows.items() if name != "image"]
    is_whole = rows["image"].ndim == 1 and all(
        values.shape == (count,) and values.dtype.kind == "f" for values in errors
    )
    return rows if is_whole and errors else None
