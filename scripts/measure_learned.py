"""Measures what learned parts are worth on a bundled model: learned against untrained at equal tokens.

    python scripts/measure_learned.py --model hamer
    python scripts/measure_learned.py --model hamer --limit 1000

For every method with a learned file beside the weights, or in `--files`, it runs eval.py on the first samples
of the model's own set, with the file and untrained, and compares the two in pairs. Both have the schedule of
the training; for methods that learned one, it is `--r learned` against the budget of the training, and for
LTMP, whose counts depend on the image, against the one threshold for all blocks that costs as many FLOPs on
the same pictures.

Writes `assets/<model>_learned.jsonl` and fills the tables of the READMEs. Running the same command again
continues after an interruption.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import evaluate_bundled
import update_tables
from bundled import BUNDLED, Bundled
from comparison import Run as Line

from shared_tmu.errors import TMUError
from shared_tmu.evaluation.comparing import compare_runs
from shared_tmu.evaluation.learned_costs import BlockCosts, equal_threshold, measure_costs
from shared_tmu.evaluation.per_sample import read_per_sample
from shared_tmu.method_parts.learned import LearnedFacts
from shared_tmu.methods import METHODS
from shared_tmu.programs.console import run_program
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.learned_files import learned_name
from shared_tmu.programs.model_program import Run, find_program
from shared_tmu.schedule import Schedule

METRIC = "pa_mpvpe_mm"
COUNTED = 64
"""Pictures on which tokens and FLOPs are counted, where they depend on the picture."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure with the options of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    add("--files", type=Path, metavar="DIR", help="folder of the learned files; default: the weights'")
    add("--limit", type=int, default=1000, help="samples; default: 1000")
    given = parser.parse_args(arguments)
    model = BUNDLED[given.model]
    folder = given.files or model.checkpoint.parent
    files = learned_files(model, folder)
    if not files:
        raise TMUError(f"{folder} has no learned file: train one with train.py --config-name learned.")
    costs = {method: count(model, method, path) for method, path in files.items()}
    flags = ["--limit", str(given.limit), "--rounds", "0"]
    commands = [
        [*flags, "--r", f"off,{cost.schedule}", "--method", method, "--learned", str(path or "none")]
        for method, pair in costs.items()
        for cost, path in zip(pair, (files[method], None), strict=True)
    ]
    if status := evaluate_bundled.run_all(model, commands, jobs=1):
        return status
    lines = [compare(model, method, files[method], costs[method], given.limit) for method in files]
    evaluate_bundled.write_lines(model.lines("learned"), lines)
    return update_tables.main([])


def learned_files(model: Bundled, folder: Path) -> dict[str, Path]:
    """The learned files for the bundled weights in a folder, by method."""
    names = {name: learned_name(model.checkpoint, name) for name, row in METHODS.items() if row.learn}
    return {name: path for name, file in names.items() if (path := (folder / file).resolve()).is_file()}


def count(model: Bundled, method: str, path: Path) -> tuple[BlockCosts, BlockCosts]:
    """What the learned method costs, and the untrained one to compare with."""
    program = find_program(model.stem)
    facts = LearnedFacts.read(path)
    budget = Schedule.parse(json.loads(facts.recipe)["r"])
    learned = Run(Schedule.parse(facts.schedule) if facts.schedule else budget, method, True, learned=path)
    loaded = program.load_model(None).eval()
    found = measure_costs(program, loaded, learned, COUNTED)
    if METHODS[method].reads == "thresholds":
        return found, equal_threshold(program, loaded, method, found.flops_share, COUNTED)
    return found, measure_costs(program, loaded, Run(budget, method, True), COUNTED)


def compare(
    model: Bundled, method: str, path: Path, costs: tuple[BlockCosts, BlockCosts], limit: int
) -> Line:
    """One line: both errors, and their paired difference."""
    learned, untrained = (
        newest(model, method, str(cost.schedule), digest, limit)
        for cost, digest in zip(costs, (file_sha256(path), None), strict=True)
    )
    rows = [read_per_sample(model.folder / "results" / line["files"]) for line in (untrained, learned)]
    found = next(one for one in compare_runs(*rows) if one.name == METRIC)
    facts = LearnedFacts.read(path)
    return {
        "kind": "learned",
        **{name: learned[name] for name in ("model", "dataset", "device", "dtype", "method", "n", "machine")},
        **{name: learned[name] for name in ("versions", "commit", "checkpoint_sha256", "learned_sha256")},
        "budget": json.loads(facts.recipe)["r"],
        "schedule": "learned" if facts.schedule else str(costs[0].schedule),
        "learned_schedule": str(costs[0].schedule),
        "untrained_schedule": str(costs[1].schedule),
        **{f"learned_{name}": value for name, value in costs[0].numbers().items()},
        **{f"untrained_{name}": value for name, value in costs[1].numbers().items()},
        "learned_bytes": path.stat().st_size,
        "is_shipped": model.checkpoint.with_name(path.name).is_file(),
        **{"untrained_mm": found.a, "learned_mm": found.b, "minus_mm": found.minus},
        "interval_95": {METRIC: [found.low, found.high]},
        "verdict": found.verdict,
    }


def newest(model: Bundled, method: str, schedule: str, digest: str | None, limit: int) -> dict[str, Any]:
    """The last line of a run of the bundled weights."""
    weights = file_sha256(model.checkpoint)
    lines = model.results(model.dataset).read_text(encoding="utf-8").splitlines()
    for line in map(json.loads, reversed(lines)):
        asked = line["method"], line["schedule"], line.get("learned_sha256"), line["checkpoint_sha256"]
        if asked == (method, schedule, digest, weights) and line["n"] == limit:
            return dict(line)
    raise TMUError(
        f"{model.results(model.dataset)} has no line of {method} at {schedule} on {limit} samples."
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
