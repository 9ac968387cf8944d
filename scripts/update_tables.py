"""Fill the tables between `<!-- results:begin FILE -->` and `<!-- results:end -->` from eval.py's JSON lines.

Figures in the READMEs come from files, never from hands: each block names the results file it shows, relative
to the Markdown file it stands in; a file that is not there yet shows as "not measured yet". After measuring:

    python scripts/update_tables.py            rewrite the blocks
    python scripts/update_tables.py --check    write nothing; exit 1 if a block is out of date
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- results:begin (?P<file>\S+) -->\n).*?(<!-- results:end -->)", re.DOTALL)
COLUMNS = (
    ("`--r`", "schedule", "{}"),
    ("method", "method", "{}"),
    ("tokens kept", "tokens_kept", "{}"),
    ("PA-MPVPE (mm)", "pa_mpvpe_mm", "{:.2f}"),
    ("PA-MPJPE (mm)", "pa_mpjpe_mm", "{:.2f}"),
    ("images/s", "images_per_s", "{:.1f}"),
    ("speed-up", "speedup", "{:.2f}x"),
)
NOT_MEASURED = "*Not measured yet.*\n"
SETTING = ("model", "dataset", "device", "dtype")
CONTEXT = ("n", "batch_size", "processor", "versions", "commit")
TITLES = {"n": "samples", "batch_size": "batch"}


class TableError(Exception):
    """A results file that cannot be shown; the message says why."""


def read_results(path: Path) -> list[dict[str, Any]]:
    """Return the runs of a JSON-lines file; of several runs of the same settings only the last.

    Raises:
        TableError: the file is empty, or a line is not a run.
    """
    runs: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            run = json.loads(line)
            key = tuple(run[name] for name in (*SETTING, "schedule", "method", "unmerge"))
            key = (*key, run.get("protect", "first"))
            missing = [name for _, name, _ in COLUMNS if name not in run]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise TableError(f"{path}:{number}: not a line of eval.py: {error!r}") from error
        if missing:
            raise TableError(f"{path}:{number}: no {', '.join(missing)} in this line.")
        runs.pop(key, None)
        runs[key] = run
    if not runs:
        raise TableError(f"{path} is empty.")
    return list(runs.values())


def cell(run: dict[str, Any], name: str, form: str) -> str:
    """Format one value of a run."""
    value = run[name]
    if name == "method" and run["schedule"] == "off":
        return ""
    if name == "images_per_s" and not str(run["device"]).startswith("cuda"):
        return "-"  # absolute times mean something on a named GPU only; a CPU's are shown as ratios
    if name == "method":
        last = run.get("protect") == "last"
        return ", ".join(
            [value, *([] if run["unmerge"] else ["not unmerged"]), *(["protect last"] if last else [])]
        )
    return "-" if value is None else form.format(value)


def describe(run: dict[str, Any], name: str) -> str:
    """Write one value of what a run was measured with; empty if it is not recorded."""
    value = run.get("machine", {}).get(name) if name == "processor" else run.get(name)
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return "" if value is None else str(value)


def make_table(runs: list[dict[str, Any]]) -> str:
    """Return a Markdown table for each model, dataset, device and dtype, and what it was measured with."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault(tuple(run[name] for name in SETTING), []).append(run)
    lines = []
    for setting, members in groups.items():
        lines += [
            "| " + " | ".join(title for title, _, _ in COLUMNS) + " |",
            "|" + "---|" * len(COLUMNS),
            *("| " + " | ".join(cell(r, name, form) for _, name, form in COLUMNS) + " |" for r in members),
        ]
        facts = [f"{name}: {value}" for name, value in zip(SETTING, setting, strict=True)]
        for name in CONTEXT:
            values = [text for text in dict.fromkeys(describe(run, name) for run in members) if text]
            facts += [f"{TITLES.get(name, name)}: {' / '.join(values)}"] if values else []
        lines += ["", "; ".join(facts) + ".", ""]
    return "\n".join(lines[:-1]) + "\n"


def fill(path: Path) -> tuple[str, str]:
    """Return the text of a Markdown file as it is, and as it should be.

    Raises:
        TableError: a results file cannot be shown.
    """
    old = path.read_text(encoding="utf-8")

    def block(found: re.Match[str]) -> str:
        results = path.parent / found["file"]
        table = make_table(read_results(results)) if results.is_file() else NOT_MEASURED
        return f"{found[1]}{table}{found[3]}"

    return old, BLOCK.sub(block, old)


def main(argv: list[str] | None = None) -> int:
    """Rewrite or check the blocks; 0 if all are now right."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path, help="Markdown files; default: all READMEs")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a block is stale")
    args = parser.parse_args(argv)
    stale = False
    for path in args.files or [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("*_TMU/README.md"))]:
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
            path.write_text(new, encoding="utf-8")
            sys.stdout.write(f"{path} updated\n")
    return 1 if stale and args.check else 0


if __name__ == "__main__":
    sys.exit(main())
