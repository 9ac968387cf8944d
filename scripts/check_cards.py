"""Measures bundled models again and compares the results with the figures of their cards.

    python scripts/check_cards.py                                  # the unpatched models, a few minutes
    python scripts/check_cards.py --model hamer --r off,10x16

The cards show the result lines in `assets`. The exit status is 1 if any of their errors differs by more than
0.1 mm from what eval.py measures here, or if a card describes other weights than the bundled ones.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bundled import BUNDLED, Bundled
from comparison import Run, arrange_runs

from shared_tmu.programs.console import run_program

LIMIT_MM = 0.1
ERRORS = ("pa_mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_hand_mm", "pa_mpvpe_face_mm")


def main(arguments: Sequence[str] | None = None) -> int:
    """Check with the options of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", choices=BUNDLED, action="append", help="which of the bundled models; default: all")
    add("--r", default="off", help="comma-separated list of schedules that the card has")
    given = parser.parse_args(arguments)
    problems = []
    for name in given.model or BUNDLED:
        model = BUNDLED[name]
        said = read_schedules(model.lines(model.card_set))
        found = measure(model, given.r, model.card_set)
        problems += [f"{name}: {problem}" for problem in compare(said, found, name)]
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


def read_schedules(path: Path) -> dict[str, Run]:
    """Lines of TMU by schedule, the last of each; none if there is no such file."""
    if not path.is_file():
        return {}
    runs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not any(run["schedule"] == "off" for run in runs):
        return {run["schedule"]: run for run in runs}
    found = arrange_runs(runs)
    return {"off": found.baseline} | {s: run for (s, way), run in found.cells.items() if way == "TMU"}


def measure(model: Bundled, schedules: str, dataset: str, flags: Sequence[str] = ()) -> dict[str, Run]:
    """New results of eval.py on a set, ignoring earlier ones; empty if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["eval.py", "--dataset", dataset, "--r", schedules, "--rounds", "0", "--device", "cpu"]
        words += ["--results", folder, *flags]
        done = subprocess.run([sys.executable, *words], cwd=model.folder, check=False)
        return read_schedules(Path(folder) / model.results(dataset).name) if not done.returncode else {}


def compare(said: Mapping[str, Run], found: Mapping[str, Run], name: str) -> list[str]:
    """The differences between a card and new results; each compared figure is printed.

    Args:
        said: lines of the card, by schedule.
        found: lines that were measured now.
        name: name of the model.
    """
    if not found:
        return ["eval.py measured nothing"]
    problems = []
    for schedule, run in found.items():
        if schedule not in said:
            problems.append(f"the card has no figures of {schedule}")
            continue
        card = said[schedule]
        if card["checkpoint_sha256"] != run["checkpoint_sha256"]:
            problems.append(f"the card's figures of {schedule} are for other weights")
        for error in (error for error in ERRORS if error in run):
            gap = abs(run[error] - card[error])
            sys.stdout.write(f"{name} {schedule} {error}: {run[error]:.3f}, on the card {card[error]:.3f}\n")
            if not gap <= LIMIT_MM:  # nor where it is no number
                problems.append(f"{error} of {schedule} is {gap:.3f} mm off the card's, more than {LIMIT_MM}")
    return problems


if __name__ == "__main__":
    sys.exit(run_program(main))
