"""Fill the tables between `<!-- results:begin FILE -->` and `<!-- results:end -->` from JSON lines.

The lines are those that eval.py, `python -m shared_tmu.bench` and `demo.py --report` write. Several
files in one block are shown side by side: TMU and its controls at every schedule. A picture, followed by
what it shows, stands for itself.

Figures in the READMEs come from files, never from hands: each block names the results file it shows, relative
to the Markdown file it stands in; a file that is not there yet shows as "not measured yet". After measuring:

    python scripts/update_tables.py            rewrite the blocks
    python scripts/update_tables.py --check    write nothing; exit 1 if a block is out of date
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from comparison import compare_runs

REPOSITORY = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- results:begin (?P<what>[^>]+) -->\n).*?(<!-- results:end -->)", re.DOTALL)
NOT_MEASURED = "*Not measured yet.*\n"
TITLES = {"n": "samples", "batch_size": "batch", "cpu_threads": "threads"}

Run = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """How the lines of one kind are shown.

    Args:
        identity: fields that tell runs apart; of several runs that agree in all of them only the last counts.
        setting: those of them that all rows of a table share.
        columns: title, and the text of a run.
        context: fields written below a table.
        optional: titles of columns that are left out where no row has text.
    """

    identity: tuple[str, ...]
    setting: tuple[str, ...]
    columns: tuple[tuple[str, Callable[[Run], str]], ...]
    context: tuple[str, ...]
    optional: tuple[str, ...] = ()


def is_absolute(run: Run) -> bool:
    """Whether absolute times mean something: on a named GPU; those of a CPU are shown as ratios only."""
    return str(run["device"]).startswith("cuda")


def field(name: str, form: str = "{}") -> Callable[[Run], str]:
    """The text of a field; "-" if it is null."""
    return lambda run: "-" if run[name] is None else form.format(run[name])


def given(name: str, form: str) -> Callable[[Run], str]:
    """The text of a field that not every set has."""
    return lambda run: form.format(run[name]) if name in run else ""


def percent(name: str, form: str) -> Callable[[Run], str]:
    """The text of a share, in per cent."""
    return lambda run: form.format(100 * run[name])


def merged(name: str, form: str) -> Callable[[Run], str]:
    """The text of a field that says nothing about the unpatched model."""
    return lambda run: "" if run["schedule"] == "off" else field(name, form)(run)


def spread(name: str) -> Callable[[Run], str]:
    """A ratio with its quartiles."""
    return lambda run: "{:.2f}x ({:.2f}-{:.2f})".format(run[name], *run[f"{name}_quartiles"])


def show_method(run: Run) -> str:
    """The method, and in what it differs from TMU."""
    if run["schedule"] == "off":
        return ""
    last = ["protect last"] if run["protect"] == "last" else []
    return ", ".join([run["method"], *([] if run["unmerge"] else ["not unmerged"]), *last])


def show_dtype(run: Run) -> str:
    """The number format, and whether `auto` chose it."""
    return run["dtype"] if run["dtype"] == run["dtype_asked"] else f"{run['dtype_asked']} ({run['dtype']})"


def show_speedup(run: Run) -> str:
    """The speed-up, and whether it is none."""
    return spread("speedup")(run) + ("" if run["pays"] else ": does not pay")


def show_ideal(run: Run) -> str:
    """The arithmetic saved, and how much of it the speed-up is."""
    return "" if run["schedule"] == "off" else f"{run['flop_ideal']:.2f}x ({100 * run['realised']:.0f} %)"


def show_overhead(run: Run) -> str:
    """Time over the slicing floor, less one, with quartiles, in per cent."""
    if run["schedule"] == "off":
        return ""
    return "{:+.1f} % ({:+.1f} to {:+.1f})".format(
        *(100 * value for value in (run["overhead"], *run["overhead_quartiles"]))
    )


def show_vertices(run: Run) -> str:
    """Mean and largest distance of the vertices from float32's."""
    error = run["vertex_error_mm"]
    return "" if not error or not error["max"] else "{mean:.2f} (max {max:.2f})".format(**error)


def show_latency(run: Run) -> str:
    """Median time of a call, on a GPU."""
    return f"{median(run['latency_ms']):.2f}" if is_absolute(run) else ""


def share(part: str) -> Callable[[Run], str]:
    """The share of a part of the whole."""
    return lambda run: f"{100 * run['shares'][part]:.1f} %" if part in run["shares"] else ""


