"""TMU and its controls at every schedule side by side, as Markdown, from the lines of eval.py."""

from collections.abc import Callable, Sequence
from typing import Any

Run = dict[str, Any]

ERRORS = {
    "pa_mpvpe_mm": "PA-MPVPE",
    "pa_mpvpe_hand_mm": "PA-MPVPE of the hands",
    "pa_mpvpe_face_mm": "PA-MPVPE of the head",
}
WAYS: dict[str, Callable[[Run], bool]] = {
    "TMU": lambda run: _is(run, "tome", True, "first"),
    "merge-only": lambda run: _is(run, "tome", False, "first"),
    "protect last": lambda run: _is(run, "tome", True, "last"),
    "random pairs": lambda run: _is(run, "random", True, "first"),
}


def compare_runs(runs: Sequence[Run]) -> str:
    """A table for each error that the runs have: a row for every schedule, a column for every way of merging.

    Args:
        runs: lines of one model on one set; of several alike the last counts. `off` must be among them.

    Raises:
        ValueError: the runs are of several models, sets or number formats, or have no `off`.
    """
    settings = {tuple(run[name] for name in ("model", "dataset", "dtype")) for run in runs}
    if len(settings) != 1:
        raise ValueError(f"a comparison is of one model on one set, found {sorted(settings)}")
    cells: dict[tuple[str, str], Run] = {}
    for run in runs:
        for way, matches in WAYS.items():
            if matches(run):
                cells[run["schedule"], way] = run
    baseline = cells.get(("off", "TMU"))
    if baseline is None:
        raise ValueError("a comparison needs the unpatched model: run eval.py with --r off, too")
    schedules = [name for name in dict.fromkeys(schedule for schedule, _ in cells) if name != "off"]
    ways = [way for way in WAYS if any((schedule, way) in cells for schedule in schedules)]
    parts = []
    for error, title in ERRORS.items():
        if error not in baseline:
            continue
        base = baseline[error]
        lines = [
            f"{title} in mm, in brackets how much more than the unpatched model's {base:.2f}:",
            "",
            "| `--r` | tokens kept | " + " | ".join(ways) + " |",
            "|---|" + "---|" * (1 + len(ways)),
        ]
        for schedule in schedules:
            found = [cells.get((schedule, way)) for way in ways]
            kept = next(str(run["tokens_kept"]) for run in found if run is not None)
            texts = ["-" if run is None else f"{run[error]:.2f} ({run[error] - base:+.2f})" for run in found]
            lines.append(f"| {' | '.join([schedule, kept, *texts])} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _is(run: Run, method: str, unmerge: bool, protect: str) -> bool:
    return (run["method"], run["unmerge"], run.get("protect", "first")) == (method, unmerge, protect)
