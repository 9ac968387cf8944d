"""Compares TMU and its controls at every schedule, from the result lines of eval.py; also as Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from shared_tmu.masks import MASKS, NO_MASK
from shared_tmu.method_parts.restores import COPY

Run = dict[str, Any]


class Measure(NamedTuple):
    """How a number of the result lines is shown.

    Args:
        title: its description, with the unit.
        digits: digits after the decimal point.
        error: whether lower is better.
    """

    title: str
    digits: int
    error: bool = True


MEASURES = {
    "pa_mpvpe_mm": Measure("PA-MPVPE in mm", 2),
    "pa_mpvpe_hand_mm": Measure("PA-MPVPE of the hands in mm", 2),
    "pa_mpvpe_face_mm": Measure("PA-MPVPE of the head in mm", 2),
    "error_box": Measure("distance to the landmarks, relative to the box", 4),
    "pck_20": Measure("PCK@0.2 (higher is better)", 3, error=False),
}
HIDDEN = {
    "wrist_mpvpe_mm": Measure("vertices with the wrists together, in mm", 2),
    "orientation_error_deg": Measure("global orientation in degrees", 1),
    "translation_error_mm": Measure("translation of the camera in mm", 1),
    "place_error_pct": Measure("place in the picture in % of the size", 1),
    "scale_error_pct": Measure("size in the picture in %", 1),
    "box_overlap_pct": Measure("overlap of the boxes in the picture in % (higher is better)", 1, error=False),
    "stability_mm": Measure("jump per pixel of box movement in mm", 2),
}
"""Errors that alignment hides: in tables of lines that have them, in no figure."""
SIGNED = {"scale_bias_pct": Measure("size in the picture, with its sign, in %", 1, error=False)}
"""Drift, which may be to either side."""
WAYS: dict[str, Callable[[Run], bool]] = {
    "TMU": lambda run: _is(run, "tome", True, "first"),
    "merge-only": lambda run: _is(run, "tome", False, "first"),
    "protect last": lambda run: _is(run, "tome", True, "last"),
    "random pairs": lambda run: _is(run, "random", True, "first"),
    **{f"mask {name}": lambda run, name=name: _is(run, "tome", True, "first", name) for name in MASKS},
}
BESIDE = ("mask_weight", "hold", "smooth", "decoder")
"""Settings that may differ between runs of the same way."""
_ALL = MEASURES | HIDDEN
THESIS = (
    *("off", "1", "2", "3", "4", "5x20", "5", "6x16", "6x20", "8x16", "10x16"),
    *("10x8+6x8", "10x8+8x8", "12x8+6x8"),
)
"""The published schedules, slowest first."""
MAY_BE_NONE = "may be 0"
NOTE = (
    f"in brackets the difference from the unpatched model's {{base}}, with the 95 % interval of the paired \
difference; *{MAY_BE_NONE}* if it contains 0"
)


@dataclass(frozen=True)
class RunGrid:
    """Lines of one model on one set.

    Args:
        baseline: the line of `off`.
        cells: the other lines, by schedule and way of merging.
    """

    baseline: Run
    cells: dict[tuple[str, str], Run]

    @property
    def schedules(self) -> list[str]:
        """All except `off`; first those of the thesis in its order, then others in the order of the lines."""
        found = dict.fromkeys(schedule for schedule, _ in self.cells)
        return [s for s in THESIS if s in found] + [s for s in found if s not in THESIS]

    @property
    def ways(self) -> list[str]:
        """Merging settings that at least one schedule has."""
        return [way for way in WAYS if any((schedule, way) in self.cells for schedule in self.schedules)]

    @property
    def measures(self) -> list[str]:
        """Numbers that papers print, of those that the lines have."""
        return [name for name in MEASURES if name in self.baseline]

    @property
    def hidden(self) -> list[str]:
        """Errors that alignment hides, of those that all lines have."""
        runs = [self.baseline, *self.cells.values()]
        return [name for name in HIDDEN if all(name in run for run in runs)]

    def kept(self, schedule: str) -> int:
        """Number of tokens left at the end."""
        return next(int(run["tokens_kept"]) for (name, _), run in self.cells.items() if name == schedule)


def arrange_runs(runs: Sequence[Run]) -> RunGrid:
    """Arrange lines by schedule and merging setting.

    Args:
        runs: lines of one model on one set, including `off`; of several lines with the same settings the last
            is used.

    Raises:
        ValueError: the runs are of several models, weights, sets or number formats, have no `off`, or differ
            in a setting that the ways do not tell apart.
    """
    settings = {
        tuple(run.get(name) for name in ("model", "dataset", "dtype", "weights_sha256", "dataset_sha256"))
        for run in runs
    }
    if len(settings) != 1:
        named = sorted({" on ".join(map(str, setting[:3])) for setting in settings})
        raise ValueError(
            f"a comparison needs lines of one model on one set, with the same weights; found {named}"
        )
    cells: dict[tuple[str, str], Run] = {}
    for run in runs:
        for way, matches in WAYS.items():
            if matches(run):
                cell = run["schedule"], way
                _require_same(cells.get(cell, run), run, f"{way} at {run['schedule']}")
                cells[cell] = run
    baseline = cells.get(("off", "TMU"))
    if baseline is None:
        raise ValueError("a comparison needs the unpatched model: also run eval.py with --r off")
    return RunGrid(baseline, {key: run for key, run in cells.items() if key[0] != "off"})


def _require_same(one: Run, other: Run, where: str) -> None:
    for name in BESIDE:
        if one.get(name) != other.get(name):
            raise ValueError(
                f"lines of {where} differ in {name} ({one.get(name)} and {other.get(name)}), and a "
                "comparison has one place for both: keep the lines of one"
            )


def compare_runs(runs: Sequence[Run]) -> str:
    """A table for each number of the runs: a row for every schedule, a column for every merging setting.

    Raises:
        ValueError: see `arrange_runs`.
    """
    found = arrange_runs(runs)
    parts = []
    for name in (*found.measures, *found.hidden):
        title = _ALL[name].title
        lines = [
            f"{title[:1].upper()}{title[1:]}, {_note(found, name)}:",
            "",
            "| `--r` | tokens kept | " + " | ".join(found.ways) + " |",
            "|---|" + "---|" * (1 + len(found.ways)),
        ]
        for schedule in found.schedules:
            cells = [_cell(found, schedule, way, name) for way in found.ways]
            lines.append(f"| {' | '.join([schedule, str(found.kept(schedule)), *cells])} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def interval_of(run: Run, field: str, name: str) -> tuple[float, float] | None:
    """An interval of a line; None if the line has none, such as an old line.

    Args:
        run: the line.
        field: such as `interval_95` or `minus_off_interval_95`.
        name: name of the number.
    """
    found = (run.get(field) or {}).get(name)
    return None if found is None else (float(found[0]), float(found[1]))


def show_difference(value: float, interval: tuple[float, float] | None, digits: int) -> str:
    """A difference with its interval, and whether the interval contains 0: `+1.07, 0.98 to 1.17`."""
    text = f"{value:+.{digits}f}"
    if interval is None:
        return text
    low, high = interval
    return f"{text}, {low:.{digits}f} to {high:.{digits}f}{f', {MAY_BE_NONE}' if low <= 0 <= high else ''}"


def _note(found: RunGrid, name: str) -> str:
    base = f"{found.baseline[name]:.{_ALL[name].digits}f}"
    if not any(interval_of(run, "minus_off_interval_95", name) for run in found.cells.values()):
        return f"in brackets the difference from the unpatched model's {base}"
    own = interval_of(found.baseline, "interval_95", name)
    shown = "" if own is None else " ({:.{d}f} to {:.{d}f})".format(*own, d=_ALL[name].digits)
    return NOTE.format(base=base + shown)


def _cell(found: RunGrid, schedule: str, way: str, name: str) -> str:
    run, digits = found.cells.get((schedule, way)), _ALL[name].digits
    if run is None:
        return "-"
    difference = run[name] - found.baseline[name]
    interval = interval_of(run, "minus_off_interval_95", name)
    return f"{run[name]:.{digits}f} ({show_difference(difference, interval, digits)})"


def _is(run: Run, method: str, unmerge: bool, protect: str, mask: str = NO_MASK) -> bool:
    how = (run["method"], run["unmerge"], run.get("protect", "first"), run.get("mask", NO_MASK))
    is_plain = run.get("layers") is None and run.get("restore", COPY) == COPY
    return how == (method, unmerge, protect, mask) and is_plain
