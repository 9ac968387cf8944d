"""Measure how many layers of a bundled model ECLM merges within a bound, and the error on other pictures.

    python scripts/measure_layers.py --model hamer
    python scripts/measure_layers.py --model hamer --thresholds 0.02,2

Layers are merged within each bound as `merge_layers.py --flush` does, on its calibration set. Then eval.py
runs with and without them on the first samples of the model's own set; no tokens are merged. The results are
in `assets/<model>_layers.jsonl`: one line for all layers and one for each bound, with the error of every
trial of the search. The tables of the READMEs are filled. The same command continues after an interruption.
Nothing is timed.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import evaluate_bundled
import update_tables
from bundled import BUNDLED, Bundled
from comparison import Run, interval_of
from shorter_files import merged_file
from together import MEASURE, measured_lines

from shared_tmu.evaluation.recipes import read_recipe_of
from shared_tmu.files.checkpoints import read_metadata
from shared_tmu.layers import METADATA, LayerRecipe, describe_partition
from shared_tmu.masks import NO_MASK
from shared_tmu.programs.console import run_program

THRESHOLDS = "0.1,0.5,1"
KEPT = (
    *("model", "dataset", "device", "dtype", "schedule", "mask", "label", MEASURE, "mpvpe_mm", "drift_mm"),
    *("drift_interval_95", "stability_mm", "stability_n", "n", "dataset_sha256", "checkpoint_sha256"),
    *("batch_size", "versions", "machine", "commit"),
)
"""What a published line has of the line of eval.py, beside the intervals of `MEASURE`."""
INTERVALS = ("interval_95", "minus_off_interval_95")
SEARCH = (
    *("partition", "variant", "original", "layers_before", "metric", "flush", "base_mm", "error_mm"),
    *("calibration", "trials", "commit"),
)
"""What is published of a file's record of its search."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    add("--thresholds", default=THRESHOLDS, help=f"bounds, mm of PA-MPVPE; default: {THRESHOLDS}")
    add("--limit", type=int, default=200, help="samples; default: 200")
    add("--stability", type=int, default=24, help="samples to measure drift and jumps on; default: 24")
    given = parser.parse_args(arguments)
    model = BUNDLED[given.model]
    files = {text: merged_file(model, text) for text in given.thresholds.split(",")}
    each = {read_recipe_of(file): str(file) for file in files.values() if file is not None}
    flags = ["--r", "off", "--mask", NO_MASK, "--layers", ",".join(("none", *each.values()))]
    flags += ["--limit", str(given.limit), "--stability", str(given.stability), "--rounds", "0"]
    if status := evaluate_bundled.run_all(model, [flags], jobs=1):
        return status
    evaluate_bundled.write_lines(model.lines("layers"), combine(model, files, given.limit))
    return update_tables.main([])


def combine(model: Bundled, files: Mapping[str, Path | None], limit: int) -> list[Run]:
    """One line for all layers, and one for each bound.

    Args:
        model: the bundled model.
        files: file of merged layers by bound, mm; None if nothing can be merged within it.
        limit: samples of the lines of eval.py.

    Raises:
        ValueError: eval.py has not measured all of them.
    """
    measured = measured_lines(model, limit)
    lines = [_line(measured, None, None)]
    lines += [_line(measured, file, float(text)) for text, file in files.items()]
    for line in lines:
        line["more_mm"] = line[MEASURE] - lines[0][MEASURE]
    return lines


def _line(
    measured: Mapping[tuple[str, str, LayerRecipe | None], Run], file: Path | None, bound: float | None
) -> Run:
    recipe = None if file is None else read_recipe_of(file)
    line = measured.get(("off", NO_MASK, recipe))
    if line is None:
        raise ValueError(f"eval.py has no line of --r off --mask none --layers {file or 'none'}")
    found = {name: interval_of(line, name, MEASURE) for name in INTERVALS}
    intervals = {name: {MEASURE: ends} for name, ends in found.items() if ends is not None}
    return {
        "kind": "layers",
        "threshold_mm": bound,
        **{name: line[name] for name in KEPT},
        **intervals,
        **_search(file, recipe, bound),
    }


def _search(file: Path | None, recipe: LayerRecipe | None, bound: float | None) -> dict[str, Any]:
    """How the layers of a file were merged, as the file tells."""
    if file is None or recipe is None:
        nothing = dict.fromkeys(("depth", "windows", "calibration_change_mm", "trials_passed", "search"))
        return nothing if bound is None else {**nothing, "windows": "nothing"}
    told = json.loads(read_metadata(file)[METADATA])
    passed = sum(trial["passed"] for trial in told["trials"])
    return {
        "depth": recipe.depth,
        "windows": describe_partition(recipe.partition),
        "calibration_change_mm": told["error_mm"] - told["base_mm"],
        "trials_passed": f"{passed} of {len(told['trials'])}",
        "search": {name: told[name] for name in SEARCH},
    }


if __name__ == "__main__":
    sys.exit(run_program(main))
