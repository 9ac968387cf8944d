"""Error against r with the first and with the last tokens protected, beside the published curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared_tmu.bench import read_records
from shared_tmu.errors import InputError, MissingDependencyError
from shared_tmu.files import replacing
from shared_tmu.viz.tradeoff import read_published

Curve = list[tuple[int, float]]
"""Tokens removed per layer, and the error in mm; r = 0 is the unpatched model."""


def read_protection(paths: Sequence[Path], metric: str = "pa_mpvpe_mm") -> dict[str, Curve]:
    """Two curves per model and set from JSON-lines files of `eval.py --protect first,last`.

    Only schedules with the same r in every layer count, one line each: of several the last. Lines with other
    methods than ToMe, or not unmerged, are left out.

    Args:
        paths: the files.
        metric: which error; a key of the records.

    Raises:
        InputError: no `off`, or no line with the last tokens protected, or no such metric.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    for path in paths:
        for record in read_records(path):
            r = _constant(record["schedule"])
            if r is None or record["method"] != "tome" or not record["unmerge"]:
                continue
            if metric not in record:
                raise InputError(f"{path} has no {metric}: choose one of its errors, such as pa_mpvpe_mm.")
            sides = found.setdefault(f"{record['model']} on {record['dataset']}", {})
            sides.setdefault(record.get("protect", "first"), {})[r] = float(record[metric])
    curves: dict[str, Curve] = {}
    for title, sides in found.items():
        baseline = {0: sides.get("first", {}).get(0, float("nan"))}
        if baseline[0] != baseline[0] or "last" not in sides:
            raise InputError(f"{title}: needs --r off,1,2,... with --protect first,last; run eval.py so.")
        for side in ("first", "last"):
            curves[f"{title}, protect {side}"] = sorted((baseline | sides[side]).items())
    if not curves:
        raise InputError(f"no lines with a constant r in {', '.join(map(str, paths)) or 'no file'}.")
    return curves


def read_published_protection(path: Path, model: str) -> dict[str, Curve]:
    """The published curve of `model`, which protects the last tokens (`assets/thesis_curves.csv`).

    Raises:
        InputError: the table has no such model.
    """
    ((title, points),) = read_published(path, model).items()
    named = [(_constant(point.schedule), point.error_mm) for point in points]
    return {title: sorted((r, error) for r, error in named if r is not None)}


def draw_protection(panels: Mapping[str, Mapping[str, Curve]], path: Path) -> None:
    """Write a figure of the increase of each curve over its own r = 0; the suffix of `path` says the format.

    Args:
        panels: title of an error to its curves by name, one panel each.
        path: the figure.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'shared_tmu[viz]'.") from error
    figure = Figure(figsize=(6.5 if len(panels) == 1 else 4.2 * len(panels), 4.0), layout="constrained")
    for axes, (title, curves) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        _draw_panel(axes, title, curves)
    with replacing(path) as beside:
        figure.savefig(beside, dpi=150)


def _draw_panel(axes: Any, title: str, curves: Mapping[str, Curve]) -> None:
    for name, curve in curves.items():
        style: dict[str, Any] = {"linestyle": "--" if name.endswith("published") else "-"}
        style["marker"] = "s" if name.endswith("protect last") else "o"
        axes.plot([r for r, _ in curve], [e - curve[0][1] for _, e in curve], label=name, **style)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("r, tokens removed in every layer")
    axes.set_ylabel("increase of the error over off, mm")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)


def _constant(schedule: str) -> int | None:
    """r of a schedule that is the same in every layer, 0 of `off`; None for others."""
    if schedule == "off":
        return 0
    return int(schedule) if schedule.isdecimal() else None
