"""Fills the tables between `<!-- results:begin FILE -->` and `<!-- results:end -->` from JSON lines.

The lines are those that eval.py, `python -m shared_tmu.bench` and `demo.py --report` write. Several files in
one block are compared: TMU and its controls at every schedule; with `thesis_curves.csv` at the end, also with
the published figures. `FILE brief=off,5x20` shows only those schedules, in few columns, `FILE best` the best
method for each budget, `FILE controls` what controls differ by from TMU. A `*.training.json`
shows the training of a model. A picture, followed by its description, is shown as it is. Figures in the
READMEs and model cards come from files and are never typed: each block names its results file, relative to
the Markdown file; a file that does not exist yet is shown as "not measured yet", and a block of lines of
other weights than the bundled ones says which they are. After measuring:

    python scripts/update_tables.py            rewrite the blocks
    python scripts/update_tables.py --check    write nothing; exit 1 if a block is out of date
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundled import BUNDLED, REPOSITORY, aims_of
from cards import read_published, show_contrast, show_training
from clip_tables import CLIP_TABLES
from column_tables import COLUMN_TABLES, show_controls
from comparison import WAYS, Run, compare_runs
from forecast import read_history, show_history
from layer_tables import LAYER_TABLES
from method_tables import METHOD_TABLES, show_best
from tables import BRIEF, TABLES, TableKind
from trial_tables import TRIAL_TABLES

from shared_tmu.files import write_text
from shared_tmu.masks import NO_MASK
from shared_tmu.method_parts.restores import COPY
from shared_tmu.programs.console import run_program
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.results import read_records

BLOCK = re.compile(r"(<!-- results:begin (?P<what>[^>]+) -->\n).*?(<!-- results:end -->)", re.DOTALL)
_UNSAID = {
    **{"protect": "first", "mask": NO_MASK, "mask_weight": None, "restore": COPY},
    **{"layers": None, "learned_sha256": None},
}
"""Settings of lines that do not name them."""
NOT_MEASURED = "*Not measured yet.*\n"
TITLES = {
    "n": "samples",
    "pictures_with_hands": "pictures",
    "pictures": "pictures of each run",
    "against": "differences from",
    "stability_n": "samples moved by a pixel",
    "batch_size": "batch",
    "cpu_threads": "threads",
}


class TableError(Exception):
    """A results file cannot be shown; the message says why."""


def kind_of(run: Run) -> TableKind:
    """The table for a line."""
    return (TABLES | METHOD_TABLES | LAYER_TABLES | COLUMN_TABLES | CLIP_TABLES | TRIAL_TABLES)[
        run.get("kind", "eval")
    ]


def origin_of(run: Run) -> tuple[Any, ...]:
    """What runs of one set must share to stand in one table: digests of the weights and of the samples, and
    the number of samples; None where a line does not say. Empty for runs that are of no set.
    """
    if "dataset" not in kind_of(run).setting:
        return ()
    weights = run.get("weights_sha256") or run.get("checkpoint_sha256")
    return weights, run.get("dataset_sha256"), run.get("n")


def read_results(path: Path) -> list[Run]:
    """Return the runs of a JSON-lines file; of several runs with the same settings only the last.

    Raises:
        TableError: the file is empty, or a line is not a run.
    """
    runs: dict[tuple[Any, ...], Run] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            run = {**_UNSAID, **json.loads(line)}
            table = kind_of(run)
            key = (run.get("kind"), *(str(run[name]) for name in table.identity))
            for _, show in table.columns:
                show(run)
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise TableError(
                f"{path}:{number}: not a line of a benchmark or of eval.py: {error!r}"
            ) from error
        runs.pop(key, None)
        runs[key] = run
    if not runs:
        raise TableError(f"{path} is empty.")
    return list(runs.values())


def describe(run: Run, name: str) -> str:
    """The text of one measuring condition of a run; empty if it is not recorded."""
    value = run.get("machine", {}).get(name) if name in ("processor", "cpu_threads") else run.get(name)
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return "" if value is None else str(value)


def make_table(runs: list[Run], brief: TableKind | None = None) -> str:
    """Return a Markdown table for each kind and setting, with the measuring conditions below it. Runs of
    other weights or samples get a table of their own, below which these are named.

    Args:
        runs: lines of results files.
        brief: how to show them, instead of the table of their kind.
    """
    groups: dict[tuple[tuple[Any, ...], tuple[Any, ...]], list[Run]] = {}
    for run in runs:
        shared = (run.get("kind"), *(run[name] for name in kind_of(run).setting))
        groups.setdefault((shared, origin_of(run)), []).append(run)
    several = Counter(shared for shared, _ in groups)
    lines = []
    for (shared, origin), members in groups.items():
        table = brief or kind_of(members[0])
        texts = {title: [show(run) for run in members] for title, show in table.columns}
        shown = {title: cells for title, cells in texts.items() if any(cells) or title not in table.optional}
        lines += [
            "| " + " | ".join(shown) + " |",
            "|" + "---|" * len(shown),
            *("| " + " | ".join(row) + " |" for row in zip(*shown.values(), strict=True)),
        ]
        facts = [f"{TITLES.get(name, name)}: {v}" for name, v in zip(table.setting, shared[1:], strict=True)]
        if several[shared] > 1:
            facts += [
                f"{name}: {mark[:12]}"
                for name, mark in zip(("weights", "set"), origin[:2], strict=True)
                if mark
            ]
        for name in table.context:
            values = [text for text in dict.fromkeys(describe(run, name) for run in members) if text]
            facts += [f"{TITLES.get(name, name)}: {' / '.join(values)}"] if values else []
        lines += ["", "; ".join(facts) + ".", ""]
    return "\n".join(lines[:-1]) + "\n"


def pick_schedules(runs: list[Run], wanted: str) -> list[Run]:
    """The TMU lines of some schedules, in the given order.

    Raises:
        ValueError: there is no line of one of them.
    """
    found = {run["schedule"]: run for run in runs if WAYS["TMU"](run)}
    names = wanted.split(",")
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"no line of {', '.join(missing)}; there are {', '.join(found)}")
    return [found[name] for name in names]


def show_block(words: list[str], folder: Path) -> str:
    """The content of a block: a table of one results file, a comparison of several, training, or a picture.

    Args:
        words: the files that the block names, relative to `folder`.
        folder: folder of the Markdown file.

    Raises:
        TableError: a results file cannot be shown.
    """
    first, *rest = words
    is_alone = not first.endswith(".jsonl")
    named = [word for word in words if not word.startswith("brief=") and word not in ("best", "controls")]
    files = [folder / word for word in named[: 1 if is_alone else None]]
    if not all(file.is_file() for file in files):
        return NOT_MEASURED
    try:
        if first.endswith("_history.jsonl"):
            lines = read_history(files[0])
            return show_history(lines, aims_of(lines[-1]["model"]))
        if first.endswith(".training.json"):
            return show_training(json.loads(files[0].read_text(encoding="utf-8")))
        if is_alone:
            return f"![{' '.join(rest)}]({first})\n"
        if not rest:
            return make_table(read_results(files[0]))
        if rest == ["best"]:
            return show_best(read_results(files[0]))
        if rest == ["controls"]:
            return show_controls(read_results(files[0]))
        if rest[0].startswith("brief="):
            return make_table(pick_schedules(read_results(files[0]), rest[0].removeprefix("brief=")), BRIEF)
        runs = [run for file in files if file.suffix == ".jsonl" for run in read_results(file)]
        if files[-1].suffix == ".csv":
            return show_contrast(runs, read_published(files[-1], runs[0]["model"]))
        return compare_runs(runs)
    except (ValueError, KeyError) as error:
        raise TableError(f"{' and '.join(words)}: {error}") from error


def note_earlier(files: Sequence[Path]) -> str:
    """A sentence that names the weights that were measured where these are not the bundled ones; else empty.

    Args:
        files: results files of a block; others are ignored.
    """
    bundled = {one.name: file_sha256(one.checkpoint) for one in BUNDLED.values()}
    earlier: dict[str, None] = {}
    for file in files:
        if file.suffix != ".jsonl" or file.name.endswith("_history.jsonl"):
            continue
        for run in read_records(file):
            mark = run.get("checkpoint_sha256")
            if mark is not None and mark != bundled.get(str(run.get("model")), mark):
                earlier[f"{run['model']}'s file {mark[:12]}"] = None
    if not earlier:
        return ""
    return f"\nMeasured with earlier weights ({', '.join(earlier)}), not with the bundled ones.\n"


def fill(path: Path) -> tuple[str, str]:
    """Return the present text of a Markdown file, and the text that it should have.

    Raises:
        TableError: a results file cannot be shown.
    """
    old = path.read_text(encoding="utf-8")

    def block(found: re.Match[str]) -> str:
        words = found["what"].split()
        shown = show_block(words, path.parent)
        note = "" if shown == NOT_MEASURED else note_earlier([path.parent / word for word in words])
        return f"{found[1]}{shown}{note}{found[3]}"

    return old, BLOCK.sub(block, old)


def main(argv: list[str] | None = None) -> int:
    """Rewrite or check the blocks; 0 if all are now up to date."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help="Markdown files; default: all READMEs and cards")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a block is out of date"
    )
    args = parser.parse_args(argv)
    stale = False
    pages = [REPOSITORY / name for name in ("README.md", "METHODS.md", "assets/bench/README.md")]
    pages += sorted(REPOSITORY.glob("*_TMU/README.md")) + sorted(REPOSITORY.glob("*_TMU/weights/README.md"))
    for path in args.files or pages:
        try:
            old, new = fill(path)
        except (TableError, OSError) as error:
            sys.stderr.write(f"error: {path}: {error}\n")
            return 1
        if old == new:
            continue
        stale = True
        if args.check:
            sys.stderr.write(f"{path} is out of date: run python scripts/update_tables.py\n")
        else:
            write_text(path, new)
            sys.stdout.write(f"{path} updated\n")
    return 1 if stale and args.check else 0


if __name__ == "__main__":
    sys.exit(run_program(main))
