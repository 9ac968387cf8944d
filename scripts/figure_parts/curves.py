"""Error against throughput of each model, in the axes of the thesis and relative to the unpatched model.

Published points were read off the figures of the thesis. Controls are not timed: each stands at the
throughput of TMU at its schedule, because as many tokens pass through the same blocks.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bundled import BUNDLED, Bundled
from comparison import RunGrid, interval_of
from numpy.typing import NDArray

from figure_parts.sources import ERROR, PUBLISHED, grid_of
from figure_parts.style import GREY, LINES, letter, new_figure
from figure_parts.table import Figure

NAMED = ("4", "8x16", "10x16", "12x8+6x8")
"""Schedules whose points are labelled."""


@dataclass(frozen=True)
class Points:
    """One line.

    Args:
        way: TMU, a control, or `published`.
        schedules: of its points, by throughput; the first is `off`.
        images_per_s: throughput.
        speedups: over `off`, timed in turn with it.
        error_mm: PA-MPVPE.
        rise_mm: intervals of the difference from `off`; None where there is none.
    """

    way: str
    schedules: list[str]
    images_per_s: list[float]
    speedups: list[float]
    error_mm: list[float]
    rise_mm: list[tuple[float, float] | None]

    @property
    def rises_pct(self) -> list[float]:
        """Increase of the error over that of `off`, per cent of it."""
        return [100 * (value / self.error_mm[0] - 1) for value in self.error_mm]

    @property
    def by_speedup(self) -> NDArray[np.float64]:
        """Speed-ups and rises `[n, 2]` in the order of speed-ups, which is not always that of throughput."""
        return np.array(sorted(zip(self.speedups, self.rises_pct, strict=True)))


@dataclass(frozen=True)
class Curves:
    """The lines of one model.

    Args:
        title: what was measured.
        published_title: what was published; empty if nothing was.
        lines: ours first.
    """

    title: str
    published_title: str
    lines: list[Points]


def curves_of(found: RunGrid, published: Path) -> Curves:
    """The lines of one model: its own runs, and what was published of it.

    Args:
        found: timed runs of one model on one set.
        published: table of the published points.
    """
    base, lines = found.baseline, []
    timed = {s: run for (s, way), run in found.cells.items() if way == "TMU" and run.get("images_per_s")}
    speed = {s: run["images_per_s"] for s, run in timed.items()}
    ratios = {s: run.get("speedup") or speed[s] / base["images_per_s"] for s, run in timed.items()}
    for way in (way for way in found.ways if way in LINES):
        runs = {
            s: run for (s, used), run in found.cells.items() if used == way and s in timed and ERROR in run
        }
        order = sorted(runs, key=lambda schedule: speed[schedule])
        lines.append(
            Points(
                way,
                ["off", *order],
                [base["images_per_s"], *(speed[s] for s in order)],
                [1.0, *(ratios[s] for s in order)],
                [base[ERROR], *(runs[s][ERROR] for s in order)],
                [None, *(interval_of(runs[s], "minus_off_interval_95", ERROR) for s in order)],
            )
        )
    weights, where = Path(str(base["checkpoint"])).stem, str(base["device"]).upper().partition(":")[0]
    theirs, dataset = _published(published, str(base["model"]))
    if theirs is not None:
        lines.append(theirs)
    title = f"{weights} on {base['dataset']},\n{where}, n = {base['n']}"
    return Curves(title, f"{base['model']} on {dataset}" if dataset else "", lines)


def _published(path: Path, model: str) -> tuple[Points | None, str]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(x for x in file if x[0] != "#") if row["model"] == model]
    if not rows:
        return None, ""
    rows.sort(key=lambda row: row["setting"] != "off")
    speeds = [float(row["throughput_img_s"]) for row in rows]
    errors = [float(row[ERROR]) for row in rows]
    names, ratios = [row["setting"] for row in rows], [value / speeds[0] for value in speeds]
    return Points("published", names, speeds, ratios, errors, [None] * len(rows)), rows[0]["dataset"]


def draw(curves: Sequence[Curves]) -> Any:
    """A column for each model: above in the thesis's axes, below relative to `off`."""
    figure = new_figure(5.6, 7.2 if len(curves) > 1 else 4.4)
    panels = figure.subplots(2, len(curves), squeeze=False)
    handles: dict[str, Any] = {}
    for column, found in enumerate(curves):
        above, below = panels[:, column]
        _draw_absolute(above, found, handles)
        _draw_relative(below, found, handles)
        letter(above, "abcdefgh"[column])
        letter(below, "abcdefgh"[len(curves) + column])
    for axes, label in zip(panels[:, 0], ("PA-MPVPE (mm)", "rise of PA-MPVPE (% of off)"), strict=True):
        axes.set_ylabel(label)
    figure.draw_without_rendering()  # labels are placed where lines are not
    for axes, found in zip(panels[1], curves, strict=True):
        _name_schedules(axes, found)
    legend = {"loc": "outside lower center", "ncols": 3 if len(curves) > 1 else 2}
    figure.legend(handles.values(), handles.keys(), **legend)
    return figure


