"""What made a file of weights: command, stages, seeds, versions, time and curve, written beside it."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch

from shared_tmu.files import write_text
from shared_tmu.training.stages import Setting, Stage

PACKAGES = ("torch", "pytorch-lightning", "numpy", "opencv-contrib-python", "embreex", "scikit-image", "mediapipe")


def read_curve(path: Path) -> list[dict[str, str]]:
    """Rows of `curve.csv`, oldest first; nothing if there is none yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_record(folder: Path, name: str, command: str, stages: Sequence[Stage], setting: Setting) -> None:
    """Write `NAME.training.json`, `NAME.curve.csv` and `NAME.curve.png` into `folder`."""
    rows = read_curve(setting.out / "curve.csv")
    seconds: dict[str, float] = {}
    images: dict[str, int] = {}
    for row in rows:  # the clock restarts when a stage resumes, the count of pictures does not
        stage = row["stage"]
        before = float(seconds.get(stage, 0.0))
        seconds[stage] = max(before, float(row["seconds"]))
        images[stage] = int(row["images"])
    last = {k: float(v) for k, v in rows[-1].items() if k.startswith("val/")} if rows else {}
    content = {
        "command": command,
        "seed": setting.seed,
        "validation": {"seed": setting.val_seed, "count": setting.val_count, "last": last},
        "stages": [
            {**asdict(s), "images_seen": images.get(s.name, 0), "seconds_of_last_run": seconds.get(s.name, 0.0)}
            for s in stages
        ],
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads(), "cuda": torch.cuda.is_available()},
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
    }
    write_text(folder / f"{name}.training.json", json.dumps(content, indent=1) + "\n")
    if rows:
        write_text(folder / f"{name}.curve.csv", (setting.out / "curve.csv").read_text())
        plot_curve(rows, stages, folder / f"{name}.curve.png")


def plot_curve(rows: Sequence[dict[str, str]], stages: Sequence[Stage], path: Path) -> None:
    """Aligned vertex error and 2D error on held-out scenes against pictures seen, one line through all stages."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    order = [s.name for s in stages]
    ends = {name: max((int(r["images"]) for r in rows if r["stage"] == name), default=0) for name in order}
    start = {name: sum(ends[other] for other in order[:i]) for i, name in enumerate(order)}
    seen = [start[r["stage"]] + int(r["images"]) for r in rows]
    figure, left = plt.subplots(figsize=(7.0, 3.6), layout="constrained")
    left.plot(seen, [float(r["val/pa_mpvpe_mm"]) for r in rows], color="tab:blue", marker=".", label="PA-MPVPE")
    left.set(xlabel="pictures seen", ylabel="PA-MPVPE, mm", ylim=(0, None))
    right = left.twinx()
    right.plot(seen, [float(r["val/error_2d_px"]) for r in rows], color="tab:orange", marker=".")
    right.set(ylabel="2D error, px of a 256 px crop", ylim=(0, None))
    left.yaxis.label.set_color("tab:blue")
    right.yaxis.label.set_color("tab:orange")
    for stage in stages[1:]:
        if ends[stage.name]:
            left.axvline(start[stage.name], color="0.7", linestyle="--", linewidth=1)
            left.text(start[stage.name], left.get_ylim()[1], f" {stage.name}, {stage.depth} blocks", va="top", fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
