"""Measures what alignment hides, for TMU, merge-only and random pairs at every schedule of the thesis.

    python scripts/measure_columns.py --model hamer
    python scripts/measure_columns.py --model hamer --photos ~/photographs

Runs eval.py on the first samples of the model's own set, and on a folder of photographs, if one is given and
the model estimates hands: rotation, translation, size, place and box in the picture, and how far joints jump,
beside the errors that papers print. Writes `assets/<model>_columns.jsonl` and draws the figures of drift.
Running the same command again continues after an interruption.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import evaluate_bundled
import figures
from bundled import BUNDLED, Bundled
from comparison import HIDDEN, MEASURES, SIGNED, THESIS, WAYS, Run, arrange_runs

from shared_tmu.evaluation.comparing import compare_runs
from shared_tmu.evaluation.per_sample import find_per_sample
from shared_tmu.programs.console import run_program
from shared_tmu.schedule import Schedule

SHOWN = ("TMU", "merge-only", "random pairs")
_TOLD = MEASURES | HIDDEN | SIGNED
_FIELDS = ("minus", "low", "high", "verdict")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure with the options of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    add("--photos", type=Path, metavar="DIR", help="folder of photographs of hands")
    add("--r", default=",".join(THESIS), help="comma-separated schedules; default: those of the thesis")
    add("--limit", type=int, default=200, help="number of samples of the generated set; default: 200")
    add(
        "--stability",
        type=int,
        default=24,
        help="samples whose box is moved by a pixel; default: 24, 0: none",
    )
    given = parser.parse_args(arguments)
    model = BUNDLED[given.model]
    found = [str(Schedule.parse(text)) for text in given.r.split(",")]
    merged = ",".join(dict.fromkeys(text for text in found if text != "off"))
    sets = {model.dataset: ["--limit", str(given.limit)]}
    if given.photos is not None and model.photos:
        sets["photos"] = ["--dataset", "photos", "--data_dir", str(given.photos.resolve())]
    ways = [["--r", ",".join(filter(None, ("off", merged)))]]
    if merged:
        ways += [["--r", merged, "--no-unmerge"], ["--r", merged, "--method", "random"]]
    shared = ["--rounds", "0", "--stability", str(given.stability)]
    commands = [[*shared, *way, *where] for where in sets.values() for way in ways]
    if status := evaluate_bundled.run_all(model, commands, jobs=1):
        return status
    limits = {name: given.limit if name == model.dataset else None for name in sets}
    publish(model, limits, given.stability)
    return figures.redraw([model.lines("columns")])


def publish(model: Bundled, limits: Mapping[str, int | None], stability: int) -> None:
    """Write the newest lines to `assets`, those of TMU with how its controls differ.

    Args:
        model: the bundled model.
        limits: number of samples of each set; None: all.
        stability: number of samples whose box was moved.
    """
    lines = []
    for dataset, limit in limits.items():
        lines += with_controls(newest(model, dataset, limit, stability), model.results(dataset).parent)
    evaluate_bundled.write_lines(model.lines("columns"), [{**run, "kind": "columns"} for run in lines])


def with_controls(runs: Sequence[Run], folder: Path) -> list[Run]:
    """The same lines; those of TMU tell by how much errors of each control differ at the same schedule, on
    the same samples: `controls`, by way and error.

    Args:
        runs: lines of one model on one set.
        folder: folder of the results, in which each line names its own.
    """
    samples = {run["files"]: find_per_sample(folder / run["files"]) for run in runs if run.get("files")}
    controls = [(way, run) for way in SHOWN[1:] for run in runs if WAYS[way](run)]

    def differences(tmu: Run, control: Run) -> dict[str, Any]:
        one, other = samples.get(tmu.get("files")), samples.get(control.get("files"))
        if one is None or other is None:
            return {}
        told = {found.name: found.as_dict() for found in compare_runs(one, other) if found.name in _TOLD}
        return {name: {key: found[key] for key in _FIELDS} for name, found in told.items()}

    lines = []
    for run in runs:
        same = [(way, control) for way, control in controls if control["schedule"] == run["schedule"]]
        beside = {way: differences(run, control) for way, control in same}
        lines.append({**run, "controls": beside} if beside and WAYS[SHOWN[0]](run) else run)
    return lines


def newest(model: Bundled, dataset: str, limit: int | None, stability: int) -> list[Run]:
    """The last line of the bundled weights for each schedule and way, `off` first.

    Args:
        model: the bundled model.
        dataset: name of the set.
        limit: number of samples that was asked for; None: all.
        stability: number of samples whose box was moved.
    """
    runs = evaluate_bundled.asked_lines(model, dataset, limit, stability)
    found = arrange_runs([run for run in runs if any(WAYS[way](run) for way in SHOWN)])
    keys = [(schedule, way) for way in SHOWN for schedule in found.schedules]
    return [found.baseline, *(found.cells[key] for key in keys if key in found.cells)]


if __name__ == "__main__":
    sys.exit(run_program(main))
