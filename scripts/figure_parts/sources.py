"""Reading result lines for figures."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comparison import HIDDEN, MEASURES, Run, RunGrid, arrange_runs

from shared_tmu.errors import InputError
from shared_tmu.masks import NO_MASK
from shared_tmu.programs.results import read_records

ERROR = "pa_mpvpe_mm"
PUBLISHED = "thesis_curves.csv"
_MEASURED = (*MEASURES, *HIDDEN, "scale_bias_pct")
_TIMES = ("images_per_s", "speedup")


def lines_of(folder: Path, names: Sequence[str]) -> list[Run]:
    """The lines of several files; none of files that are not there."""
    return [run for name in names for run in read_records(folder / name)]


def grid_of(folder: Path, names: Sequence[str]) -> RunGrid:
    """The lines of one model on one set, by schedule and way of merging.

    Raises:
        InputError: they are not of one model on one set, or `off` is missing.
    """
    return arranged(lines_of(folder, names), ", ".join(str(folder / name) for name in names))


def arranged(runs: Sequence[Run], where: str) -> RunGrid:
    """See `grid_of`.

    Args:
        runs: the lines.
        where: where they are from, for messages.
    """
    try:
        return arrange_runs(runs)
    except (ValueError, KeyError) as error:
        raise InputError(f"{where}: {error}.") from error


def fault_of(run: Run) -> str | None:
    """What keeps a line of `eval.py` that somebody else wrote or changed from being drawn; None if nothing.

    Args:
        run: a line that has the settings of a run.
    """
    texts = ("model", "dataset", "device", "dtype", "schedule", "method", "checkpoint")
    for name in texts:
        if not isinstance(run[name], str):
            return f"{name} is {run[name]!r}, not a text"
    if not isinstance(run.get("mask", NO_MASK), str):
        return f"mask is {run['mask']!r}, not a text"
    for name in ("n", "tokens_kept"):
        if type(run[name]) is not int:
            return f"{name} is {run[name]!r}, not a count"
    numbers = (*_MEASURED, *(f"mean_hand_{name}" for name in MEASURES), *_TIMES)
    for name in numbers:
        value = run.get(name)
        if name in run and not (_is_number(value) or (name in _TIMES and value is None)):
            return f"{name} is {value!r}, not a number"
        if name in (ERROR, *_TIMES) and value is not None and value <= 0:
            return f"{name} is {value!r}, not above 0"
    for field in ("interval_95", "minus_off_interval_95"):
        found = run.get(field)
        is_good = isinstance(found, dict) and all(map(_is_interval, found.values()))
        if found is not None and not is_good:
            return f"{field} has no two ends for each error"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_interval(ends: Any) -> bool:
    return ends is None or (isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends)))


def label_of(run: Run) -> str:
    """The weights, the set and the number of samples of a line."""
    return f"{Path(str(run['checkpoint'])).stem} on {run['dataset']}, n = {run['n']}"


def schedule_ticks(axes: Any, kept: dict[str, int]) -> None:
    """Label the places 0, 1, 2, ... with schedules, and the tokens that each leaves below."""
    axes.set_xticks(range(len(kept)), list(kept), rotation=60, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.4, len(kept) - 0.6)
    axes.set_xlabel("schedule")
