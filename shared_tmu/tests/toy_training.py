"""Training at toy size: a linear model learns the brightness of plain pictures."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from shared_tmu.synth import shards
from shared_tmu.synth.scene import Difficulty
from shared_tmu.synth.shards import Kind, jpeg
from shared_tmu.training import data
from shared_tmu.training.command import reported
from shared_tmu.training.data import ShardSet
from shared_tmu.training.module import RegressorTraining
from shared_tmu.training.settings import Setting, Stage
from shared_tmu.training.stages import run_stages
from shared_tmu.training.stopping import Stop
from shared_tmu.training.tasks import Task

SHARD = 8
SLEEP_S = 0.0  # per step
if multiprocessing.parent_process() is not None:  # this is a process that draws
    shards.SHARD = data.SHARD = SHARD


def record(seed: int, index: int, difficulty: Difficulty):
    """A plain picture of random brightness."""
    time.sleep(float(os.environ.get("TOY_DRAW_S", "0")))
    if seed == 13:
        raise ValueError("this one cannot be drawn")
    brightness = np.random.default_rng((seed, index)).integers(0, 255)
    image = np.full((16, 16, 3), brightness, np.uint8)
    return jpeg(image), {"brightness": np.array(brightness / 255, np.float32), "index": np.array(index)}


class PlainSet(ShardSet):
    """Plain pictures; augmentation moves the label a little."""

    kind = Kind("plain", 1, record)

    def packed(self, index, chance):
        shard = self._shard(index // shards.SHARD)
        label = torch.from_numpy(np.array(shard["brightness"][index % shards.SHARD]))
        if chance is not None:
            label = label + float(np.random.default_rng(chance).normal(0, 0.01))
        return {"img": label[None].float(), "brightness": label.float()}

    def turn(self, rng, image, labels):
        return image, labels

    def choose(self, labels):
        return labels

    @staticmethod
    def unpack(batch):
        return batch


class Vit(nn.Module):
    """Blocks alone, as growing wants them."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(self.block() for _ in range(depth))

    @staticmethod
    def block() -> nn.Module:
        block = nn.Module()
        block.attn, block.mlp = nn.Module(), nn.Module()
        block.attn.proj, block.mlp.fc2 = nn.Linear(1, 1), nn.Linear(1, 1)
        return block

    def forward(self, x):
        for block in self.blocks:
            x = x + block.mlp.fc2(block.attn.proj(x))
        return x


class Model(nn.Module):
    """What a task trains."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.vit = Vit(depth)


class Training(RegressorTraining):
    """Brightness from brightness."""

    LOSSES = frozenset(("brightness",))

    def __init__(self, model, dim, steps, *args, **options) -> None:
        super().__init__(model, model.vit, nn.Linear(1, 1), steps, *args, **options)

    def losses(self, batch):
        time.sleep(SLEEP_S)
        found = self.dense(self.encoders[0](batch["img"]))[:, 0]
        return {"brightness": (found - batch["brightness"]).square().mean()}, {}

    def hardness(self, batch, output):
        found = self.dense(self.encoders[0](batch["img"]))[:, 0]
        return (found - batch["brightness"]).abs().detach()

    def errors(self, batch, output):
        error = self.losses(batch)[0]["brightness"].sqrt()
        return {"val/pa_mpvpe_mm": error, "val/error_2d_px": error}


class PlainTask(Task):
    """Without the initialisation of real ViTs."""

    def initialise(self, model) -> None:
        """Leave it as it is."""


TASK = PlainTask("vit", PlainSet, Training)
STAGES = [
    Stage("first", 1, images=80, seed=1, count=24, batch_size=4, warmup=2, lr=0.05),
    Stage("second", 2, images=64, seed=2, count=20, batch_size=4, warmup=2, lr=0.02),
]


def setting(folder: Path, **changes: Any) -> Setting:
    """On one CPU thread, with frequent checkpoints and validations."""
    common: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "precision": "32-true",
        "workers": 0,
        "draw_processes": 1,
        "val_count": 8,
        "val_every": 5,
        "save_every": 2,
    }
    return Setting(folder / "out", folder / "cache", **{**common, **changes})


def train(folder: Path, stages: list[Stage] = STAGES, **changes: Any) -> Model:
    """Train in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shards.SHARD = data.SHARD = SHARD
    with Stop() as stop:
        model = run_stages(Model, 1, stages, setting(folder, **changes), task=TASK, stop=stop)
    assert isinstance(model, Model)
    return model


def train_apart(folder: Path, sleep_s: float, environment: dict[str, str], **changes: Any) -> None:
    """Train in a process that a test kills."""
    global SLEEP_S
    SLEEP_S = sleep_s
    os.environ |= environment
    # Tests may run under nohup or in the background of a shell, where these are ignored, and so inherited.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with reported():
        train(folder, **changes)
