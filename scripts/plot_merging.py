"""Plots the effect of merging: error against schedule for TMU and its controls, with the published rise.

    python scripts/plot_merging.py assets/hamer_synthhand.jsonl assets/hamer_synthhand_controls.jsonl \\
        --published --out assets/hamer_merging.png
    python scripts/plot_merging.py assets/hamer_photos.jsonl assets/hamer_photos_controls.jsonl \\
        --out assets/hamer_photos.png

The lines must belong to one model on one set; each number in them gets a panel, with `off` as a horizontal
line. Bands are 95 % bootstrap intervals: grey for `off` itself, coloured for the paired difference from it.
With --published a last panel shows the rise in per cent of `off`, here and in the thesis. Published TMU
merges the task tokens of models that have any, so it must be compared with *protect last*.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bundled import REPOSITORY
from cards import ERROR, read_published
from comparison import MEASURES, RunGrid, arrange_runs, interval_of

from shared_tmu import TMUError
from shared_tmu.errors import InputError
from shared_tmu.programs.console import run_program
from shared_tmu.programs.results import read_records
from shared_tmu.viz.merging import Line, Panel, draw_merging

PUBLISHED = REPOSITORY / "assets" / "thesis_curves.csv"
CONTROL = "mean_hand"


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the figure; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("results", nargs="+", type=Path, help="JSON-lines files of eval.py")
    add(
        "--out",
        type=Path,
        default=Path("merging.png"),
        help="picture; the suffix gives the format: png, pdf, svg",
    )
    add("--published", action="store_true", help=f"add a panel with the model's rise in {PUBLISHED.name}")
    given = parser.parse_args(arguments)
    try:
        found = _read(given.results)
        panels = [absolute_panel(found, name) for name in found.measures]
        if given.published:
            panels.append(relative_panel(found, read_published(PUBLISHED, found.baseline["model"])))
        draw_merging(panels, {name: found.kept(name) for name in found.schedules}, given.out)
    except TMUError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(f"{given.out}\n")
    return 0


def absolute_panel(found: RunGrid, name: str) -> Panel:
    """The panel of one number at every schedule."""
    base = float(found.baseline[name])
    lines = {way: _line(found, way, name, lambda more: base + more) for way in found.ways}
    control = found.baseline.get(f"{CONTROL}_{name}")
    weights = Path(found.baseline["checkpoint"]).stem
    title = f"{weights} on {found.baseline['dataset']}, {found.baseline['n']} samples"
    return Panel(
        title=title,
        label=MEASURES[name].title,
        lines=lines,
        level=base,
        level_interval=interval_of(found.baseline, "interval_95", name),
        control=None if control is None else ("mean hand in the same boxes", float(control)),
    )


def relative_panel(found: RunGrid, published: dict[str, float]) -> Panel:
    """The panel of the rise in per cent of `off`; random pairs are left out, since their scale would hide the
    rest.

    Raises:
        InputError: there are no published figures for the model, or the lines do not have this error.
    """
    if "off" not in published or ERROR not in found.baseline:
        raise InputError(f"{PUBLISHED.name} has nothing to compare with these lines: leave out --published.")
    base = float(found.baseline[ERROR])
    ways = [way for way in found.ways if way != "random pairs"]
    lines = {way: _line(found, way, ERROR, lambda more: 100 * more / base) for way in ways}
    theirs = {s: 100 * (value / published["off"] - 1) for s, value in published.items() if s != "off"}
    lines["published"] = Line({s: rise for s, rise in theirs.items() if s in found.schedules})
    return Panel("compared with the published model of ViT-H size", "rise of PA-MPVPE, % of off", lines, 0.0)


def _line(found: RunGrid, way: str, name: str, place: Callable[[float], float]) -> Line:
    """Differences from `off` and their intervals, each converted by `place`."""
    runs = {schedule: run for (schedule, used), run in found.cells.items() if used == way}
    values = {s: place(run[name] - found.baseline[name]) for s, run in runs.items()}
    bands = {s: interval_of(run, "minus_off_interval_95", name) for s, run in runs.items()}
    return Line(values, {s: (place(b[0]), place(b[1])) for s, b in bands.items() if b is not None})


def _read(paths: Sequence[Path]) -> RunGrid:
    runs = [run for path in paths for run in read_records(path)]
    try:
        return arrange_runs(runs)
    except (ValueError, KeyError) as error:
        raise InputError(f"{', '.join(map(str, paths))}: {error}.") from error


if __name__ == "__main__":
    sys.exit(run_program(main))
