"""Shows how the error of a bundled model fell with the number of training pictures, and what this predicts.

    python scripts/forecast.py --model hamer          # what the files so far predict for the target errors
    python scripts/forecast.py --model hamer --add    # measure the bundled weights, add them to the files
    python scripts/forecast.py --model hamer --add --checkpoint EARLIER.safetensors --pictures 379200

The lines are in `assets/MODEL_history.jsonl`; `update_tables.py` shows them in the cards. The number of
pictures includes repeats, and the training of all files from which the weights were taken.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bundled import BUNDLED, Bundled
from check_cards import measure
from comparison import MEASURES, Run

from shared_tmu.files import write_text
from shared_tmu.programs.console import run_program

FLAT = 0.02  # below this exponent it cannot be predicted when a target is reached
KEPT = (
    "model",
    "dataset",
    "n",
    "pa_mpvpe_mm",
    "pa_mpvpe_hand_mm",
    "interval_95",
    "checkpoint_sha256",
    "commit",
)


class Power(NamedTuple):
    """An error in millimetres that falls with a power of the number of pictures.

    Args:
        factor: error after one picture.
        exponent: how fast the error falls.
    """

    factor: float
    exponent: float

    def pictures_for(self, error_mm: float) -> float:
        """The number of pictures after which an error is reached."""
        return float((self.factor / error_mm) ** (1.0 / self.exponent))


def fit_power(points: Sequence[tuple[float, float]]) -> Power:
    """The power law for pairs of numbers of pictures and errors, by least squares of the logarithms.

    Raises:
        ValueError: fewer than two different numbers of pictures.
    """
    if len({pictures for pictures, _ in points}) < 2:
        raise ValueError(
            "a forecast needs at least two files that were trained on different numbers of pictures"
        )
    pictures, errors = np.log(np.asarray(points, np.float64)).T
    slope, start = np.polyfit(pictures, errors, 1)
    return Power(float(np.exp(start)), float(-slope))


def show_history(lines: Sequence[Run], aims: Mapping[str, float]) -> str:
    """A row for every file, and below the table what they predict, as Markdown.

    Args:
        lines: lines of one model, oldest first.
        aims: target errors by name, in millimetres.
    """
    titles = {name: MEASURES[name].title.replace(" in mm", " (mm)") for name in aims}
    head = ["file (sha256)", "pictures seen", *titles.values()]
    rows = [
        [line["checkpoint_sha256"][:12], f"{line['pictures']:,}", *(f"{line[name]:.2f}" for name in aims)]
        for line in lines
    ]
    table = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    told = [predict(lines, name, aim) for name, aim in aims.items()]
    return "\n".join([*table, "", *told]) + "\n"


def predict(lines: Sequence[Run], name: str, aim_mm: float) -> str:
    """One sentence: how an error falls and when it would reach its target, from all files and from the last
    two.
    """
    points = [(line["pictures"], line[name]) for line in lines]
    title = MEASURES[name].title.replace(" in mm", "")
    if len(points) < 2:
        return f"{title}: one file is not enough for a prediction."
    told = []
    for some, whose in ((points, "all files"), (points[-2:], "the last two")):
        power = fit_power(some)
        when = "not predictable"
        if power.exponent > FLAT:
            when = f"{aim_mm:g} mm after about {rounded(power.pictures_for(aim_mm))} pictures"
        told.append(f"{power.exponent:.2f} by {whose} ({when})")
    return f"{title} falls with this power of the pictures seen: {', '.join(told)}."


def rounded(count: float) -> str:
    """A large number rounded to two digits, with the word million from a million on."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if count >= size:
            return f"{float(f'{count / size:.2g}'):g} {word}"
    return f"{float(f'{count:.2g}'):,.0f}"


def read_history(path: Path) -> list[Run]:
    """Lines of a history, those with the fewest pictures first; none if there is no such file."""
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return sorted(lines, key=lambda line: int(line["pictures"]))


def add(model: Bundled, checkpoint: Path | None, pictures: int | None) -> int:
    """Measure a file without merging and add its line to the history; returns the exit status."""
    if pictures is None:
        record = (checkpoint or model.checkpoint).with_suffix(".training.json")
        if not record.is_file():
            raise ValueError(f"there is no training record {record}: give --pictures")
        pictures = pictures_of(json.loads(record.read_text(encoding="utf-8")))
    if pictures < 1:
        raise ValueError(f"--pictures {pictures} was given: a file of weights has seen at least one")
    flags = ["--checkpoint", str(checkpoint.resolve())] if checkpoint else []
    found = measure(model, "off", model.dataset, flags)
    if not found:
        return 1
    keep_line(model, found["off"], pictures)
    return 0


def keep_line(model: Bundled, found: Mapping[str, Any], pictures: int) -> None:
    """Add what eval.py found for a file without merging to the history.

    Args:
        model: the model.
        found: the result line.
        pictures: number of pictures that the file was trained on.
    """
    line = {"pictures": pictures, **{key: found[key] for key in KEPT if key in found}}
    others = [
        old for old in read_history(model.history) if old["checkpoint_sha256"] != line["checkpoint_sha256"]
    ]
    lines = sorted([*others, line], key=lambda one: int(one["pictures"]))
    write_text(model.history, "".join(json.dumps(one) + "\n" for one in lines))


def pictures_of(record: Mapping[str, Run]) -> int:
    """Number of pictures in a training record, including those of the files from which training continued.

    Raises:
        ValueError: it is not recorded, or that of the file from which training continued is not.
    """
    total = record.get("total", {})
    before = total.get("images_seen_before")
    if before is None or "images_seen" not in total:
        raise ValueError(
            "the training record does not give the number of pictures, or that of the file from which "
            "training continued: give --pictures"
        )
    return int(total["images_seen"]) + int(before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Show or extend the history with the options of the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=BUNDLED, required=True, help="which of the bundled models")
    parser.add_argument("--add", action="store_true", help="measure a file on held-out pictures and add it")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="default: the bundled weights")
    parser.add_argument(
        "--pictures", type=int, help="number of pictures in training; default: from the training record"
    )
    given = parser.parse_args(arguments)
    if not given.add and (given.checkpoint or given.pictures is not None):
        parser.error("--checkpoint and --pictures say what --add measures: add it, or leave them out.")
    model = BUNDLED[given.model]
    try:
        if given.add and (status := add(model, given.checkpoint, given.pictures)):
            return status
        sys.stdout.write(show_history(read_history(model.history), model.aims_mm))
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run_program(main))