def _draw_absolute(axes: Any, found: Curves, handles: dict[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for line in found.lines:
        (drawn,) = axes.plot(line.images_per_s, line.error_mm, **LINES[line.way])
        handles.setdefault(_label(line.way), drawn)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    ticks = [t for t in (4, 5, 6, 8, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200, 300) if low < t < high]
    axes.set_yticks(ticks)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("images per second")
    _mark_off(axes, found, handles, lambda line: (line.images_per_s[0], line.error_mm[0]))
    theirs = f"published: {found.published_title}" if found.published_title else ""
    axes.text(0.0, 1.12, f"{found.title}\n{theirs}", transform=axes.transAxes, fontsize=7, va="bottom")


def _draw_relative(axes: Any, found: Curves, handles: dict[str, Any]) -> None:
    for line in found.lines:
        if line.way == "random pairs":  # its scale would hide all others
            continue
        (drawn,) = axes.plot(*line.by_speedup.T, **LINES[line.way])
        for x, band in zip(line.speedups, line.rise_mm, strict=True):
            if band is not None and line.way == "TMU":
                axes.vlines(x, *(100 * v / line.error_mm[0] for v in band), color=drawn.get_color(), lw=0.9)
    axes.set_xlabel("speed-up over off")
    axes.margins(x=0.1)
    _mark_off(axes, found, handles, lambda line: (1.0, 0.0))


def _name_schedules(axes: Any, found: Curves) -> None:
    """Name some points of TMU, each on the side where it hides the least of all lines."""
    shown = [line for line in found.lines if line.way != "random pairs"]
    to_points = 72 / axes.figure.dpi
    crowd = np.concatenate([_along(axes, line) for line in shown]) * to_points
    floor = axes.bbox.y0 * to_points
    for line in (line for line in shown if line.way == "TMU"):
        for name, *point in zip(line.schedules, line.speedups, line.rises_pct, strict=True):
            if name not in NAMED:
                continue
            here, width = axes.transData.transform(point) * to_points, 4.2 * len(name)
            sides = [(5, -8, "left"), (-5, 3, "right"), (6, -2, "left"), (-6, -2, "right"), (5, 3, "left")]
            sides += [(0, -13, "center"), (0, 8, "center")]
            x, y, side = min(sides, key=lambda s: _hidden(crowd, here, s, width, floor))
            place = {"xytext": (x, y), "textcoords": "offset points", "ha": side}
            axes.annotate(name, point, fontsize=6.5, color=GREY, annotation_clip=False, **place)


def _along(axes: Any, line: Points) -> NDArray[np.float64]:
    """Many places along a line, pixels."""
    ends = axes.transData.transform(line.by_speedup)
    steps = np.linspace(0, len(ends) - 1, 30 * len(ends))
    return np.column_stack([np.interp(steps, range(len(ends)), ends[:, k]) for k in (0, 1)])


def _hidden(
    crowd: NDArray[np.float64], point: Any, side: tuple[float, float, str], width: float, floor: float
) -> int:
    """Places of lines under a label of this width beside a point, in points of print; all below the axes."""
    x, y, at = side
    left = point[0] + x - {"left": 0, "right": width, "center": width / 2}[at]
    low = point[1] + y - 1
    if low < floor:
        return len(crowd)
    inside = (crowd > (left - 1, low)) & (crowd < (left + width + 1, low + 8))
    return int(inside.all(axis=1).sum())


def _mark_off(axes: Any, found: Curves, handles: dict[str, Any], place: Any) -> None:
    for line in (found.lines[0], found.lines[-1]):
        drawn = axes.scatter(*place(line), marker="*", s=70, color="black", zorder=5, clip_on=False)
        handles.setdefault("off: unpatched model", drawn)


def _label(way: str) -> str:
    return "published, read off the thesis's figures" if way == "published" else way


def rows() -> list[Figure]:
    """The figure of the three bundled models."""
    files = [name for model in BUNDLED.values() for name in _files(model)]
    about = "error against throughput: our runs over the thesis's curves, with controls"
    return [Figure("curves", "curves", about, (*files, PUBLISHED), _of_repository)]


def _files(model: Bundled) -> list[str]:
    return [model.lines(what).name for what in (model.dataset, f"{model.dataset}_controls")]


def _of_repository(folder: Path) -> Any:
    grids = [grid_of(folder, _files(model)) for model in BUNDLED.values()]
    return draw([curves_of(grid, folder / PUBLISHED) for grid in grids])
