"""Measure merged tokens, masks and merged layers (ECLM) alone and together, for a bundled model.

    python scripts/measure_together.py --model hamer               # layers, errors, drift; whatever else runs
    python scripts/measure_together.py --model hamer --time-only   # speed; with nothing else running

The first command merges layers within two bounds, then runs eval.py on the first samples of the model's own
set: the unpatched model, TMU, TMU with a mask, and all of these on the shorter trunks, with schedules that
leave as many tokens after the same share of the depth. The second times all of them in groups, each in turn
with the unpatched model in one process, and goes on after a stop. Both write `assets/<model>_together.jsonl`,
draw `assets/<model>_together.png` and fill the tables of the READMEs; speeds are missing until they were
timed, and the figure stays as it is until one was. The same command continues after an interruption.
"""

import argparse
import sys
from collections.abc import Sequence

import evaluate_bundled
import figures
import update_tables
from bundled import BUNDLED, Bundled
from shorter_files import merged_file
from together import Asked, combine, run_texts, time_missing

from shared_tmu.evaluation.recipes import read_recipe_of
from shared_tmu.layers import LayerRecipe
from shared_tmu.programs.console import run_program

SCHEDULES = "5x20,8x16,12x8+6x8,10x16"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    add("--r", default=SCHEDULES, help=f"comma list of schedules beside off; default: {SCHEDULES}")
    add("--mask", help="the mask; default: what the demo takes for pictures")
    add("--thresholds", default="0.1,0.5", help="bounds of ECLM, mm of PA-MPVPE; default: 0.1,0.5")
    add("--limit", type=int, default=200, help="samples; default: 200")
    add("--stability", type=int, default=24, help="samples to measure drift and jumps on; default: 24")
    add("--rounds", type=int, default=15, help="timed rounds; default: 15")
    add("--time-only", action="store_true", help="time what was measured, and nothing else")
    given = parser.parse_args(arguments)
    model = BUNDLED[given.model]
    asked = Asked.of(model, given.r, given.mask, merged_files(model, given.thresholds, given.time_only))
    if not given.time_only:
        shared = ["--limit", str(given.limit), "--stability", str(given.stability), "--rounds", "0"]
        commands = [[*shared, *flags] for flags in run_texts(asked)]
        if status := evaluate_bundled.run_all(model, commands, jobs=1):
            return status
    else:
        time_missing(asked, given.rounds)
    lines = combine(asked, given.limit)
    evaluate_bundled.write_lines(model.lines("together"), lines)
    if all(line["speedup"] is None for line in lines):  # new weights: a figure needs times
        sys.stdout.write("Nothing was timed with these weights: --time-only does, and draws the figure.\n")
        return update_tables.main([])
    return figures.redraw([model.lines("together")]) or update_tables.main([])


def merged_files(model: Bundled, thresholds: str, is_known: bool) -> list[str]:
    """Files of the model with fewer layers, one for each way in which layers were merged.

    Args:
        model: to merge layers of.
        thresholds: comma list of millimetres.
        is_known: whether they must be there.

    Raises:
        TMUError: one has to be there and is not.
    """
    found: dict[LayerRecipe, str] = {}
    for threshold in thresholds.split(","):
        out = merged_file(model, threshold, is_known)
        if out is not None:
            found.setdefault(read_recipe_of(out), str(out))
    return list(found.values())


if __name__ == "__main__":
    sys.exit(run_program(main))
