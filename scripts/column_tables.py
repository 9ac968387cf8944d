"""How lines of `measure_columns.py` are shown: what alignment hides, and what controls differ by from TMU."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from comparison import HIDDEN, MAY_BE_NONE, MEASURES, SIGNED, Run, RunGrid, arrange_runs
from table_cells import field, given, show_method
from tables import TableKind

TYPICAL = "8x16"
CONTROLS = ("merge-only", "random pairs")
_ALL = MEASURES | HIDDEN | SIGNED
VERDICTS = ("worse", "within noise", "better", "differs", "equal", "unknown")

COLUMN_TABLES = {
    "columns": TableKind(
        identity=("model", "dataset", "device", "dtype", "schedule", "method", "unmerge"),
        setting=("model", "dataset", "device", "dtype"),
        columns=(
            ("`--r`", field("schedule")),
            ("method", show_method),
            ("tokens kept", field("tokens_kept")),
            *((measure.title, given(name, f"{{:.{measure.digits}f}}")) for name, measure in MEASURES.items()),
            *((measure.title, given(name, f"{{:.{measure.digits}f}}")) for name, measure in HIDDEN.items()),
        ),
        context=("n", "stability_n", "processor", "versions", "commit"),
        optional=tuple(measure.title for measure in (MEASURES | HIDDEN).values()),
    )
}


def show_controls(runs: Sequence[Run]) -> str:
    """For each set a table: every error at a typical schedule, what the controls' errors differ by from TMU's
    on the same samples, and what these differences mean at all schedules.

    Raises:
        ValueError: the lines do not tell the differences, or are not of one model and one number format.
    """
    sets = dict.fromkeys(run["dataset"] for run in runs)
    return "\n".join(_of_set([run for run in runs if run["dataset"] == name]) for name in sets)


def _of_set(runs: Sequence[Run]) -> str:
    found = arrange_runs(runs)
    schedule = TYPICAL if TYPICAL in found.schedules else found.schedules[-1]
    tmu = [run for run in found.cells.values() if "controls" in run]
    shown = next((run for run in tmu if run["schedule"] == schedule), None)
    if shown is None:
        raise ValueError(f"no line of TMU at {schedule} has differences: run measure_columns.py again")
    titles = [f"{way}: its own less TMU's at {schedule} | {way}: at {len(tmu)} schedules" for way in CONTROLS]
    lines = [
        f"| on {found.baseline['dataset']} | off | TMU at {schedule} | {' | '.join(titles)} |",
        "|---|---|---|" + "---|---|" * len(CONTROLS),
    ]
    for name, measure in _ALL.items():
        if name not in found.baseline:
            continue
        cells = [f"{run[name]:.{measure.digits}f}" for run in (found.baseline, shown)]
        for way in CONTROLS:
            cells += [_difference(found, shown, way, name), _count(tmu, way, name)]
        lines.append(f"| {' | '.join([measure.title, *cells])} |")
    note = f"in pairs; *{MAY_BE_NONE}*: the 95 % interval of the mean difference contains 0."
    return "\n".join([*lines, "", f"{found.baseline['model']}, {found.baseline['n']} samples, {note}", ""])


def _difference(found: RunGrid, tmu: Run, way: str, name: str) -> str:
    """The control's mean less TMU's, with the interval of the paired difference if there is one."""
    digits = _ALL[name].digits
    told: dict[str, Any] | None = tmu["controls"].get(way, {}).get(name)
    if told is None:  # not an error of each sample
        control = found.cells.get((tmu["schedule"], way), {}).get(name)
        return "" if control is None else f"{control - tmu[name]:+.{digits}f}"
    if told["low"] is None:  # all samples are of one group
        return f"{told['minus']:+.{digits}f}"
    unsure = f", *{MAY_BE_NONE}*" if told["verdict"] == "within noise" else ""
    return f"{told['minus']:+.{digits}f} ({told['low']:+.{digits}f} to {told['high']:+.{digits}f}{unsure})"


def _count(runs: Sequence[Run], way: str, name: str) -> str:
    """At how many schedules the control is worse, better, or neither for sure."""
    told = [run["controls"].get(way, {}).get(name, {}).get("verdict") for run in runs]
    count = Counter(told)
    return ", ".join(f"{verdict} {count[verdict]}" for verdict in VERDICTS if count[verdict])
