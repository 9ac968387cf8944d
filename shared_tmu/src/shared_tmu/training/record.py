"""Writes the record of how a file of weights was made: command, stages, seeds, versions, time and curve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared_tmu.files import replacing, write_text
from shared_tmu.files.checkpoints import beside
from shared_tmu.programs.identity import file_sha256
from shared_tmu.training.begun import RUNS, read_begun
from shared_tmu.training.curve import read_curve, write_rows
from shared_tmu.training.drawing import Scenes
from shared_tmu.training.ends import DONE, read_end
from shared_tmu.training.run_facts import describe_run
from shared_tmu.training.settings import Setting, Stage


def stage_seconds(rows: Sequence[dict[str, str]]) -> dict[str, float]:
    """Seconds of training per stage up to its last validation, over all its runs.

    The clock of a stage starts again when the stage is resumed: fewer seconds than in the previous row mark a
    new run.
    """
    total: dict[str, float] = {}
    clock: dict[str, float] = {}
    for row in rows:
        stage, now = row["stage"], float(row["seconds"])
        before = clock.get(stage, 0.0)
        total[stage] = total.get(stage, 0.0) + (now - before if now >= before else now)
        clock[stage] = now
    return total


def count_scenes(stages: Sequence[Stage], seen: Sequence[int]) -> int:
    """Number of different scenes in all stages; sets with the same seed and difficulty share their first
    scenes.

    Args:
        stages: the stages.
        seen: pictures that each has seen: those of the first round are all different, from all sets equally.
    """
    largest: dict[Scenes, int] = {}
    for stage, pictures in zip(stages, seen, strict=True):
        part = min(pictures / sum(scenes.count for scenes in stage.sets), 1.0)
        for scenes in stage.sets:
            kind = replace(scenes, count=1)
            largest[kind] = max(largest.get(kind, 0), round(part * scenes.count))
    return sum(largest.values())


def describe_parent(path: Path | None) -> dict[str, Any] | None:
    """Name and SHA-256 of the weights from which training started, and the number of pictures in their
    training, if known.
    """
    if path is None:
        return None
    digest = file_sha256(path) if path.is_file() else None
    record = beside(path, ".training.json")
    total = json.loads(record.read_text()).get("total") if record.is_file() else None
    return {"file": path.name, "sha256": digest, "total": total}


def seen_before(parent: dict[str, Any] | None) -> int | None:
    """Number of pictures on which a parent (see `describe_parent`) and its own parents were trained; None if
    unknown.
    """
    if parent is None:
        return 0
    total = parent["total"] or {}
    own, before = total.get("images_seen"), total.get("images_seen_before")
    return None if own is None or before is None else int(own) + int(before)


def describe_stages(
    stages: Sequence[Stage], setting: Setting, rows: Sequence[dict[str, str]]
) -> list[dict[str, Any]]:
    """The settings of each stage, the number of pictures that it used, and why it ended."""
    seconds = stage_seconds(rows)
    images = {row["stage"]: int(row["images"]) for row in rows}
    described = []
    for stage in stages:
        seen, ended_by = images.get(stage.name, 0), None
        if (setting.out / stage.name / DONE).exists():
            steps = int(read_end(setting.out / stage.name).get("steps", stage.steps))
            seen, ended_by = steps * stage.batch_size, "pictures" if steps >= stage.steps else "time"
        spent = round(seconds.get(stage.name, 0.0), 1)
        described.append({**asdict(stage), "images_seen": seen, "seconds": spent, "ended_by": ended_by})
    return described


def write_record(
    folder: Path,
    name: str,
    command: str,
    stages: Sequence[Stage],
    setting: Setting,
    parent: Path | None = None,
    photographs: dict[str, Any] | None = None,
    backbone: Path | None = None,
) -> None:
    """Write `NAME.training.json`, `NAME.curve.csv` and `NAME.curve.png` into `folder`.

    Machine, versions, precision and validation are those with which the stages were trained, as far as they
    have kept them; the machine of the last run, and `earlier_runs` if there were others.

    Args:
        folder: folder of the weights.
        name: name of the weights' file, without its suffix.
        command: command that repeats the training.
        stages: the stages, in order.
        setting: settings that they share; its `out` holds `curve.csv`.
        parent: weights from which the first stage started; None for random weights.
        photographs: numbers of photographs and hands that were mixed in, if any.
        backbone: weights whose trunk the first stage used instead of the parent's, if any.
    """
    run = {stage.name for stage in stages}  # an earlier run may have had others besides
    rows = [row for row in read_curve(setting.out / "curve.csv") if row["stage"] in run]
    described = describe_stages(stages, setting, rows)
    begun = [read_begun(setting.out / stage.name) for stage in stages]
    runs = [run for one in begun for run in one.get(RUNS, [])] or [describe_run(setting)]
    earlier = [run for i, run in enumerate(runs) if run != runs[-1] and run not in runs[:i]]
    held_out = {"val_seed": setting.val_seed, "val_count": setting.val_count}
    held_out |= {name: one[name] for one in begun for name in held_out if name in one}
    ancestor = describe_parent(parent)
    last = {k: float(v) for k, v in rows[-1].items() if k.startswith("val/") and v} if rows else {}
    content = {
        "command": command,
        "seed": setting.seed,
        "validation": {"seed": held_out["val_seed"], "count": held_out["val_count"], "last": last},
        "photographs": {**photographs, "share": setting.photos_share} if photographs else None,
        "stages": described,
        "total": {
            "images_seen": sum(one["images_seen"] for one in described),
            # two stages may share pictures
            "images_seen_before": None if backbone else seen_before(ancestor),
            "scenes": count_scenes(stages, [one["images_seen"] for one in described]),
            "seconds": round(sum(one["seconds"] for one in described), 1),
        },
        "parent": ancestor,
        "backbone": describe_parent(backbone),
        **runs[-1],
        "earlier_runs": earlier,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_text(folder / f"{name}.training.json", json.dumps(content, indent=1) + "\n")
    if rows:
        write_rows(folder / f"{name}.curve.csv", rows)
        plot_curve(rows, stages, folder / f"{name}.curve.png")


def plot_curve(rows: Sequence[dict[str, str]], stages: Sequence[Stage], path: Path) -> None:
    """Plot aligned vertex error and 2D error on held-out scenes against the number of pictures, over all
    stages.

    Args:
        rows: rows of `curve.csv`.
        stages: the stages, in order.
        path: the picture to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    order = [s.name for s in stages]
    ends = {name: max((int(r["images"]) for r in rows if r["stage"] == name), default=0) for name in order}
    start = {name: sum(ends[other] for other in order[:i]) for i, name in enumerate(order)}
    seen = [start[r["stage"]] + int(r["images"]) for r in rows]
    figure, left = plt.subplots(figsize=(7.0, 3.6), layout="constrained")
    left.plot(seen, [float(r["val/pa_mpvpe_mm"]) for r in rows], color="tab:blue", marker=".")
    left.set(xlabel="pictures seen", ylabel="PA-MPVPE, mm", ylim=(0, None))
    right = left.twinx()
    right.plot(seen, [float(r["val/error_2d_px"]) for r in rows], color="tab:orange", marker=".")
    right.set(ylabel="2D error, px of a 256 px crop", ylim=(0, None))
    left.yaxis.label.set_color("tab:blue")
    right.yaxis.label.set_color("tab:orange")
    for stage in stages[1:]:
        if ends[stage.name]:
            left.axvline(start[stage.name], color="0.7", linestyle="--", linewidth=1)
            text = f"{stage.name}, {stage.depth} blocks"
            left.text(start[stage.name], 0.3, text, rotation=90, ha="right", va="bottom", fontsize=8)
    with replacing(path) as beside:
        figure.savefig(beside, dpi=110)
    plt.close(figure)
