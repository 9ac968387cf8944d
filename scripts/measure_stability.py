"""Measure how far predictions of a bundled model jump when hardly anything has changed.

    python scripts/measure_stability.py --model hamer

Runs eval.py at 5x20, 8x16, 12x8+6x8 and 10x16, with tome and with quadtree, with and without masks, beside
the unpatched model. A box moves by one pixel; each value of a crop rises or falls by one grey level. Writes
`assets/<model>_stability.jsonl` and fills the tables of the READMEs. The same command goes on after a stop.
"""

import argparse
import sys
from collections.abc import Sequence

import evaluate_bundled
import measure_masks
import update_tables
from bundled import BUNDLED

from shared_tmu.programs.console import run_program

METHODS = ("tome", "quadtree")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    add(
        "--mask",
        help="comma-separated list of masks; default: none, box, and keypoints of hands or truth of people",
    )
    add("--r", default=measure_masks.SCHEDULES, help="comma-separated list of schedules in addition to off")
    add("--limit", type=int, default=200, help="samples of the set that makes itself; default: 200")
    add("--stability", type=int, default=50, help="samples that are moved and shaken; default: 50")
    given = parser.parse_args(arguments)
    model = BUNDLED[given.model]
    masks = given.mask or f"none,box,{'keypoints' if model.subject == 'hand' else 'truth'}"
    flags = ["--r", f"off,{given.r}", "--limit", str(given.limit), "--stability", str(given.stability)]
    command = [*flags, "--method", ",".join(METHODS), "--mask", masks, "--rounds", "0"]
    if status := evaluate_bundled.run_all(model, [command], jobs=1):
        return status
    runs = measure_masks.newest(model, model.dataset, given.limit, given.stability, METHODS)
    runs = [run for run in runs if run["mask"] in masks.split(",") and "noise_mm" in run]
    evaluate_bundled.write_lines(model.lines("stability"), [{**run, "kind": "stability"} for run in runs])
    return update_tables.main([])


if __name__ == "__main__":
    sys.exit(run_program(main))
