"""Samples with the meshes of the unpatched model, of merge-only and of TMU at three schedules.

Below each cell is the error of that mesh, from the run that draws the figure, and the speed-up of the
schedule, from the result file. Merge-only is not timed: it computes what TMU does, without the unmerge.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundled import BUNDLED, Bundled
from comparison import WAYS

from figure_parts.sources import lines_of
from figure_parts.style import WIDTH, new_figure, show
from figure_parts.subjects import Bench
from figure_parts.table import Figure
from shared_tmu.programs.model_program import Run
from shared_tmu.schedule import Schedule

SHOWN = {"hand": (1, 2, 5), "body": (2, 5)}
"""Numbers of the samples."""
SCHEDULES = ("5x20", "8x16", "10x16")
MERGE_ONLY = "8x16"
CELL_PX = 256

Cell = tuple[Any, str]
"""A picture, RGB, and what is said below it."""


def draw(rows: Sequence[Sequence[Cell]], titles: Sequence[str]) -> Any:
    """A row for each sample, a column for each way."""
    height, width = rows[0][0][0].shape[:2]
    side = WIDTH / len(titles) * height / width
    figure = new_figure(0.3 + len(rows) * (side + 0.2))
    panels = figure.subplots(len(rows), len(titles), squeeze=False)
    for row, cells in enumerate(rows):
        for column, (picture, text) in enumerate(cells):
            axes = panels[row, column]
            show(axes, picture)
            axes.text(0.5, -0.03, text, transform=axes.transAxes, ha="center", va="top", fontsize=7.5)
            if row == 0:
                axes.set_title(titles[column])
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.04, wspace=0.0, hspace=0.0)
    return figure


def cells_of(model: Bundled, speedups: Mapping[str, float], size_px: int = CELL_PX) -> list[list[Cell]]:
    """Predict the samples.

    Args:
        model: which.
        speedups: by schedule.
        size_px: side of a cell.
    """
    bench = Bench(model)
    samples = [bench.sample(number) for number in SHOWN[model.subject]]
    crops = [bench.crop(sample) for sample in samples]
    rows: list[list[Cell]] = [
        [(bench.close_up(s, c, None, size_px), "")] for s, c in zip(samples, crops, strict=True)
    ]
    for schedule, unmerge in (("off", True), (MERGE_ONLY, False), *((s, True) for s in SCHEDULES)):
        speed = f"{speedups[schedule]:.2f}x" if unmerge and schedule in speedups else "not timed"
        found = bench.predict(crops, Run(Schedule.parse(schedule), "tome", unmerge))
        for row, sample, crop, prediction in zip(rows, samples, crops, found, strict=True):
            text = f"{bench.error_mm(sample, prediction):.1f} mm, {speed}"
            row.append((bench.close_up(sample, crop, prediction, size_px), text))
    return rows


def rows() -> list[Figure]:
    """A figure for each bundled model."""
    found = []
    for model in BUNDLED.values():
        name = model.lines(model.dataset).name

        def draw_one(folder: Path, model: Bundled = model, name: str = name) -> Any:
            timed = [run for run in lines_of(folder, [name]) if WAYS["TMU"](run) and run.get("speedup")]
            speedups = {run["schedule"]: run["speedup"] for run in timed} | {"off": 1.0}
            titles = ("input", "off", f"merge-only {MERGE_ONLY}", *(f"TMU {s}" for s in SCHEDULES))
            return draw(cells_of(model, speedups), titles)

        about = f"{model.name}: samples with meshes of off, merge-only and TMU, with error and speed"
        found.append(Figure("demo", f"{model.stem}_demo", about, (name,), draw_one))
    return found
