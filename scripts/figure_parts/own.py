"""Figures of a user's own results, over the published ones and in the same axes.

Lines of `eval.py` are grouped by model, weights, set and machine; each group with `off` and a merged schedule
gives the figures that its numbers allow.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cards import read_published
from comparison import Run, RunGrid, arrange_runs

from figure_parts import cka, curves, drift, merging
from figure_parts.sources import ERROR, PUBLISHED, fault_of
from figure_parts.style import LINES
from figure_parts.table import Own
from shared_tmu.errors import InputError
from shared_tmu.programs.results import read_records

_SETTING = ("model", "dataset", "device", "dtype", "weights_sha256", "dataset_sha256", "n")
_FIELDS = ("schedule", "method", "unmerge", "checkpoint", "tokens_kept")
GROUPS = ("curves", "merging", "drift", "cka")
"""The figures that can be drawn from a user's results."""


def own_figures(
    folder: Path, published: Path, groups: tuple[str, ...] = GROUPS
) -> tuple[list[Own], list[str]]:
    """Every figure that the results in a folder allow, and a sentence for each result that is not drawn.

    Args:
        folder: searched with its subfolders.
        published: folder of `thesis_curves.csv`.
        groups: kinds of figures that are wanted.

    Raises:
        InputError: there is none; the message says what was looked for.
    """
    if not folder.is_dir():
        raise InputError(f"--results {folder} is not a folder: name the folder into which eval.py wrote.")
    problems: list[str] = []
    files = sorted(folder.rglob("*.jsonl"))
    grids = _grids(files, problems)
    found = [figure for grid in grids for figure in _of_grid(grid, published, groups)]
    if "cka" in groups:
        found += _of_layers(folder, problems)
    if not found:
        told = f" ({'; '.join(problems)})" if problems else ""
        raise InputError(
            f"{folder} has no result to draw as {', '.join(groups)}{told}: looked in {len(files)} .jsonl "
            "files for lines of eval.py with --r off and at least one other schedule, of the same weights on "
            "the same set (timed ones for curves), and for .json files of measure_cka.py."
        )
    return _named_apart(found), problems


def _grids(files: list[Path], problems: list[str]) -> list[RunGrid]:
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for path in files:
        try:
            runs = [run for run in read_records(path) if all(name in run for name in (*_SETTING, *_FIELDS))]
        except InputError as error:
            problems.append(str(error))
            continue
        for run in runs:
            if fault := fault_of(run):
                problems.append(f"{path}: a line is not as eval.py writes it ({fault})")
                continue
            where = run["machine"].get("processor") if isinstance(run.get("machine"), dict) else None
            groups.setdefault((*(run[name] for name in _SETTING), str(where)), []).append(run)
    grids = []
    for runs in groups.values():
        try:
            grid = arrange_runs(runs)
        except ValueError as error:
            problems.append(f"{runs[0]['model']} on {runs[0]['dataset']}, n = {runs[0]['n']}: {error}")
            continue
        grids += [grid] if any(way in LINES for way in grid.ways) else []
    return grids


def _of_grid(grid: RunGrid, published: Path, groups: tuple[str, ...]) -> list[Own]:
    base = grid.baseline
    name = re.sub(r"[^a-z0-9]+", "_", f"{base['model']}_{base['dataset']}".lower()).strip("_")
    timed = base.get("images_per_s") and ERROR in base
    timed = timed and any(run.get("images_per_s") for (_, way), run in grid.cells.items() if way == "TMU")
    found = []
    if timed and "curves" in groups:
        shown = lambda: curves.draw([curves.curves_of(grid, published / PUBLISHED)])  # noqa: E731
        found.append(Own(f"{name}_curves", shown))
    if grid.measures and "merging" in groups:
        known = read_published(published / PUBLISHED, str(base["model"]))
        found.append(Own(f"{name}_merging", lambda: merging.draw_grid(grid, known)))
    if any(measure in base for measure in drift.MEASURES) and "drift" in groups:
        found.append(Own(f"{name}_drift", lambda: drift.draw([grid])))
    return found


def _of_layers(folder: Path, problems: list[str]) -> list[Own]:
    found = []
    for path in sorted(folder.rglob("*.json")):
        try:
            record = cka.read(path)
        except InputError as error:
            problems.append(str(error))
            continue
        if record is not None:
            found.append(Own(path.stem, _draw_layers(record)))
    return found


def _draw_layers(record: dict[str, Any]) -> Callable[[], Any]:
    return lambda: cka.draw(record)


def _named_apart(found: list[Own]) -> list[Own]:
    """Equal names get numbers: the same model with other weights, say."""
    taken: set[str] = set()
    named = []
    for figure in found:
        stem, number = figure.stem, 1
        while stem in taken:
            number += 1
            stem = f"{figure.stem}_{number}"
        taken.add(stem)
        named.append(figure._replace(stem=stem))
    return named
