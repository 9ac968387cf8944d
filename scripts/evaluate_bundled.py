"""Measures everything that is published about a bundled model, and writes the results to the published files.

    python scripts/evaluate_bundled.py --model hamer --photos ~/photographs

It measures: TMU at every schedule of the thesis, with speed; the controls, accuracy only (merge-only, random
pairs and, for models with task tokens, `--protect last`); every schedule on the set of the card, without
speed; a few on the set with a photograph-like appearance; schedules and controls on a folder of photographs,
if one is given and the model estimates hands; and how similar tokens are. It writes the result lines to
`assets`, draws the figures, and fills the tables of the READMEs and cards. Running the same command again
continues after an interruption. Commit code and weights first: every line names its commit.

Speed is measured while nothing else runs; several controls run at a time, with one thread each. Names of
photographs are not published.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import figures
import measure_tokens
import update_tables
from bundled import BUNDLED, Bundled
from comparison import THESIS, Run, arrange_runs

from shared_tmu.errors import InputError
from shared_tmu.files import write_text
from shared_tmu.programs.console import run_program
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.results import read_records

VARIED = "off,5x20,10x16"
"""The schedules that are measured on the set with a photograph-like appearance."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate with the options of the command line; returns the exit status of the first program that
    fails.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    add("--photos", type=Path, metavar="DIR", help="folder of photographs of hands")
    add(
        "--r",
        default=",".join(THESIS),
        help="comma-separated list of schedules that includes off; default: those of the thesis",
    )
    add("--rounds", type=int, default=10, help="timed rounds per schedule")
    add("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="number of controls measured at a time")
    given = parser.parse_args(arguments)
    model = BUNDLED[given.model]
    photos = given.photos.resolve() if given.photos and model.photos else None
    first = [["--r", given.r, "--rounds", str(given.rounds)]]
    first.append(["--r", VARIED, "--rounds", "0", "--dataset", model.varied])
    if model.card_set != model.dataset:
        first.append(["--r", given.r, "--rounds", "0", "--dataset", model.card_set])
    if photos:
        first.append(["--r", given.r, "--rounds", "0", "--dataset", "photos", "--data_dir", str(photos)])
    status = run_all(model, first, jobs=1) or run_all(
        model, control_flags(model, given.r, photos), given.jobs
    )
    if status:
        return status
    sets = [*dict.fromkeys((model.dataset, model.card_set, model.varied)), *(["photos"] if photos else [])]
    try:
        for dataset in sets:
            publish(model, dataset)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    written = [model.lines(f"{name}{part}") for name in sets for part in ("", "_controls")]
    status = measure_tokens.main(["--model", given.model])
    return status or figures.redraw([*written, model.lines("tokens")]) or update_tables.main([])


def control_flags(model: Bundled, schedules: str, photos: Path | None) -> list[list[str]]:
    """Flags of eval.py for every control on every set."""
    ways = [["--no-unmerge"], ["--method", "random"], *([["--protect", "last"]] if model.task_tokens else [])]
    sets = [[], *([["--dataset", "photos", "--data_dir", str(photos)]] if photos else [])]
    merged = ",".join(part for part in schedules.split(",") if part.strip() != "off")
    return [["--r", merged, "--rounds", "0", *way, *which] for which in sets for way in ways]


def run_all(model: Bundled, commands: Sequence[Sequence[str]], jobs: int) -> int:
    """Run eval.py once for each set of flags; returns the first exit status that is not 0.

    Args:
        model: the model in whose folder it runs.
        commands: sets of flags.
        jobs: number of runs at a time; with more than one, each uses a single thread.
    """
    environment = {**os.environ, **({"OMP_NUM_THREADS": "1"} if jobs > 1 else {})}

    def run(flags: Sequence[str]) -> int:
        words = [sys.executable, "eval.py", "--device", "cpu", *flags]
        return subprocess.run(words, cwd=model.folder, env=environment, check=False).returncode

    with ThreadPoolExecutor(max(1, jobs)) as pool:
        return next((status for status in pool.map(run, commands) if status), 0)


def publish(model: Bundled, dataset: str) -> None:
    """Copy the lines of the bundled weights from the folder's results to `assets`, TMU and controls
    separately.

    Raises:
        ValueError: there are no lines of these weights, or none of `off`.
    """
    path = model.results(dataset)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    weights = file_sha256(model.checkpoint)
    runs = [run for run in lines if run["checkpoint_sha256"] == weights and run["limit"] is None]
    if not runs:
        raise ValueError(f"{path} has no line of the present {model.weights}: run eval.py in {model.folder}")
    newest = [run["dataset_sha256"] for run in runs if run["schedule"] == "off"][-1:]
    # Lines with a speed come last, because the last line is used.
    runs = sorted(
        (run for run in runs if run["dataset_sha256"] in newest), key=lambda run: bool(run["speedup"])
    )
    found = arrange_runs(runs)
    cells = [
        (way, found.cells[key])
        for way in found.ways
        for s in found.schedules
        if (key := (s, way)) in found.cells
    ]
    write_lines(model.lines(dataset), [found.baseline, *(run for way, run in cells if way == "TMU")])
    controls = [run for way, run in cells if way != "TMU"]
    if controls:
        write_lines(model.lines(f"{dataset}_controls"), controls)
    for commit in {str(run["commit"]) for _, run in cells if "dirty" in str(run["commit"])}:
        sys.stderr.write(f"warning: {dataset} was measured with uncommitted changes ({commit})\n")


def asked_lines(model: Bundled, dataset: str, limit: int | None, stability: int) -> list[Run]:
    """The lines of the bundled weights on the samples that were asked for, oldest first; of several states of
    the set, those of its last.

    They are not simply the last ones: eval.py appends nothing if it knows all runs.

    Args:
        model: the bundled model.
        dataset: name of the set.
        limit: number of samples that was asked for; None: all.
        stability: number of samples whose box was moved.

    Raises:
        InputError: there are none, or none of `off`.
    """
    path, weights = model.results(dataset), file_sha256(model.checkpoint)
    runs = [run for run in read_records(path) if run["checkpoint_sha256"] == weights]
    runs = [run for run in runs if limit in (run["limit"], run["n"])]
    runs = [run for run in runs if (run.get("stability_n") or 0) == min(stability, run["n"])]
    last = [run["dataset_sha256"] for run in runs if run["schedule"] == "off"][-1:]
    if not last:
        samples = "all samples" if limit is None else f"{limit} samples"
        raise InputError(
            f"{path} has no line of off by the present {model.weights} on {samples} with --stability "
            f"{stability}: run eval.py in {model.folder} with these."
        )
    return [run for run in runs if run["dataset_sha256"] in last]


def write_lines(path: Path, runs: Sequence[Run]) -> None:
    """Replace a file of lines."""
    write_text(path, "".join(json.dumps(run, ensure_ascii=False) + "\n" for run in runs))
    sys.stdout.write(f"{path.name}: {len(runs)} lines\n")


if __name__ == "__main__":
    sys.exit(run_program(main))
