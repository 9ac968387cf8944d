"""Plots errors against schedules for several merging settings, with the published increase at the same
schedules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from shared_tmu.errors import MissingDependencyError
from shared_tmu.files import replacing

Interval = tuple[float, float]
_STYLES = {
    "TMU": {"color": "tab:blue", "marker": "o"},
    "merge-only": {"color": "tab:orange", "marker": "^"},
    "protect last": {"color": "tab:red", "marker": "s"},
    "random pairs": {"color": "tab:green", "marker": "x"},
    "published": {"color": "black", "marker": "D", "linestyle": "--"},
}


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
        title: title above the panel.
        label: label of its vertical axis.
        lines: lines by name; known names always have the same style.
        level: value of the unpatched model, drawn across the panel.
        level_interval: confidence interval of that value.
        control: title and value of a second level, such as that of the mean hand.
    """

    title: str
    label: str
    lines: Mapping[str, Line]
    level: float
    level_interval: Interval | None = None
    control: tuple[str, float] | None = None


def draw_merging(panels: Sequence[Panel], schedules: Mapping[str, int], path: Path) -> None:
    """Write a figure of all panels over the same schedules; the suffix of `path` gives the format.

    Args:
        panels: panels, drawn two in a row.
        schedules: schedules from left to right, with the number of tokens that each leaves.
        path: file, written in one step.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need matplotlib: pip install 'shared_tmu[viz]'.") from error
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(6.0 * columns, 3.9 * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, panel in zip(places, panels, strict=False):
        _draw_panel(axes, panel, schedules)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    with replacing(path) as beside:
        figure.savefig(beside, dpi=130)


def _draw_panel(axes: Any, panel: Panel, schedules: Mapping[str, int]) -> None:
    names = list(schedules)
    axes.axhline(panel.level, color="0.4", linewidth=1, label="off")
    if panel.level_interval:
        axes.axhspan(*panel.level_interval, color="0.5", alpha=0.15, linewidth=0)
    if panel.control:
        axes.axhline(panel.control[1], color="tab:purple", linestyle=":", label=panel.control[0])
    for name, line in panel.lines.items():
        places = [i for i, schedule in enumerate(names) if schedule in line.values]
        values = [line.values[names[i]] for i in places]
        style: dict[str, Any] = {"markersize": 4, "linewidth": 1.3, **_STYLES.get(name, {})}
        (drawn,) = axes.plot(places, values, label=name, **style)
        bands = np.array([line.intervals.get(names[i], (np.nan, np.nan)) for i in places]).reshape(-1, 2)
        axes.fill_between(places, bands[:, 0], bands[:, 1], color=drawn.get_color(), alpha=0.25, linewidth=0)
    axes.set_title(panel.title, fontsize=10)
    axes.set_ylabel(panel.label, fontsize=9)
    axes.set_xlabel("schedule, tokens left", fontsize=9)
    texts = ["\n".join([*name.replace("+", "+ ").split(), str(kept)]) for name, kept in schedules.items()]
    axes.set_xticks(range(len(names)), texts)
    axes.tick_params(axis="x", labelsize=7.5)
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc=_free_corner(panel, names))


def _free_corner(panel: Panel, names: Sequence[str]) -> str:
    """The corner that is farthest from all points; matplotlib's own search is slow with interval bands."""
    points = [(names.index(s), value) for line in panel.lines.values() for s, value in line.values.items()]
    found = np.array([*points, (0, panel.level), (len(names) - 1, panel.level)], dtype=float)
    span = np.ptp(found, axis=0)
    places = (found - found.min(axis=0)) / np.where(span > 0, span, 1)
    corners = {"upper left": (0, 1), "upper right": (1, 1), "lower left": (0, 0), "lower right": (1, 0)}
    return max(corners, key=lambda name: float(np.linalg.norm(places - corners[name], axis=1).min()))
