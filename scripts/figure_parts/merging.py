"""Error against schedule for TMU and its controls, with the published rise beside it.

Lines belong to one model on one set; each number in them gets a panel, with `off` as a level line. Bands are
95 % bootstrap intervals: grey for `off` itself, coloured for the paired difference from it. Published TMU
merges the task tokens of models that have any, so it must be compared with *protect last*.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bundled import BUNDLED
from cards import read_published
from comparison import MEASURES, RunGrid, interval_of

from figure_parts.sources import ERROR, PUBLISHED, grid_of, label_of, schedule_ticks
from figure_parts.style import CYCLE, GREY, LINES, ORANGE, letter, new_figure
from figure_parts.table import Figure

CONTROL = "mean_hand"
Interval = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """The line of one merging setting.

    Args:
        values: values by schedule.
        intervals: confidence intervals by schedule; some may be missing.
    """

    values: Mapping[str, float]
    intervals: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """A panel that shows one number for all schedules.

    Args:
        label: what it shows, with the unit.
        lines: lines by name; known names always have the same style.
        level: value of the unpatched model, drawn across the panel.
        level_interval: confidence interval of that value.
        control: name and value of a second level, such as that of the mean hand.
    """

    label: str
    lines: Mapping[str, Line]
    level: float
    level_interval: Interval | None = None
    control: tuple[str, float] | None = None


def absolute_panel(found: RunGrid, name: str, label: str) -> Panel:
    """The panel of one number at every schedule."""
    base = float(found.baseline[name])
    lines = {way: _line(found, way, name, lambda more: base + more) for way in found.ways if way in LINES}
    control = found.baseline.get(f"{CONTROL}_{name}")
    return Panel(
        label=label,
        lines=lines,
        level=base,
        level_interval=interval_of(found.baseline, "interval_95", name),
        control=None if control is None else ("mean hand in the same boxes", float(control)),
    )


def relative_panel(found: RunGrid, published: dict[str, float]) -> Panel:
    """The panel of the rise in per cent of `off`; random pairs are left out, since their scale would hide the
    rest.
    """
    base = float(found.baseline[ERROR])
    ways = [way for way in found.ways if way in LINES and way != "random pairs"]
    lines = {way: _line(found, way, ERROR, lambda more: 100 * more / base) for way in ways}
    theirs = {s: 100 * (value / published["off"] - 1) for s, value in published.items() if s != "off"}
    lines["published"] = Line({s: rise for s, rise in theirs.items() if s in found.schedules})
    return Panel("rise of PA-MPVPE (% of off)", lines, 0.0)


def draw(panels: Sequence[Panel], kept: dict[str, int], title: str) -> Any:
    """All panels over the same schedules, two in a row, with one legend.

    Args:
        panels: the panels.
        kept: tokens that each schedule leaves, from left to right.
        title: above all of them.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(0.75 + 2.3 * rows, 3.6 * columns)
    figure.suptitle(title)
    places = figure.subplots(rows, columns, squeeze=False).flatten()
    handles: dict[str, Any] = {}
    for number, (axes, panel) in enumerate(zip(places, panels, strict=False)):
        draw_panel(axes, panel, kept, handles)
        letter(axes, f"{'abcdef'[number]}  {panel.label}" if len(panels) > 1 else panel.label)
    for axes in places[len(panels) :]:
        axes.remove()
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    return figure


def draw_panel(axes: Any, panel: Panel, kept: dict[str, int], handles: dict[str, Any]) -> None:
    """One panel; what its legend should say is added to `handles`."""
    handles.setdefault("off: unpatched model", axes.axhline(panel.level, color=GREY, linewidth=1.2))
    if panel.level_interval:
        axes.axhspan(*panel.level_interval, color=GREY, alpha=0.15, linewidth=0)
    if panel.control:
        level = axes.axhline(panel.control[1], color=ORANGE, linestyle=(0, (1, 1.5)), linewidth=1.8)
        handles.setdefault(panel.control[0], level)
    names = list(kept)
    for number, (name, line) in enumerate(panel.lines.items()):
        places = [i for i, schedule in enumerate(names) if schedule in line.values]
        values = [line.values[names[i]] for i in places]
        style = LINES.get(name, CYCLE[number % len(CYCLE)])
        (drawn,) = axes.plot(places, values, **style)
        handles.setdefault(name, drawn)
        bands = np.array([line.intervals.get(names[i], (np.nan, np.nan)) for i in places]).reshape(-1, 2)
        axes.fill_between(places, bands[:, 0], bands[:, 1], color=drawn.get_color(), alpha=0.22, linewidth=0)
    schedule_ticks(axes, kept)


def draw_grid(found: RunGrid, published: dict[str, float]) -> Any:
    """The figure of one model on one set, with the published rise where there is one."""
    panels = [absolute_panel(found, name, MEASURES[name].title) for name in found.measures]
    if "off" in published and ERROR in found.baseline:
        panels.append(relative_panel(found, published))
    return draw(panels, {name: found.kept(name) for name in found.schedules}, label_of(found.baseline))


def rows() -> list[Figure]:
    """A figure for each bundled model, and one of photographs for each of hands."""
    found = []
    for model in BUNDLED.values():
        for dataset, what in ((model.dataset, "merging"), ("photos", "photos")):
            if dataset == "photos" and not model.photos:
                continue
            names = tuple(model.lines(part).name for part in (dataset, f"{dataset}_controls"))
            about = f"{model.name}: error against schedule for TMU and its controls, on {dataset}"
            needs = (*names, PUBLISHED)

            def draw_one(folder: Path, names: tuple[str, ...] = names, dataset: str = dataset) -> Any:
                grid = grid_of(folder, names)
                is_own = dataset != "photos"
                known = read_published(folder / PUBLISHED, grid.baseline["model"]) if is_own else {}
                return draw_grid(grid, known)

            found.append(Figure("merging", f"{model.stem}_{what}", about, needs, draw_one))
    return found


def _line(found: RunGrid, way: str, name: str, place: Callable[[float], float]) -> Line:
    """Differences from `off` and their intervals, each converted by `place`."""
    runs = {schedule: run for (schedule, used), run in found.cells.items() if used == way and name in run}
    values = {s: place(run[name] - found.baseline[name]) for s, run in runs.items()}
    bands = {s: interval_of(run, "minus_off_interval_95", name) for s, run in runs.items()}
    return Line(values, {s: (place(b[0]), place(b[1])) for s, b in bands.items() if b is not None})
