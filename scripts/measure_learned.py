"""Measures what learned parts are worth on a bundled model: learned against untrained and ToMe at equal cost.

    python scripts/measure_learned.py --model hamer
    python scripts/measure_learned.py --model hamer --limit 1000

For every method with a learned file beside the weights, or in `--files`, it runs eval.py on the first samples
of the model's own set, with the file, untrained, and with ToMe, and compares them in pairs. All have the
schedule of the training; for methods that learned one, it is `--r learned` against the budget of the
training. LTMP's counts depend on the image: it is compared with the one threshold for all blocks, and with
the even counts of ToMe, that cost as many FLOPs on the same pictures, or next to them more.

Writes `assets/<model>_learned.jsonl` and fills the tables of the READMEs. Running the same command again
continues after an interruption.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import evaluate_bundled
import update_tables
from bundled import BUNDLED, Bundled
from comparison import Run as Line
from method_lines import is_plain
from method_ways import BASE, flops_of

from shared_tmu.errors import TMUError
from shared_tmu.evaluation.comparing import compare_runs
from shared_tmu.evaluation.learned_costs import BlockCosts, equal_threshold, measure_costs
from shared_tmu.evaluation.per_sample import read_per_sample
from shared_tmu.flops import TrunkShape
from shared_tmu.method_parts.learned import LearnedFacts
from shared_tmu.methods import METHODS
from shared_tmu.programs.console import run_program
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.learned_files import learned_name
from shared_tmu.programs.model_program import Run, find_program
from shared_tmu.programs.results import read_records
from shared_tmu.programs.trunk_shapes import shape_of
from shared_tmu.schedule import Schedule

METRIC = "pa_mpvpe_mm"
COUNTED = 64
"""Pictures on which tokens and FLOPs are counted, where they depend on the picture."""
LEARNED, UNTRAINED = "learned", "untrained"
Costs = Mapping[str, BlockCosts]
"""What is compared: `learned`, `untrained` and ToMe, and what each costs."""


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
        [*flags, "--r", f"off,{cost.schedule}", "--method", row, "--learned", str(path or "none")]
        for method, found in costs.items()
        for row, path, cost in runs_of(method, files[method], found)
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


def count(model: Bundled, method: str, path: Path) -> Costs:
    """What the learned method costs, and the untrained one and ToMe to compare with."""
    program = find_program(model.stem)
    facts = LearnedFacts.read(path)
    budget = Schedule.parse(json.loads(facts.recipe)["r"])
    learned = Run(Schedule.parse(facts.schedule) if facts.schedule else budget, method, True, learned=path)
    loaded = program.load_model(None).eval()
    found = measure_costs(program, loaded, learned, COUNTED)
    if METHODS[method].reads == "thresholds":
        untrained = equal_threshold(program, loaded, method, found.flops_share, COUNTED)
        counts = even_counts(budget, found.flops_share, shape_of(program, loaded))
    else:
        untrained, counts = measure_costs(program, loaded, Run(budget, method, True), COUNTED), budget
    tome = measure_costs(program, loaded, Run(counts, BASE, True), COUNTED)
    return {LEARNED: found, UNTRAINED: untrained, BASE: tome}


def even_counts(budget: Schedule, flops_share: float, shape: TrunkShape) -> Schedule:
    """ToMe's counts, even over as many layers as the budget's, with the given FLOPs or next to them more."""
    layers = sum(1 for asked in budget.per_layer(shape.depth) if asked)
    whole, best = flops_of(BASE, "off", shape), Schedule.parse("off")
    for total in range(1, shape.num_tokens):
        each, more = divmod(total, layers)
        tried = Schedule.parse([each + (layer < more) for layer in range(layers)])
        if flops_of(BASE, str(tried), shape) < flops_share * whole:
            break
        best = tried
    return best


def runs_of(method: str, path: Path, costs: Costs) -> list[tuple[str, Path | None, BlockCosts]]:
    """Row of the table, learned file and cost of everything that is compared, in the order of `costs`."""
    return [
        (BASE if what == BASE else method, path if what == LEARNED else None, cost)
        for what, cost in costs.items()
    ]


def compare(model: Bundled, method: str, path: Path, costs: Costs, limit: int) -> Line:
    """One line: all errors, and paired differences of the learned method from the others."""
    lines = {
        what: newest(model, row, str(cost.schedule), file and file_sha256(file), limit)
        for what, (row, file, cost) in zip(costs, runs_of(method, path, costs), strict=True)
    }
    learned = lines[LEARNED]
    rows = {what: read_per_sample(model.folder / "results" / line["files"]) for what, line in lines.items()}
    found = {
        what: next(one for one in compare_runs(rows[what], rows[LEARNED]) if one.name == METRIC)
        for what in (UNTRAINED, BASE)
    }
    facts = LearnedFacts.read(path)
    return {
        "kind": "learned",
        **{name: learned[name] for name in ("model", "dataset", "device", "dtype", "method", "n", "machine")},
        **{name: learned[name] for name in ("versions", "commit", "checkpoint_sha256", "learned_sha256")},
        "budget": json.loads(facts.recipe)["r"],
        "schedule": "learned" if facts.schedule else str(costs[LEARNED].schedule),
        **{f"{what}_schedule": str(cost.schedule) for what, cost in costs.items()},
        **{f"{what}_{name}": value for what, cost in costs.items() for name, value in cost.numbers().items()},
        "learned_bytes": path.stat().st_size,
        "is_shipped": model.checkpoint.with_name(path.name).is_file(),
        f"{LEARNED}_mm": found[UNTRAINED].b,
        **{f"{what}_mm": one.a for what, one in found.items()},
        **{f"minus_{what}_mm": one.minus for what, one in found.items()},
        **{f"minus_{what}_interval_95": {METRIC: [one.low, one.high]} for what, one in found.items()},
        "verdict": found[UNTRAINED].verdict,
    }


def newest(model: Bundled, method: str, schedule: str, digest: str | None, limit: int) -> Line:
    """The last line of a run of the bundled weights."""
    weights = file_sha256(model.checkpoint)
    for line in reversed(read_records(model.results(model.dataset))):
        asked = line["method"], line["schedule"], line.get("learned_sha256"), line["checkpoint_sha256"]
        if is_plain(line) and asked == (method, schedule, digest, weights) and line["n"] == limit:
            return line
    raise TMUError(
        f"{model.results(model.dataset)} has no line of {method} at {schedule} on {limit} samples."
    )


if __name__ == "__main__":
    sys.exit(run_program(main))
