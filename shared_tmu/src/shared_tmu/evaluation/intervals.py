"""95 % bootstrap intervals of a run: for its errors, and for their differences from the unpatched model's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from shared_tmu.evaluation.per_sample import PER_SAMPLE, PerSample, find_per_sample, read_per_sample
from shared_tmu.metrics.landmarks import MEAN_HAND

_Rows = Mapping[str, NDArray[Any]]


def read_intervals(
    folder: Path, baseline: Path | None, headline: Mapping[str, float | None]
) -> dict[str, Any]:
    """Intervals for a result line, from the per-sample errors of a run.

    Args:
        folder: folder of the run, where `per_sample.parquet` lies.
        baseline: the same of `off`; None, or without that file, or if it is of other samples, annotations or
            pictures, gives no differences.
        headline: names of errors; those that exist per sample get an interval.

    Returns:
        `interval_95`: interval of the mean, lower and upper end by name. `minus_off_interval_95`: interval of
            the paired difference from `off`, None without it. On photographs also
            `minus_mean_hand_interval_95`: interval of the paired difference from the mean hand. Samples
            without a value do not count; without any there is no interval.
    """
    own = read_per_sample(folder)
    rows = {name: values for name, values in own.errors.items() if name in headline}
    off = find_baseline(baseline, own.about.get("dataset_sha256")) if baseline else None
    comparable = off is not None and own.samples == off.samples
    names = [name for name in rows if not name.startswith(MEAN_HAND) and (off is None or name in off.errors)]
    fields: dict[str, Any] = {
        "interval_95": _intervals(own, rows),
        "minus_off_interval_95": _paired(own, off.errors, names) if off and comparable else None,
    }
    controls = {name: own.errors[key] for name in names if (key := f"{MEAN_HAND}_{name}") in own.errors}
    if controls:
        fields[f"minus_{MEAN_HAND}_interval_95"] = _paired(own, controls, list(controls))
    return fields


def find_baseline(folder: Path, dataset_sha256: str | None) -> PerSample | None:
    """The errors of `off`; None if they are not there, damaged, or of other annotations or pictures."""
    found = find_per_sample(folder)
    return found if found is not None and found.about.get("dataset_sha256") == dataset_sha256 else None


def _paired(own: PerSample, others: _Rows, names: list[str]) -> dict[str, list[float]]:
    return _intervals(own, {name: own.errors[name] - others[name] for name in names})


def _intervals(own: PerSample, rows: _Rows) -> dict[str, list[float]]:
    return {name: found for name, values in rows.items() if (found := own.interval(values))}


def is_damaged(folder: Path) -> bool:
    """Whether the file of per-sample errors of a run exists but cannot be read."""
    return (folder / PER_SAMPLE).exists() and find_per_sample(folder) is None
