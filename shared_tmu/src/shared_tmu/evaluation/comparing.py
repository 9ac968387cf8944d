"""Two runs on the same samples, compared in pairs: differences, their intervals, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError
from shared_tmu.evaluation.per_sample import PerSample

_MORE_IS_BETTER = ("f5", "f15", "pck_", "hand_pck_", "mean_hand_pck_", "box_overlap_pct", "top1_", "top5_")
_SIGNED = ("scale_bias_pct",)  # its mean may be better on either side
_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Difference:
    """One error of two runs.

    Args:
        name: name of the error.
        a: mean of the first run, over the samples that have a value in both.
        b: mean of the second.
        minus: mean of b - a.
        low, high: the 95 % bootstrap interval of that mean; groups of the first run are drawn. None if there
            is only one.
        n: samples.
        groups: groups of samples, over which the interval is drawn.
        verdict: the second run is `equal` (on every sample, as a control that no model changes), `within
            noise` (the interval contains 0), `worse`, `better`, or `differs`; `unknown` without an interval.
    """

    name: str
    a: float
    b: float
    minus: float
    low: float | None
    high: float | None
    n: int
    groups: int
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        """In plain types."""
        return asdict(self)


def expect_same_samples(a: PerSample, b: PerSample) -> None:
    """Refuse runs that are not of the same samples.

    Raises:
        InputError: names the sets, or samples that one of the runs lacks.
    """
    names = [str(run.about.get("dataset")) for run in (a, b)]
    if names[0] != names[1]:
        raise InputError(
            f"these runs are of different sets, {names[0]} and {names[1]}: compare two runs on the same set."
        )
    for this, other, which in ((a, b, "second"), (b, a, "first")):
        known = set(other.samples)
        missing = [name for name in this.samples if name not in known]
        if missing:
            shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
            raise InputError(
                f"the {which} run lacks {len(missing)} of {len(this.samples)} samples of the other: {shown}. "
                "Compare runs of the same samples (--limit)."
            )
    if a.about.get("dataset_sha256") != b.about.get("dataset_sha256"):
        raise InputError(
            f"these runs are of {names[0]} with different annotations or pictures: evaluate one again."
        )


def read_otherwise(a: PerSample, b: PerSample) -> dict[str, tuple[Any, Any]]:
    """Facts of how the set was read that differ between two runs, such as whose fingertips count."""
    left, right = (run.about.get("read") or {} for run in (a, b))
    shared = [name for name in left if name in right]
    return {name: (left[name], right[name]) for name in shared if left[name] != right[name]}


def compare_runs(a: PerSample, b: PerSample, names: Sequence[str] | None = None) -> tuple[Difference, ...]:
    """Every error that both runs have, in the order of the first.

    Args:
        a: the first run.
        b: the second.
        names: only these errors; None for all.

    Raises:
        InputError: they are not of the same samples, or have no error in common.
    """
    expect_same_samples(a, b)
    found = []
    for name in a.errors:
        if name in b.errors and (names is None or name in names):
            left, right = paired(a, b, name)
            known = np.isfinite(left) & np.isfinite(right)
            if known.any():
                found.append(_difference(name, a, left, right))
    if not found:
        raise InputError("these runs have no error in common.")
    return tuple(found)


def paired(a: PerSample, b: PerSample, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An error of both runs, `[N]` each, in the first one's order of samples."""
    rows = {sample: row for row, sample in enumerate(b.samples)}
    return a.errors[name], b.errors[name][[rows[sample] for sample in a.samples]]


def loss(a: PerSample, b: PerSample, name: str) -> NDArray[np.float64]:
    """How much worse each sample is in the second run, `[N]`; NaN where a value is not known. An error with
    a sign is worse the farther it is from 0.
    """
    left, right = paired(a, b, name)
    if name in _SIGNED:
        left, right = np.abs(left), np.abs(right)
    return (left - right) if _more_is_better(name) else (right - left)


def worst_samples(a: PerSample, b: PerSample, name: str, count: int) -> list[int]:
    """Rows of the first run whose loss is largest, worst first."""
    lost = loss(a, b, name)
    order = np.argsort(-np.where(np.isfinite(lost), lost, -np.inf), kind="stable")
    return [int(row) for row in order[:count] if np.isfinite(lost[row])]


def _difference(
    name: str, run: PerSample, left: NDArray[np.float64], right: NDArray[np.float64]
) -> Difference:
    low, high = run.interval(right - left) or (None, None)
    known = np.isfinite(right - left)
    a, b = left[known], right[known]
    minus = float((b - a).mean())
    if np.array_equal(a, b):
        verdict = "equal"
    elif low is None or high is None:
        verdict = "unknown"
    elif low <= 0.0 <= high:
        verdict = "within noise"
    elif name in _SIGNED:
        verdict = "differs"
    else:
        verdict = "better" if (minus > 0) == _more_is_better(name) else "worse"
    groups = len(np.unique(np.asarray(run.groups)[known]))
    return Difference(name, float(a.mean()), float(b.mean()), minus, low, high, len(a), groups, verdict)


def _more_is_better(name: str) -> bool:
    return name.startswith(_MORE_IS_BETTER)
