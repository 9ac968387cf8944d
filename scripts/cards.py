"""Further parts of a model card, as Markdown: the training data, and the cost of merging compared with the
published model.
"""

import csv
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from comparison import Run, arrange_runs, interval_of

ERROR = "pa_mpvpe_mm"


def show_training(record: Mapping[str, Any]) -> str:
    """A row for every stage of a `*.training.json`, and below the table how the model was made."""
    columns = (
        "stage",
        "blocks",
        "pictures seen",
        "different scenes",
        "varied",
        "seed",
        "largest rotation",
        "hours",
    )
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    stages = record["stages"]
    for stage in stages:
        turn = stage["difficulty"].get("max_turn_deg")
        sets = [stage, *stage.get("also", [])]
        varied = sum(one["count"] * one.get("difficulty", {}).get("variety", 0.0) for one in sets)
        row = (
            *(stage["name"], stage["depth"], f"{stage['images_seen']:,}"),
            *(f"{sum(one['count'] for one in sets):,}", f"{varied:,.0f}"),
            *(", ".join(str(one["seed"]) for one in sets), "-" if turn is None else f"{turn:.0f}°"),
            f"{stage['seconds'] / 3600:.2f}",
        )
        lines.append(f"| {' | '.join(map(str, row))} |")
    total = record.get("total", {})
    pictures = f"{sum(stage['images_seen'] for stage in stages):,} pictures"
    if "scenes" in total:
        pictures += f" of {total['scenes']:,} scenes"
    hours = sum(stage["seconds"] for stage in stages) / 3600
    machine, validation = record["machine"], record["validation"]
    facts = {
        "all stages": f"{pictures} in {hours:.1f} hours",
        "ended by setting.max_minutes": ", ".join(s["name"] for s in stages if s.get("ended_by") == "time"),
        "command": f"`{record['command']}`",
        "started from": _parent(record.get("parent")),
        "trunk from": _parent(record.get("backbone")),
        "seed": record["seed"],
        "held out": f"{validation['count']} scenes of seed {validation['seed']}",
        "trained on": f"{machine['processor']}, {machine['threads']} thread{'s'[: machine['threads'] != 1]}",
        "finished": record.get("finished"),
        "versions": ", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        "commit": record.get("commit"),
    }
    told = "; ".join(f"{name}: {value}" for name, value in facts.items() if value not in (None, ""))
    return "\n".join(lines) + f"\n\n{told}.\n"


def read_published(path: Path, model: str) -> dict[str, float]:
    """Published errors of a model in millimetres by schedule, from `assets/thesis_curves.csv`."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(line for line in file if line[0] != "#")
        return {row["setting"]: float(row[ERROR]) for row in rows if row["model"] == model}


def show_contrast(runs: Sequence[Run], published: Mapping[str, float]) -> str:
    """How much the error rises here and in the published figures, for each schedule.

    If there are task tokens, the published runs merge them, so they must be compared with `protect last`.

    Args:
        runs: lines of one model on one set, `off` among them.
        published: errors by schedule.

    Raises:
        ValueError: see `arrange_runs`, or there are no published figures, or only `off`.
    """
    if "off" not in published:
        raise ValueError("the table of published figures has no 'off' for this model")
    found = arrange_runs(runs)
    if "TMU" not in found.ways:
        raise ValueError("there is no merged schedule to compare with the published ones")
    ways = [way for way in ("TMU", "protect last") if way in found.ways]
    base = found.baseline[ERROR]
    lines = ["| `--r` | " + " | ".join(f"{way}, here" for way in ways) + " | published |"]
    lines.append("|" + "---|" * (len(ways) + 2))
    rises = []
    for schedule in (s for s in found.schedules if s in published):
        runs_of = [found.cells.get((schedule, way)) for way in ways]
        cells = ["-" if run is None else _percent(run, base) for run in runs_of]
        theirs = 100 * (published[schedule] / published["off"] - 1)
        lines.append(f"| {schedule} | {' | '.join(cells)} | {theirs:+.1f} % |")
        if (last := runs_of[-1]) is not None:
            rises.append((100 * (last[ERROR] / base - 1), theirs))
    text = "Increase of PA-MPVPE over `off`, in per cent of it "
    text += f"({base:.2f} mm here, {published['off']:.2f} mm published):"
    return "\n".join([text, "", *lines, "", _agreement(rises, ways[-1])]) + "\n"


def _percent(run: Run, base: float) -> str:
    text = f"{100 * (run[ERROR] / base - 1):+.1f} %"
    interval = interval_of(run, "minus_off_interval_95", ERROR)
    return (
        text
        if interval is None
        else "{} ({:.1f} to {:.1f})".format(text, *(100 * x / base for x in interval))
    )


def _agreement(rises: Sequence[tuple[float, float]], way: str) -> str:
    """One sentence: at how many schedules the rise is smaller than published, and how similar the order of
    schedules is.
    """
    smaller = sum(ours < theirs for ours, theirs in rises)
    pairs = list(combinations(rises, 2))
    alike = sum((a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in pairs)
    return (
        f"{way} here against published: the rise is smaller at {smaller} of {len(rises)} schedules; "
        f"{alike} of {len(pairs)} pairs of schedules are in the same order."
    )


def _parent(parent: Mapping[str, Any] | None) -> str:
    if not parent:
        return ""
    return f"{parent['file']} (sha256 {parent['sha256'][:12]})" if parent.get("sha256") else parent["file"]
