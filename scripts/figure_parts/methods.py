"""Methods compared: error against tokens kept, FLOPs and measured time, and jumps against FLOPs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bundled import BUNDLED
from method_lines import MEASURE, cost_of
from method_ways import BASE, PUBLISHED

from figure_parts.sources import lines_of
from figure_parts.style import BLACK, CYCLE, GREY, letter, new_figure
from figure_parts.table import Figure
from shared_tmu.method_parts.restores import COPY

Line = dict[str, Any]
AXES = {
    "tokens": "tokens at the end",
    "flops": "FLOPs (% of off)",
    "time": "time (% of off, measured in turn)",
}
NAMED = (BASE, "tome-received", "tome-centre", "mctf", "atc", "diffrate", "quadtree")
"""Methods with a look of their own, the same for all models; all others are small crosses."""
LINEAR_MM = 0.5
"""Increases up to this are drawn on a linear scale, larger ones on a logarithmic one."""


def draw(lines: Sequence[Line]) -> Any:
    """Four panels, three where nothing was timed.

    Args:
        lines: lines of `compare_methods.py` of one model; the first is `off`.
    """
    off, handles = lines[0], dict[str, Any]()
    axes_shown = [name for name in AXES if sum(cost_of(x, name) is not None for x in lines) > 1]
    figure = new_figure(6.4)
    figure.suptitle(f"{off['model']}, {off['n']} samples of {off['dataset']}")
    panels = list(figure.subplots(2, 2).flat)
    for number, name in enumerate(axes_shown):
        panel, scale = panels[number], 1.0 if name == "tokens" else 100.0
        points = [(line, cost) for line in lines if (cost := cost_of(line, name)) is not None]
        _draw_points(panel, points, scale, lambda line: line[MEASURE] - off[MEASURE], handles)
        front = sorted(
            (scale * cost, line[MEASURE] - off[MEASURE]) for line, cost in points if name in line["front"]
        )
        handles.setdefault(
            "front", panel.plot(*zip(*front, strict=True), "--", color=GREY, linewidth=1, zorder=1)[0]
        )
        panel.set_yscale("symlog", linthresh=LINEAR_MM)
        _number(panel, (0, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50))
        panel.set_ylabel("increase of PA-MPVPE (mm)")
        panel.set_xlabel(AXES[name])
        letter(panel, "abc"[number])
    panel = panels[len(axes_shown)]
    points = [(line, line["flops_share"]) for line in lines if line["stability_mm"]]
    _draw_points(panel, points, 100.0, lambda line: line["stability_mm"], handles)
    panel.set_yscale("log")
    _number(panel, (1, 2, 5, 10, 20, 50, 100, 200))
    panel.set_ylabel("jump per pixel of the crop (mm)")
    panel.set_xlabel(AXES["flops"])
    letter(panel, "abcd"[len(axes_shown)])
    for unused in panels[len(axes_shown) + 1 :]:
        unused.set_axis_off()
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5)
    return figure


def _number(panel: Any, ticks: Sequence[float]) -> None:
    """Plain numbers on a logarithmic axis, as far as it reaches."""
    low, high = panel.get_ylim()
    shown = [tick for tick in ticks if low <= tick <= high]
    panel.set_yticks(shown, [f"{tick:g}" for tick in shown])
    panel.set_yticks([], minor=True)


def _is_usual(line: Line) -> bool:
    return line["restore"] == COPY and line["profile"] == PUBLISHED and line["schedule"] != "off"


def _draw_points(
    panel: Any,
    points: Sequence[tuple[Line, float]],
    scale: float,
    value: Callable[[Line], float],
    handles: dict[str, Any],
) -> None:
    """Marks of all lines; profiles and restores of ToMe are hollow."""
    looks = dict(zip(NAMED, CYCLE, strict=True))
    for line, cost in sorted(points, key=lambda point: point[0]["method"] in looks):
        look, name = looks.get(line["method"]), line["method"]
        place = scale * cost, value(line)
        if line["schedule"] == "off":
            handles.setdefault("off: unpatched model", panel.plot(*place, "+", color=BLACK, markersize=9)[0])
        elif look is None:
            mark = panel.plot(*place, "x", color=GREY, markersize=3, alpha=0.7)
            handles.setdefault("other methods", mark[0])
        elif _is_usual(line):
            mark = panel.plot(*place, look["marker"], color=look["color"])
            handles.setdefault(name, mark[0])
        else:
            mark = panel.plot(
                *place, look["marker"], color=look["color"], markerfacecolor="white", markersize=3.5
            )
            handles.setdefault(f"{name}, other profiles and restores", mark[0])


def rows() -> list[Figure]:
    """A figure for each bundled model."""
    found = []
    for model in BUNDLED.values():
        name = model.lines("methods").name

        def draw_one(folder: Path, name: str = name) -> Any:
            return draw(lines_of(folder, [name]))

        about = f"{model.name}: every method, error against tokens, FLOPs and time"
        found.append(Figure("methods", f"{model.stem}_methods", about, (name,), draw_one))
    return found