def waiting(what: str) -> Callable[[Run], str]:
    """The share of the wall time in which the model waited for something."""
    return lambda run: f"{100 * run[f'waited_for_{what}_s'] / run['wall_s']:.1f} %"


def show_memory(run: Run) -> str:
    """Resident memory of all processes, the largest in each tenth of the images."""
    return " ".join(map(str, map(sum, zip(run["memory_mb"], run["memory_of_drawing_mb"], strict=True))))


TABLES = {
    "eval": Table(
        identity=("model", "dataset", "device", "dtype", "schedule", "method", "unmerge", "protect"),
        setting=("model", "dataset", "device", "dtype"),
        columns=(
            ("`--r`", field("schedule")),
            ("method", show_method),
            ("tokens kept", field("tokens_kept")),
            ("PA-MPVPE (mm)", field("pa_mpvpe_mm", "{:.2f}")),
            ("PA-MPJPE (mm)", field("pa_mpjpe_mm", "{:.2f}")),
            ("hands: PA-MPVPE (mm)", given("pa_mpvpe_hand_mm", "{:.2f}")),
            ("head: PA-MPVPE (mm)", given("pa_mpvpe_face_mm", "{:.2f}")),
            ("images/s", lambda run: field("images_per_s", "{:.1f}")(run) if is_absolute(run) else "-"),
            ("speed-up", field("speedup", "{:.2f}x")),
        ),
        context=("n", "batch_size", "processor", "versions", "commit"),
        optional=("hands: PA-MPVPE (mm)", "head: PA-MPVPE (mm)"),
    ),
    "speed": Table(
        identity=(
            *("model", "size", "scope", "device", "method", "unmerge"),
            *("batch_size", "dtype_asked", "dtype", "runtime", "schedule"),
        ),
        setting=("model", "size", "scope", "device"),
        columns=(
            ("batch", field("batch_size")),
            ("`--dtype`", show_dtype),
            ("`--runtime`", field("runtime")),
            ("`--r`", field("schedule")),
            ("tokens kept", field("tokens_kept")),
            ("ms", show_latency),
            ("speed-up", show_speedup),
            ("floor", merged("floor_speedup", "{:.2f}x")),
            ("ideal (reached)", show_ideal),
            ("overhead", show_overhead),
            ("over float32 off", spread("speedup_over_reference")),
            ("vertices (mm)", show_vertices),
            ("memory (MiB)", field("peak_memory_mib", "{:.0f}")),
        ),
        context=("processor", "cpu_threads", "rounds", "versions", "commit"),
        optional=("ms", "vertices (mm)"),
    ),
    "kernel": Table(
        identity=("kernel", "dtype", "device", "case"),
        setting=("device",),
        columns=(
            ("kernel", field("kernel")),
            ("dtype", field("dtype")),
            ("case", field("case")),
            ("µs", field("kernel_us", "{:.1f}")),
            ("reference: µs", field("reference_us", "{:.1f}")),
            ("speed-up", spread("speedup")),
        ),
        context=("processor", "versions", "commit"),
    ),
    "profile": Table(
        identity=("model", "size", "device", "dtype_asked", "batch_size", "schedule"),
        setting=("model", "size", "device"),
        columns=(
            ("batch", field("batch_size")),
            ("`--dtype`", show_dtype),
            ("`--r`", field("schedule")),
            ("ms", lambda run: f"{run['whole_ms']:.1f}" if is_absolute(run) else ""),
            *(
                (part, share(part))
                for part in ("detection", "crop", "attention", "MLP", "matching", "merging")
            ),
            *((part, share(part)) for part in ("unmerging", "rest of the ViT", "head", "body model")),
            ("rendering", share("rendering")),
            ("unaccounted", percent("unaccounted", "{:.1f} %")),
        ),
        context=("processor", "cpu_threads", "rounds", "versions", "commit"),
        optional=("ms", "detection", "crop", "head", "body model", "rendering"),
    ),
    "demo": Table(
        identity=("model", "device", "dtype", "schedule", "overlays", "images"),
        setting=("model", "device"),
        columns=(
            ("images", field("images")),
            ("hands", field("hands")),
            ("`--dtype`", field("dtype")),
            ("`--r`", field("schedule")),
            ("batch", field("batch_size")),
            ("overlays", lambda run: "drawn" if run["overlays"] else "off"),
            ("model busy", percent("model_busy", "{:.1f} %")),
            ("waiting for hands", waiting("crops")),
            ("waiting for files", waiting("files")),
            ("memory (MB), by tenths of the images", show_memory),
        ),
        context=("processor", "cpu_threads", "versions", "commit"),
    ),
    "scale": Table(
        identity=("device", "dtype", "axis", "value"),
        setting=("device", "dtype"),
        columns=(
            ("growing", field("axis")),
            ("to", field("value")),
            ("unpatched: time", field("off_ms_growth", "{:.1f}x")),
            ("merged: time", field("merged_ms_growth", "{:.1f}x")),
            ("one matching: time", field("matching_ms_growth", "{:.1f}x")),
            ("speed-up", spread("speedup")),
            ("overhead", percent("overhead", "{:+.1f} %")),
            ("unpatched: MiB", field("off_peak_mib", "{:.1f}")),
            ("merged: MiB", field("merged_peak_mib", "{:.1f}")),
            ("one matching: MiB", field("matching_peak_mib", "{:.1f}")),
            ("scores of one image: MiB", field("score_matrix_mib", "{:.1f}")),
        ),
        context=("processor", "cpu_threads", "versions", "commit"),
    ),
}
"""By the `kind` of a line; those of eval.py have none."""


