"""Drift of size and place: what alignment hides, for TMU and merge-only at every schedule.

The bias of size in the picture is the drift that the thesis describes: negative where meshes shrink.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundled import BUNDLED, Bundled
from comparison import Run, RunGrid

from figure_parts.merging import absolute_panel, draw_panel
from figure_parts.sources import arranged, label_of, lines_of
from figure_parts.style import letter, new_figure
from figure_parts.table import Figure
from shared_tmu.errors import InputError

MEASURES = {
    "scale_bias_pct": "size in the picture,\nerror with sign (%)",
    "place_error_pct": "place in the picture\n(% of the size)",
    "box_overlap_pct": "overlap of the boxes\nin the picture (%)",
    "translation_error_mm": "camera translation\n(mm)",
    "orientation_error_deg": "global orientation\n(degrees)",
}
"""A row of panels for each; left out where no model has it."""
SHOWN = ("TMU", "merge-only")


def draw(grids: Sequence[RunGrid]) -> Any:
    """A column for each model and set, a row for each measure."""
    names = [name for name in MEASURES if any(name in grid.baseline for grid in grids)]
    figure = new_figure(0.7 + 1.55 * len(names), 7.2 if len(grids) > 1 else 3.8)
    panels = figure.subplots(len(names), len(grids), squeeze=False, sharex="col")
    handles: dict[str, Any] = {}
    for column, grid in enumerate(grids):
        kept = {name: grid.kept(name) for name in grid.schedules}
        panels[0, column].set_title(label_of(grid.baseline).replace(" on ", "\non "))
        for row, name in enumerate(names):
            axes = panels[row, column]
            if name not in grid.baseline:
                axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
                axes.spines[:].set_visible(False)
                axes.grid(visible=False)
                axes.text(0.5, 0.5, "no ground truth\nfor this", ha="center", transform=axes.transAxes)
                continue
            panel = absolute_panel(grid, name, "")
            shown = {way: line for way, line in panel.lines.items() if way in SHOWN}
            draw_panel(axes, type(panel)("", shown, panel.level, panel.level_interval), kept, handles)
            axes.tick_params(labelbottom=row == len(names) - 1)
            if row < len(names) - 1:
                axes.set_xlabel("")
            if name.endswith("bias_pct"):
                axes.axhline(0, color="black", linewidth=0.6, linestyle=(0, (1, 2)))
    for row, name in enumerate(names):
        panels[row, 0].set_ylabel(MEASURES[name])
    letter(panels[0, 0], "")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    return figure


def rows() -> list[Figure]:
    """On renders for all bundled models, on photographs for those of hands."""
    found = []
    for stem, models, dataset, where in (
        ("drift", list(BUNDLED.values()), None, "renders"),
        ("drift_photos", [m for m in BUNDLED.values() if m.photos], "photos", "photographs"),
    ):
        about = f"drift of size, place and rotation on {where}, TMU and merge-only"
        needs = tuple(model.lines("columns").name for model in models)

        def draw_one(folder: Path, models: list[Bundled] = models, dataset: str | None = dataset) -> Any:
            return draw([drift_grid(folder, model, dataset or model.dataset) for model in models])

        found.append(Figure("drift", stem, about, needs, draw_one))
    return found


def drift_grid(folder: Path, model: Bundled, dataset: str) -> RunGrid:
    """The runs of a model on a set, from its file of what alignment hides."""
    name = model.lines("columns").name
    runs: list[Run] = [run for run in lines_of(folder, [name]) if run["dataset"] == dataset]
    if not runs:
        photos = " --photos DIR" if dataset == "photos" else ""
        raise InputError(f"{name} has no lines of {dataset}: scripts/measure_columns.py{photos} makes them.")
    return arranged(runs, f"{folder / name}, lines of {dataset}")
