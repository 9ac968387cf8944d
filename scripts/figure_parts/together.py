"""Error against measured speed-up of all ways together, beside what FastHMR publishes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundled import BUNDLED
from matplotlib.patheffects import withStroke

from figure_parts.sources import lines_of
from figure_parts.style import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, letter, new_figure
from figure_parts.table import Figure
from shared_tmu.errors import InputError

PUBLISHED = "fasthmr_published.jsonl"
STYLES = {
    "TMU": ("o", BLUE),
    "TMU + mask": ("s", ORANGE),
    "ECLM": ("D", GREEN),
    "ECLM + TMU": ("^", VERMILION),
    "ECLM + TMU + mask": ("*", PURPLE),
}
THEIRS = "PXphv"
"""Markers of the published points, in the order of the file."""
BOUNDS_MM = (0.1, 0.5)
SIDES = (
    (5, 0, "left"),
    (-5, 0, "right"),
    (0, 7, "center"),
    (0, -7, "center"),
    (5, -6, "left"),
    (-5, 6, "right"),
    (5, 6, "left"),
    (-5, -6, "right"),
)
"""Where a label may stand from its mark, points."""
APART = 1.5  # points around a label
RADIUS = 3.5  # of a mark, points


def draw(lines: Sequence[dict[str, Any]], published: Sequence[dict[str, Any]]) -> Any:
    """Left: millimetres; right: per cent of the unpatched model's error, beside the published figures.

    Args:
        lines: lines of `together.combine`, the first is the baseline; those that were timed are drawn.
        published: lines of FastHMR's tables.

    Raises:
        InputError: none was timed.
    """
    base = lines[0]["pa_mpvpe_mm"]
    timed = [line for line in lines if line["speedup"] is not None]
    if not timed:
        raise InputError("no run was timed: scripts/measure_together.py --time-only does so.")
    figure = new_figure(4.5)
    figure.suptitle(f"{lines[0]['model']}, {lines[0]['n']} samples of {lines[0]['dataset']}")
    left, right = figure.subplots(1, 2)
    handles: dict[str, Any] = {}
    for axes, scale in ((left, 1.0), (right, 100.0 / base)):
        _draw_ours(axes, timed, scale, handles, is_named=axes is left)
    for bound in BOUNDS_MM:
        level = left.axhline(bound, color=BLACK, linewidth=0.7, linestyle=":")
        handles.setdefault(f"{' and '.join(map(str, BOUNDS_MM))} mm more", level)
    _draw_theirs(right, published, handles)
    left.set_ylabel("increase of PA-MPVPE (mm)")
    right.set_ylabel("increase of the error (% of off)")
    letter(left, "a  in millimetres; numbers: tokens kept")
    letter(right, "b  in per cent, beside FastHMR")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    _name_tokens(left, [line for line in timed if line["way"] in STYLES])
    return figure


def _draw_ours(
    axes: Any, timed: Sequence[dict[str, Any]], scale: float, handles: dict[str, Any], *, is_named: bool
) -> None:
    front = sorted((x for x in timed if x["front"]), key=lambda line: line["speedup"])
    path = [x["speedup"] for x in front], [scale * x["more_mm"] for x in front]
    handles.setdefault("front", axes.plot(*path, "--", color=GREY, linewidth=1)[0])
    handles.setdefault("off: unpatched model", axes.plot(1, 0, "k+", markersize=9)[0])
    for way, (marker, colour) in STYLES.items():
        points = [line for line in timed if line["way"] == way]
        at = [p["speedup"] for p in points], [scale * p["more_mm"] for p in points]
        (drawn,) = axes.plot(*at, marker, color=colour, linestyle="", alpha=1.0 if is_named else 0.4)
        if points and is_named:
            handles.setdefault(way, drawn)
    axes.set_xlabel("speed-up over off, measured in turn")
    axes.margins(0.08)


def _name_tokens(axes: Any, points: Sequence[dict[str, Any]]) -> None:
    """Tokens kept, beside the marks, on the side where the fewest marks and other numbers are."""
    axes.figure.draw_without_rendering()
    pt = 72 / axes.figure.dpi
    off = (1.0, 0.0)
    marks = pt * axes.transData.transform([*((p["speedup"], p["more_mm"]) for p in points), off])
    edge = [withStroke(linewidth=1.5, foreground="white")]  # numbers stand on lines
    taken: list[tuple[float, float, float, float]] = []
    for point, here in zip(points, marks[:-1], strict=True):
        text = str(point["tokens_kept"])
        width = 3.9 * len(text)
        boxes = {side: _label_box(here, side, width) for side in SIDES}
        side = min(SIDES, key=lambda side: _crowd(boxes[side], marks, taken))
        taken.append(boxes[side])
        x, y, align = side
        place = {"xytext": (x, y), "textcoords": "offset points", "ha": align, "va": "center"}
        axes.annotate(
            text, (point["speedup"], point["more_mm"]), fontsize=6, path_effects=edge, zorder=5, **place
        )


def _label_box(here: Any, side: tuple[float, float, str], width: float) -> tuple[float, float, float, float]:
    x, y, align = side
    left = here[0] + x - {"left": 0.0, "right": width, "center": width / 2}[align]
    low, high = here[1] + y - 3, here[1] + y + 3
    return left - APART, low, left + width + APART, high


def _crowd(
    box: tuple[float, float, float, float], marks: Any, taken: Sequence[tuple[float, float, float, float]]
) -> int:
    """Marks and other labels that a label would touch."""
    low, high = np.array(box[:2]), np.array(box[2:])
    touched = ((marks > low - RADIUS) & (marks < high + RADIUS)).all(axis=1).sum()
    return int(touched) + sum(
        box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken
    )


def _draw_theirs(axes: Any, published: Sequence[dict[str, Any]], handles: dict[str, Any]) -> None:
    """Each with its own mark, since their settings are too long to stand beside them."""
    found = [point for point in published if point["change_pct"] is not None]
    for point, marker in zip(found, THEIRS, strict=False):
        look = {"color": BLACK, "markerfacecolor": "white", "linestyle": "", "markersize": 6}
        (drawn,) = axes.plot(point["speedup"], point["change_pct"], marker, **look)
        handles[f"published, FastHMR-{point['model']}: {point['setting']}"] = drawn


def rows() -> list[Figure]:
    """A figure for each bundled model."""
    found = []
    for model in BUNDLED.values():
        name = model.lines("together").name

        def draw_one(folder: Path, name: str = name) -> Any:
            return draw(lines_of(folder, [name]), lines_of(folder, [PUBLISHED]))

        about = f"{model.name}: merged tokens, masks and merged layers, alone and together"
        found.append(Figure("together", f"{model.stem}_together", about, (name, PUBLISHED), draw_one))
    return found
