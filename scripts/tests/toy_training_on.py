"""A repository of model folders whose train.py only pretends."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import bundled
import pytest
import torch
from bundled import BUNDLED, Bundled
from toy_draw import SHARD
from training_parts import scenes, slices

from shared_tmu.files.checkpoints import save_safetensors
from shared_tmu.synth import shards

MORE = """
stages:
  again: {depth: 1, images: 600, batch_size: 10, keep_patches: 5, full_share: 0.25}
  deep: {depth: 2, images: 100, batch_size: 10}
"""
HERE = Path(__file__).parent


def make_toys(folder: Path, patches: pytest.MonkeyPatch, names: tuple[str, ...] = ("one", "two")) -> Path:
    """Make a repository of toy models of hands (and `body`) in `folder`, and take its place; returns the
    folder of the state."""
    patches.setattr(bundled, "REPOSITORY", folder)
    patches.setattr(shards, "SHARD", SHARD)
    patches.setattr(scenes, "FULL", 4 * SHARD)
    patches.setattr(slices, "_TICK_S", 0.3)
    patches.setattr(slices, "LOWEST", max(0, os.nice(0)))  # or tests take minutes on a machine that is busy
    for name in list(BUNDLED):
        patches.delitem(BUNDLED, name)
    (folder / "assets").mkdir(parents=True)
    (folder / "sleep").write_text("0")
    (folder / "checkpoints").mkdir()
    for step in range(1, 61):
        torch.save({"global_step": step}, folder / "checkpoints" / f"{step}.ckpt")
    for kind in (scenes.kind_of("hand"), scenes.kind_of("body")):
        made = shards.shard_folder(folder, 1, scenes.DRAWN[kind.name.removeprefix("synth")], kind).name
        (folder / kind.name).write_text(made.rpartition("-")[2])
    shutil.copyfile(HERE / "toy_draw.py", folder / "draw.py")
    patches.setattr(scenes, "_DRAW", folder / "draw.py")
    for number, name in enumerate(names):
        patches.setitem(BUNDLED, name, make_toy(folder, name, 10_000 + number))
    return folder / "state"


def make_toy(root: Path, name: str, pictures: int) -> Bundled:
    """One folder, whose weights have seen so many pictures."""
    folder = root / f"{name}_TMU"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "more.yaml").write_text(MORE)
    shutil.copyfile(HERE / "toy_train.py", folder / "train.py")
    weights = folder / "weights" / f"{name}_thin.safetensors"
    weights.parent.mkdir()
    save_safetensors({"w": torch.full((1,), float(pictures))}, weights, {})
    record = {
        "total": {"images_seen": pictures, "images_seen_before": 0, "seconds": pictures / 100},
        "validation": {"last": {"val/pa_mpvpe_mm": 12.0}},
        "stages": [{"seed": 7, "also": [{"seed": 8}]}],
    }
    weights.with_suffix(".training.json").write_text(json.dumps(record))
    weights.with_suffix(".curve.csv").write_text("stage,step,images,seconds\n")
    weights.with_suffix(".yaml").write_text("sizes: old\n")
    subject = "synthbody" if name == "body" else "synthhand"
    return Bundled(name.title(), folder, name, weights.name, subject, photos=name != "body")


def started(state: Path, name: str) -> list[dict[str, str]]:
    """The command lines with which a toy's train.py was started."""
    path = state / name / "started"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
