"""Figures of a user's own results, over the published ones and in the same axes.

Lines of `eval.py` are grouped by model, weights, set and machine; each group with `off` and a merged schedule
gives the figures that its numbers allow. Times are compared only with those that were measured alike.
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
_TIMED = ("batch_size", "packed", "commit")
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
    found = []
    for runs in _grouped(files, problems):
        if "curves" in groups:
            found += [_curves(grid, published) for grid in _timed_grids(runs, problems)]
        if (grid := _grid_of(runs, problems)) is not None:
            found += _of_grid(grid, published, groups)
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


def _grouped(files: list[Path], problems: list[str]) -> list[list[Run]]:
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
            where = str(_machine(run).get("processor"))
            groups.setdefault((*(run[name] for name in _SETTING), where), []).append(run)
    return list(groups.values())


def _grid_of(runs: list[Run], problems: list[str]) -> RunGrid | None:
    """Runs of a group in order; None if there is nothing to draw of them."""
    try:
        grid = arrange_runs(runs)
    except ValueError as error:
        problems.append(f"{_name_of(runs[0])}: {error}")
        return None
    return grid if any(way in LINES for way in grid.ways) else None


def _timed_grids(runs: list[Run], problems: list[str]) -> list[RunGrid]:
    """A grid for each way in which runs of a group were timed, with all that were not, such as controls."""
    if all(run["schedule"] != "off" for run in runs):
        return []  # which is told with the other figures
    timed: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        if run.get("images_per_s") and ERROR in run:
            timed.setdefault(_how_timed(run), []).append(run)
    controls = [run for run in runs if not run.get("images_per_s") and run["schedule"] != "off"]
    grids = []
    for how, alike in timed.items():
        try:
            grid = arrange_runs([*controls, *alike])
        except ValueError:
            problems.append(
                f"{_name_of(alike[0])}: lines that were timed with {', '.join(how)} are not drawn as curves, "
                f"for none of these {len(alike)} is --r off: run eval.py with both."
            )
            continue
        if any(way == "TMU" and run.get("images_per_s") for (_, way), run in grid.cells.items()):
            grids.append(grid)
    return grids


def _how_timed(run: Run) -> tuple[str, ...]:
    """What throughput depends on besides the run and the processor."""
    threads = f"cpu_threads {_machine(run).get('cpu_threads')}"
    return (*(f"{name} {run.get(name)}" for name in _TIMED), threads)


def _machine(run: Run) -> dict[str, Any]:
    found = run.get("machine")
    return found if isinstance(found, dict) else {}


def _name_of(run: Run) -> str:
    return f"{run['model']} on {run['dataset']}, n = {run['n']}"


def _curves(grid: RunGrid, published: Path) -> Own:
    return Own(
        f"{_stem_of(grid)}_curves", lambda: curves.draw([curves.curves_of(grid, published / PUBLISHED)])
    )


def _stem_of(grid: RunGrid) -> str:
    name = f"{grid.baseline['model']}_{grid.baseline['dataset']}".lower()
    return re.sub(r"[^a-z0-9]+", "_", name).strip("_")


def _of_grid(grid: RunGrid, published: Path, groups: tuple[str, ...]) -> list[Own]:
    base, name, found = grid.baseline, _stem_of(grid), []
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
