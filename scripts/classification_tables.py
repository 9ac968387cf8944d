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
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shared_tmu.errors import InputError
from shared_tmu.files import write_text
from shared_tmu.methods import METHODS
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
        ("data", "n_train", "epochs", "method", "schedule"),
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
NOTHING = "Not measured yet: the commands above make the lines.\n"
_BLOCK = re.compile(r"(<!-- (\w+)(?: ([\w@-]+))?:begin -->\n).*?(<!-- \2(?: [\w@-]+)?:end -->)", re.DOTALL)
Line = Mapping[str, Any]


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
        latest = {json.dumps([line.get(n) for n in names]): line for line in (*read_records(path), *fresh)}
        if fresh:
            kept = ({k: v for k, v in line.items() if k not in _DROPPED} for line in latest.values())
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        taken += len(fresh)
    if not taken:
        raise InputError(
            f"--take {results} has no lines of these programs: see {PAGE.name} for the commands."
        )


def table(kind: str, which: str | None) -> str:
    """The table of a kind, for a set and size such as `cifar10-112`.

    Raises:
        InputError: there is no such kind.
    """
    tables: dict[str, Callable[[Sequence[Line], str], str]] = {
        "classes": class_table,
        "saliency": saliency_table,
        "training": training_table,
        "speed": speed_table,
    }
    if kind not in tables:
        raise InputError(f"{PAGE.name} asks for a table of {kind!r}: use one of {', '.join(tables)}.")
    return tables[kind](read_records(LINES[kind][0]), which or "")


def class_table(lines: Sequence[Line], which: str) -> str:
    """Top-1 and loss of every method, with paired differences from `off`."""
    data, _, side = which.rpartition("-")
    own = [line for line in lines if line["dataset"] == data and line["crop_size"][0] == int(side)]
    if not own:
        return NOTHING
    off = next(line for line in own if line["label"] == "off")
    rows = [
        (
            named(line),
            f"{line['tokens_kept']}/{line['tokens']}",
            f"{line['gflops']:.2f}",
            f"{line['top1_pct']:.1f}",
            *(difference(line, off, name, digits) for name, digits in (("top1_pct", 1), ("nll", 3))),
        )
        for line in in_order(own)
    ]
    note = f"{off['n']} pictures, {off['dtype']}; in brackets 95 % intervals of paired differences.\n"
    head = ("method and schedule", "tokens", "GFLOPs", "top-1 %", "minus off", "NLL minus off")
    return f"{markdown(head, rows)}\n{note}"


def difference(line: Line, off: Line, name: str, digits: int) -> str:
    """A paired difference with its interval; empty for `off` itself."""
    interval = (line.get("minus_off_interval_95") or {}).get(name)
    if line["label"] == "off" or interval is None:
        return ""
    low, high = interval
    return f"{line[name] - off[name]:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def saliency_table(lines: Sequence[Line], which: str) -> str:
    """Distance from the unmerged map."""
    own = [line for line in lines if line["schedule"] == which]
    rows = [
        (
            named({**line, "label": line["schedule"]}),
            line["ending"],
            f"{line['tokens_kept']}/{line['tokens']}",
            f"{line['gflops']:.2f}",
            *(with_interval(line, name, 3) for name in ("correlation", "mean_error")),
        )
        for line in in_order(own)
    ]
    head = ("method and schedule", "restored by", "tokens", "GFLOPs", "correlation", "mean error")
    return markdown(head, rows) if rows else NOTHING


def training_table(lines: Sequence[Line], which: str) -> str:
    """Top-1 with and without merging, of models trained with and without it."""
    rows = []
    for line in lines:
        top1 = line["top1_pct"]
        rows.append(
            (
                f"{line['method']} {line['schedule']}",
                f"{top1['plain_off']:.1f}",
                f"{top1['plain_merged']:.1f}",
                f"{top1['trained_merged']:.1f}",
                *(with_interval(line, name, 1) for name in ("drop", "gap", "regained")),
                f"{line['step_speedup']:.2f}x" if "step_speedup" in line else "not timed",
            )
        )
    head = (
        "merging", "trained and run without", "merged off the shelf", "trained and run with",
        "lost off the shelf", "lost after training with it", "regained", "speed of a step",
    )  # fmt: skip
    return markdown(head, rows) if rows else NOTHING


def speed_table(lines: Sequence[Line], which: str) -> str:
    """Images per second and speed-up of a model."""
    own = [line for line in lines if line["model"] == which]
    rows = [
        (
            f"{line['method']} {line['schedule']}" if line["schedule"] != "off" else "off",
            str(line["batch_size"]),
            f"{line['gflops']:.2f}",
            f"{line['images_per_s']:.1f}",
            f"{line['speedup']:.2f}x ({line['speedup_quartiles'][0]:.2f}-{line['speedup_quartiles'][1]:.2f})",
            f"{line['floor_speedup']:.2f}x",
            f"{line['peak_memory_mib']:.0f}",
        )
        for line in own
        if line["schedule"] != "off" or line["method"] == own[0]["method"]
    ]
    head = ("method and schedule", "batch", "GFLOPs", "img/s", "speed-up", "floor", "peak MiB")
    return markdown(head, rows) if rows else NOTHING


def with_interval(line: Line, name: str, digits: int) -> str:
    """A value with its interval."""
    low, high = line[f"{name}_interval_95"]
    return f"{line[name]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def named(line: Line) -> str:
    """Method and schedule of a line."""
    return "off" if line["label"] == "off" else f"{line['method']} {line['schedule']}"


def in_order(lines: Sequence[Line]) -> list[Line]:
    """`off` first, then by schedule as they were measured, and in the order of the methods' table."""
    methods, schedules = list(METHODS), list(dict.fromkeys(line["schedule"] for line in lines))
    return sorted(
        lines,
        key=lambda line: (
            line["label"] != "off",
            schedules.index(line["schedule"]),
            methods.index(line["method"].partition(":")[0]),
        ),
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


if __name__ == "__main__":
    sys.exit(run_program(main))
