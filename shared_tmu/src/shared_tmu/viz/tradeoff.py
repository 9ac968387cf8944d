"""Plots error against speed: curves from the result lines of `eval.py`, and from published figures."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shared_tmu.errors import InputError, MissingDependencyError
from shared_tmu.files import replacing
from shared_tmu.masks import NO_MASK
from shared_tmu.programs.results import read_records

_SETTING = ("model", "dataset", "device", "dtype", "batch_size", "n", "weights_sha256")


@dataclass(frozen=True)
class TradeoffPoint:
    """One schedule of a curve.

    Args:
        schedule: the schedule; `off` is the baseline.
        speedup: speed-up over the baseline.
        error_mm: PA-MPVPE.
        interval_mm: confidence interval of `error_mm`, or None.
    """

    schedule: str
    speedup: float
    error_mm: float
    interval_mm: tuple[float, float] | None = None


Curves = dict[str, list[TradeoffPoint]]


def read_results(paths: Sequence[Path]) -> Curves:
    """Curves by name from JSON-lines files of `eval.py`: one per model, set, machine and method.

    If there are several lines for the same schedule, the last is used; lines without a timing are left out.
    Every curve starts at `off` of the same setting; a point has the 95 % interval of its paired difference
    from `off`, if its line has one.

    Raises:
        InputError: there is no line with a timing, or a setting has no `off`.
    """
    settings: dict[tuple[Any, ...], dict[tuple[str, str], dict[str, Any]]] = {}
    for path in paths:
        for record in read_records(path):
            if record.get("speedup") is None:
                continue
            setting = (*(record[name] for name in _SETTING), record["machine"]["processor"])
            line = "" if record["schedule"] == "off" else _line_name(record)
            rows = settings.setdefault(setting, {})
            rows[line, record["schedule"]] = record
    if not settings:
        raise InputError(f"no timed results in {', '.join(map(str, paths)) or 'no file'}: run eval.py first.")
    curves: Curves = {}
    for rows in settings.values():
        if ("", "off") not in rows:
            name = next(iter(rows.values()))
            raise InputError(
                f"{name['model']} on {name['dataset']} has no line for 'off': run eval.py --r off."
            )
        baseline = rows["", "off"]
        for (line, _), record in rows.items():
            if line:
                curve = curves.setdefault(f"{_title(record)}, {line}", [_point(baseline, baseline)])
                curve.append(_point(record, baseline))
    return {name: sorted(points, key=lambda point: point.speedup) for name, points in curves.items()}


def read_published(path: Path, model: str) -> Curves:
    """The curve of `model` in a table of published points (`assets/thesis_curves.csv`).

    Raises:
        InputError: the table has no such model.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(line for line in file if line[0] != "#") if r["model"] == model]
    if not rows:
        raise InputError(f"{path} has no points of {model}.")
    slowest = next(float(row["throughput_img_s"]) for row in rows if row["setting"] == "off")
    points = [
        TradeoffPoint(row["setting"], float(row["throughput_img_s"]) / slowest, float(row["pa_mpvpe_mm"]))
        for row in rows
    ]
    return {f"{model} on {rows[0]['dataset']}, published": points}


def relative_to_off(points: Sequence[TradeoffPoint]) -> list[TradeoffPoint]:
    """The same points with the error of `off` subtracted, so that different sets and models can be
    compared.
    """
    zero = next(point.error_mm for point in points if point.schedule == "off")
    moved = []
    for p in points:
        interval = (p.interval_mm[0] - zero, p.interval_mm[1] - zero) if p.interval_mm else None
        moved.append(replace(p, error_mm=p.error_mm - zero, interval_mm=interval))
    return moved


def draw_tradeoff(
    curves: Mapping[str, Sequence[TradeoffPoint]], path: Path, *, absolute: bool = False
) -> None:
    """Write a figure of all curves; the suffix of `path` gives the format.

    Args:
        curves: points by the name in the legend.
        path: file, written in one step.
        absolute: plot PA-MPVPE itself; otherwise its increase over `off`.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'shared_tmu[viz]'.") from error
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        shown = list(points) if absolute else relative_to_off(points)
        style = "--" if name.endswith("published") else "-"
        (line,) = axes.plot(
            [p.speedup for p in shown], [p.error_mm for p in shown], style, marker="o", label=name
        )
        for p in shown:
            axes.annotate(
                p.schedule, (p.speedup, p.error_mm), xytext=(4, 4), textcoords="offset points", fontsize=7
            )
            if p.interval_mm:
                axes.vlines(p.speedup, *p.interval_mm, color=line.get_color(), linewidth=1)
    axes.set_xlabel("speed-up over the unpatched model")
    axes.set_ylabel("PA-MPVPE, mm" if absolute else "increase of PA-MPVPE over off, mm")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with replacing(path) as beside:
        figure.savefig(beside, dpi=150)


def _point(record: Mapping[str, Any], baseline: Mapping[str, Any]) -> TradeoffPoint:
    intervals = record.get("minus_off_interval_95") or {}
    moved = None
    if record is not baseline and "pa_mpvpe_mm" in intervals:
        low, high = intervals["pa_mpvpe_mm"]
        moved = baseline["pa_mpvpe_mm"] + low, baseline["pa_mpvpe_mm"] + high
    return TradeoffPoint(record["schedule"], record["speedup"], record["pa_mpvpe_mm"], moved)


def _line_name(record: Mapping[str, Any]) -> str:
    parts = [record["method"], *([] if record["unmerge"] else ["merge-only"])]
    parts += ["protect last"] if record.get("protect") == "last" else []
    mask = record.get("mask", NO_MASK)
    return ", ".join([*parts, *([] if mask == NO_MASK else [f"mask {mask}"])])


def _title(record: Mapping[str, Any]) -> str:
    where = record["machine"]["processor"] if record["device"] != "cpu" else "CPU"
    return f"{record['model']} on {record['dataset']} ({where}, {record['dtype']})"
