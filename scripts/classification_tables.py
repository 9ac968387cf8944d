"""Fill the tables of shared_tmu/CLASSIFICATION.md from assets/vit_s_*.jsonl.

    python scripts/classification_tables.py                   rewrite the tables
    python scripts/classification_tables.py --check           write nothing; exit 1 if one is out of date
    python scripts/classification_tables.py --take results    first copy the lines that programs left there

The page says which commands make the lines. Names of photographs are not copied.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from classification_rows import class_table, saliency_table, speed_table, steps_table, training_table

from shared_tmu.errors import InputError
from shared_tmu.files import write_text
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import named_path
from shared_tmu.programs.results import read_records

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "shared_tmu" / "CLASSIFICATION.md"
LINES = {
    "classes": (
        ROOT / "assets/vit_s_classes.jsonl",
        "vit_s_focus-*.jsonl",
        ("dataset", "crop_size", "label"),
    ),
    "saliency": (
        ROOT / "assets/vit_s_saliency.jsonl",
        "saliency/saliency.jsonl",
        ("pictures_sha256", "label"),
    ),
    "training": (
        ROOT / "assets/vit_s_training.jsonl",
        "training.jsonl",
        ("data", "n_train", "epochs", "more_epochs", "method", "schedule", "seed"),
    ),
    "steps": (
        ROOT / "assets/vit_s_steps.jsonl",
        "training_steps.jsonl",
        ("model", "batch_size", "method", "schedule"),
    ),
    "speed": (
        ROOT / "assets/vit_s_speed.jsonl",
        "speed.jsonl",
        ("model", "batch_size", "method", "schedule"),
    ),
}
"""By kind: the file of published lines, where programs leave theirs, and what makes a line unique."""
_DROPPED = (
    "files",
    "pictures",
    "key",
    "finished",
    "scores_txt",
    "latency_ms",
    "floor_latency_ms",
    "off_latency_ms",
    "timing",
)
_BLOCK = re.compile(r"(<!-- (\w+)(?: ([\w@-]+))?:begin -->\n).*?(<!-- \2(?: [\w@-]+)?:end -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy lines, and rewrite or check the tables; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a table is out of date"
    )
    parser.add_argument("--take", type=named_path, metavar="FOLDER", help="results to copy lines from first")
    given = parser.parse_args(arguments)
    if given.take is not None:
        take(given.take)
    before = PAGE.read_text(encoding="utf-8")
    after = _BLOCK.sub(lambda found: f"{found[1]}{table(found[2], found[3])}{found[4]}", before)
    if after == before:
        sys.stdout.write(f"{PAGE.name} is up to date\n")
        return 0
    if given.check:
        sys.stderr.write(f"{PAGE.name} is out of date: run python scripts/classification_tables.py\n")
        return 1
    write_text(PAGE, after)
    sys.stdout.write(f"wrote {PAGE}\n")
    return 0


def take(results: Path) -> None:
    """Copy the latest line of each kind of run from a folder of results.

    Raises:
        InputError: there is none.
    """
    taken = 0
    for path, pattern, names in LINES.values():
        fresh = [line for found in sorted(results.glob(pattern)) for line in read_records(found)]
        latest = {_key_of(line, names): line for line in (*read_records(path), *fresh)}
        if fresh:
            kept = ({k: v for k, v in line.items() if k not in _DROPPED} for line in latest.values())
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        taken += len(fresh)
    if not taken:
        raise InputError(
            f"--take {results} has no lines of these programs: see {PAGE.name} for the commands."
        )


def _key_of(line: Mapping[str, Any], names: Sequence[str]) -> str:
    """What a later line of the same run has too; without merging, methods do not differ."""
    is_off = line.get("schedule") == "off"
    return json.dumps([None if is_off and name == "method" else line.get(name) for name in names])


def table(kind: str, which: str | None) -> str:
    """The table of a kind, for a set and size such as `cifar10-112`.

    Raises:
        InputError: there is no such kind.
    """
    lines = {name: read_records(path) for name, (path, *_) in LINES.items()}
    tables: dict[str, Callable[[], str]] = {
        "classes": lambda: class_table(lines["classes"], which or "", lines["speed"]),
        "saliency": lambda: saliency_table(lines["saliency"], which or ""),
        "training": lambda: training_table(lines["training"]),
        "steps": lambda: steps_table(lines["steps"]),
        "speed": lambda: speed_table(lines["speed"], which or ""),
    }
    if kind not in tables:
        raise InputError(f"{PAGE.name} asks for a table of {kind!r}: use one of {', '.join(tables)}.")
    return tables[kind]()


if __name__ == "__main__":
    sys.exit(run_program(main))
