"""The table of trials: each variant against one of them, in pairs of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from shared_tmu.evaluation.comparing import Difference, compare_runs, paired
from shared_tmu.evaluation.per_sample import PerSample, read_per_sample
from training_parts.trial_errors import ERROR, SEEN, errors_folder
from training_parts.trials import BASELINE, Trial

HELD_OUT = "held-out"
OWN = "own"
_UNALIGNED = "wrist_mpvpe_mm"
_HEAD = (
    "variant", "weights", "seeds", "PA-MPVPE mm", "minus {0}, 95 % interval", "of each seed",
    "MPVPE mm", "minus {0}, 95 % interval", "PA-MPVPE mm, seen", "pictures/s",
)  # fmt: skip


def table(trials: Sequence[Trial], state: Path, weights: Sequence[str], against: str = BASELINE) -> str:
    """A Markdown table of the finished trials, one line for each variant and kind of weights.

    Args:
        trials: those that were asked for, finished or not.
        state: folder of all trials.
        weights: kinds of weights.
        against: the variant, as trained, from which the others' errors are subtracted.
    """
    lines = [f"| {' | '.join(_HEAD)} |".format(against), "|" + " --- |" * len(_HEAD)]
    for name in dict.fromkeys(trial.variant for trial in trials):
        for kind in weights:
            cells = _row([trial for trial in trials if trial.variant == name], trials, state, kind, against)
            lines += [f"| {' | '.join(cells)} |"] if cells else []
    return "\n".join(lines) + "\n"


def _row(same: Sequence[Trial], trials: Sequence[Trial], state: Path, kind: str, against: str) -> list[str]:
    found = _read(same, state, kind, HELD_OUT)
    if not found:
        return []
    present = _read([one for one in trials if one.variant == against], state, OWN, HELD_OUT)
    both = [seed for seed in found if seed in present]
    is_present = same[0].variant == against and kind == OWN
    whole = mean_over(list(found.values()))
    cells = [same[0].variant, kind, ", ".join(map(str, found)), f"{whole.errors[ERROR].mean():.2f}"]
    if is_present or not both:
        apart = dict.fromkeys((ERROR, _UNALIGNED), "")
        each = ""
    else:
        a, b = (mean_over([runs[seed] for seed in both]) for runs in (present, found))
        apart = {name: _told(compare_runs(a, b, [name])[0]) for name in (ERROR, _UNALIGNED)}
        each = ", ".join(f"{_minus(present[seed], found[seed]):+.2f}" for seed in both)
    seen = list(_read(same, state, kind, SEEN).values())
    speeds = [one for trial in same if (one := trial.pictures_per_s(state)) is not None]
    return [
        *cells, apart[ERROR], each, f"{whole.errors[_UNALIGNED].mean():.2f}", apart[_UNALIGNED],
        f"{mean_over(seen).errors[ERROR].mean():.2f}" if seen else "",
        f"{np.mean(speeds):.0f}" if speeds else "",
    ]  # fmt: skip


def mean_over(runs: Sequence[PerSample]) -> PerSample:
    """The mean error of each sample over runs of the same samples."""
    first = runs[0]
    errors: Mapping[str, np.ndarray] = {
        name: np.mean([paired(first, run, name)[1] for run in runs], axis=0) for name in first.errors
    }
    return replace(first, errors=errors)


def _read(trials: Sequence[Trial], state: Path, kind: str, which: str) -> dict[int, PerSample]:
    """The errors of finished trials, by seed."""
    folders = {trial.seed: errors_folder(trial.folder(state), kind, which) for trial in trials}
    return {seed: read_per_sample(one) for seed, one in folders.items() if one.exists()}


def _minus(a: PerSample, b: PerSample) -> float:
    left, right = paired(a, b, ERROR)
    return float((right - left).mean())


def _told(one: Difference) -> str:
    return f"{one.minus:+.2f} [{one.low:+.2f}, {one.high:+.2f}] {one.verdict}"