class TableError(Exception):
    """A results file that cannot be shown; the message says why."""


def kind_of(run: Run) -> Table:
    """How a line is shown."""
    return TABLES[run.get("kind", "eval")]


def read_results(path: Path) -> list[Run]:
    """Return the runs of a JSON-lines file; of several runs of the same settings only the last.

    Raises:
        TableError: the file is empty, or a line is not a run.
    """
    runs: dict[tuple[Any, ...], Run] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            run = {"protect": "first", **json.loads(line)}
            table = kind_of(run)
            key = (run.get("kind"), *(run[name] for name in table.identity))
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
    """Write one value of what a run was measured with; empty if it is not recorded."""
    value = run.get("machine", {}).get(name) if name in ("processor", "cpu_threads") else run.get(name)
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return "" if value is None else str(value)


def make_table(runs: list[Run]) -> str:
    """Return a Markdown table for each kind and setting, and below it what it was measured with."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.get("kind"), *(run[name] for name in kind_of(run).setting)), []).append(run)
    lines = []
    for (_, *setting), members in groups.items():
        table = kind_of(members[0])
        texts = {title: [show(run) for run in members] for title, show in table.columns}
        shown = {title: cells for title, cells in texts.items() if any(cells) or title not in table.optional}
        lines += [
            "| " + " | ".join(shown) + " |",
            "|" + "---|" * len(shown),
            *("| " + " | ".join(row) + " |" for row in zip(*shown.values(), strict=True)),
        ]
        facts = [f"{name}: {value}" for name, value in zip(table.setting, setting, strict=True)]
        for name in table.context:
            values = [text for text in dict.fromkeys(describe(run, name) for run in members) if text]
            facts += [f"{TITLES.get(name, name)}: {' / '.join(values)}"] if values else []
        lines += ["", "; ".join(facts) + ".", ""]
    return "\n".join(lines[:-1]) + "\n"


def show_block(words: list[str], folder: Path) -> str:
    """What stands in a block: a table of one results file, a comparison of several, or a picture.

    Args:
        words: what the block names, relative to `folder`.
        folder: of the Markdown file.

    Raises:
        TableError: a results file cannot be shown.
    """
    first, *rest = words
    is_picture = not first.endswith(".jsonl")
    files = [folder / word for word in words[: 1 if is_picture else None]]
    if not all(file.is_file() for file in files):
        return NOT_MEASURED
    if is_picture:
        return f"![{' '.join(rest)}]({first})\n"
    if not rest:
        return make_table(read_results(files[0]))
    try:
        return compare_runs([run for file in files for run in read_results(file)])
    except ValueError as error:
        raise TableError(f"{' and '.join(words)}: {error}") from error


def fill(path: Path) -> tuple[str, str]:
    """Return the text of a Markdown file as it is, and as it should be.

    Raises:
        TableError: a results file cannot be shown.
    """
    old = path.read_text(encoding="utf-8")

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}{show_block(found['what'].split(), path.parent)}{found[3]}"

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
    pages = [REPOSITORY / "README.md", REPOSITORY / "assets" / "bench" / "README.md"]
    for path in args.files or [*pages, *sorted(REPOSITORY.glob("*_TMU/README.md"))]:
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
