"""One training record for all rounds between two shipped files, and the curve of all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared_tmu.files import write_text
from shared_tmu.training.curve import read_curve, write_rows
from shared_tmu.training.record import plot_curve
from shared_tmu.training.settings import Stage

Record = dict[str, Any]
COMMAND = "python scripts/train_on.py"


def merged_record(records: Sequence[Mapping[str, Any]], before: int) -> Record:
    """The record of several rounds, each of which began with the weights of the one before.

    Args:
        records: theirs, in order, at least one.
        before: pictures that the trunk of the first one's weights had seen, in all models that had it.
    """
    first, last = records[0], records[-1]
    stages = [
        {**stage, "name": _named(stage["name"], number, len(records))}
        for number, record in enumerate(records, 1)
        for stage in record["stages"]
    ]
    largest: dict[tuple[int, str], int] = {}
    for stage in stages:
        sets = (stage, *stage.get("also", []))
        part = min(stage["images_seen"] / sum(int(one["count"]) for one in sets), 1.0)  # as in `count_scenes`
        for one in sets:
            key = int(one["seed"]), json.dumps(one.get("difficulty", {}), sort_keys=True)
            largest[key] = max(largest.get(key, 0), round(part * int(one["count"])))
    total = {
        "images_seen": sum(record["total"]["images_seen"] for record in records),
        "images_seen_before": before,
        "scenes": sum(largest.values()),
        "seconds": round(sum(record["total"]["seconds"] for record in records), 1),
    }
    rounds = [
        {name: record.get(name) for name in ("command", "commit", "finished", "parent", "backbone")}
        for record in records
    ]
    trunks = [record["backbone"] for record in records if record.get("backbone")]
    return {
        **last,
        **{"command": COMMAND, "stages": stages, "total": total, "rounds": rounds},
        **{"parent": first.get("parent"), "backbone": trunks[-1] if trunks else None},
    }


def write_merged(folder: Path, stem: str, exports: Sequence[Path], before: int) -> None:
    """Write `STEM.training.json`, `STEM.curve.csv` and `STEM.curve.png` of several rounds into a folder.

    Args:
        folder: where.
        stem: of the weights' name.
        exports: weights of the rounds, in order; their records lie beside them.
        before: see `merged_record`.
    """
    records = [json.loads(path.with_suffix(".training.json").read_text(encoding="utf-8")) for path in exports]
    record = merged_record(records, before)
    write_text(folder / f"{stem}.training.json", json.dumps(record, indent=1) + "\n")
    rows = [
        {**row, "stage": _named(row["stage"], number, len(exports))}
        for number, path in enumerate(exports, 1)
        for row in read_curve(path.with_suffix(".curve.csv"))
    ]
    write_rows(folder / f"{stem}.curve.csv", rows)
    stages = [Stage(s["name"], s["depth"], s["images"], s["seed"], s["count"]) for s in record["stages"]]
    plot_curve(rows, stages, folder / f"{stem}.curve.png")


def _named(stage: str, number: int, count: int) -> str:
    """A stage's name among those of several rounds."""
    return stage if count == 1 else f"{stage}-{number}"
