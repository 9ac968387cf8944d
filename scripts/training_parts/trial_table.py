"""Lines on trials: each variant against one of them, in pairs of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from shared_tmu.errors import InputError
from shared_tmu.evaluation.comparing import compare_runs, paired
from shared_tmu.evaluation.per_sample import PER_SAMPLE, PerSample, read_per_sample
from training_parts.trial_errors import ERROR, SEEN, errors_folder
from training_parts.trials import BASELINE, Trial

HELD_OUT = "held-out"
OWN = "own"
UNALIGNED = "wrist_mpvpe_mm"


def trial_lines(
    trials: Sequence[Trial], state: Path, weights: Sequence[str], against: str = BASELINE
) -> list[dict[str, Any]]:
    """A line on each variant and kind of weights of the finished trials.

    Args:
        trials: those that were asked for, finished or not.
        state: folder of all trials.
        weights: kinds of weights.
        against: the variant, as trained, from which the others' errors are subtracted.

    Returns:
        Means over seeds and held-out renders, millimetres, with where they were measured; `seen_mm` is None
        until all these seeds have it; `minus` and its `minus_interval_95` are missing where there is nothing
        to subtract from, or not yet with all of its seeds.

    Raises:
        InputError: a trial of one of these names was begun with other settings.
    """
    lines: list[dict[str, Any]] = []
    for trial in trials:
        trial.require_same(state)
    for name in dict.fromkeys(trial.variant for trial in trials):
        same = [trial for trial in trials if trial.variant == name]
        for kind in weights:
            lines += [_line(same, trials, state, kind, against)] if _read(same, state, kind, HELD_OUT) else []
    return lines


def _line(
    same: Sequence[Trial], trials: Sequence[Trial], state: Path, kind: str, against: str
) -> dict[str, Any]:
    found = _read(same, state, kind, HELD_OUT)
    present = _read([one for one in trials if one.variant == against], state, OWN, HELD_OUT)
    if any(trial.starts(state) != same[0].starts(state) for trial in same if trial.seed in found):
        raise InputError(
            f"the runs of {same[0].variant!r} started from different weights: show their --seeds one by one."
        )
    whole, seen = mean_over(list(found.values())), list(_read(same, state, kind, SEEN).values())
    speeds = [one for trial in same if (one := trial.pictures_per_s(state)) is not None]
    line: dict[str, Any] = {
        "kind": "trial",
        "variant": same[0].variant,
        "settings": list(same[0].overrides),
        "pictures": same[0].pictures,
        "weights": kind,
        "seeds": list(found),
        "against": against,
        "n": len(whole.samples),
        **{name: float(whole.errors[name].mean()) for name in (ERROR, UNALIGNED)},
        "seen_mm": float(mean_over(seen).errors[ERROR].mean()) if len(seen) == len(found) else None,
        "pictures_per_s": float(np.mean(speeds)) if speeds else None,
        **_measured_at([trial.environment(state) for trial in same if trial.seed in found]),
    }
    if set(found) <= set(present) and (same[0].variant, kind) != (against, OWN):
        a, b = (mean_over([runs[seed] for seed in found]) for runs in (present, found))
        apart = {one.name: one for one in compare_runs(a, b, [ERROR, UNALIGNED])}
        line["minus"] = {name: one.minus for name, one in apart.items()}
        line["minus_interval_95"] = {name: [one.low, one.high] for name, one in apart.items()}
        line["verdict"] = {name: one.verdict for name, one in apart.items()}
        line["minus_of_each_seed"] = [_minus(present[seed], found[seed]) for seed in found]
    return line


def _measured_at(environments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The environment of the first run, and the commits of all."""
    commits = dict.fromkeys(one["commit"] for one in environments if one.get("commit"))
    return {**environments[0], **({"commit": ", ".join(commits)} if commits else {})}


def mean_over(runs: Sequence[PerSample]) -> PerSample:
    """The mean error of each sample over runs of the same samples.

    Raises:
        InputError: they are of other samples.
    """
    first = runs[0]
    if any(set(run.samples) != set(first.samples) for run in runs):
        raise InputError(
            "these trials were measured on other pictures each, and cannot be compared: show them one by "
            "one, by --variant and --seeds."
        )
    errors: Mapping[str, np.ndarray] = {
        name: np.mean([paired(first, run, name)[1] for run in runs], axis=0) for name in first.errors
    }
    return replace(first, errors=errors)


def _read(trials: Sequence[Trial], state: Path, kind: str, which: str) -> dict[int, PerSample]:
    """The errors of finished trials, by seed; the folder alone is there while they are measured."""
    folders = {trial.seed: errors_folder(trial.folder(state), kind, which) for trial in trials}
    return {seed: read_per_sample(one) for seed, one in folders.items() if (one / PER_SAMPLE).exists()}


def _minus(a: PerSample, b: PerSample) -> float:
    left, right = paired(a, b, ERROR)
    return float((right - left).mean())
