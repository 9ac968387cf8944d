"""Train in stages: each stage is one Lightning fit that starts from the stage before it, and can be resumed.

A stage leaves `last.ckpt` while it runs and `done.safetensors` when it is over; running the same command
again goes on where the last one stopped.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from shared_tmu.errors import ConfigError, MissingAssetError
from shared_tmu.files import replacing, write_text
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training.grow import resize_blocks
from shared_tmu.training.module import RegressorTraining
from shared_tmu.training.tasks import HAND, Task

DONE = "done.safetensors"
SAVE_EVERY = 250  # steps; a body model makes a checkpoint of 80 MB
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: also the folder it writes to.
        depth: blocks of the backbone; more than before grows it.
        images: pictures seen, repeats counted.
        seed, count: which scenes, and how many different ones.
        difficulty: how wild they are.
        also: more sets of scenes to mix in, each with `seed`, `count` and perhaps `difficulty`.
        lr, warmup: as usual.
        batch_size: over all devices.
        matrix_factor, embedding_factor: how much larger the learning rates of the blocks' matrices (stepped
            by Muon) and of the patch and position embeddings are.
        weights: factors on losses.
        anneal: over which share of the steps the learning rate falls at last; 0 keeps it up for a stage that
            another one follows.
        keep_patches: how many patches of a picture training looks at, those that show its subject first; None
            for all. About half of them make a step nearly twice as fast; the last stage should see all.
    """

    name: str
    depth: int
    images: int
    seed: int
    count: int
    difficulty: Difficulty = field(default_factory=Difficulty)
    lr: float = 2e-3
    batch_size: int = 64
    warmup: int = 200
    matrix_factor: float = 1.0
    embedding_factor: float = 1.0
    weights: dict[str, float] = field(default_factory=dict)
    anneal: float = 1.0
    keep_patches: int | None = None
    also: list[dict[str, Any]] = field(default_factory=list)

    @property
    def sets(self) -> list[tuple[int, int, Difficulty]]:
        """Seed, count and difficulty of each set of scenes."""
        more = [(one["seed"], one["count"], Difficulty(**one.get("difficulty", {}))) for one in self.also]
        return [(self.seed, self.count, self.difficulty), *more]

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return max(self.images // self.batch_size, 1)


@dataclass(frozen=True)
class Setting:
    """What all stages share.

    Attributes:
        out: folder of checkpoints and curve.
        cache: folder of the training pictures.
        accelerator, devices, precision: as Lightning's Trainer takes them.
        workers: processes that read pictures.
        draw_processes: processes that draw missing ones.
        val_seed, val_count: which held-out scenes, and how many.
        val_every: optimiser steps between two validations.
        seed: of order, augmentation and dropped paths.
        compile: whether the backbone runs through `torch.compile`.
    """

    out: Path
    cache: Path
    accelerator: str = "auto"
    devices: int | str = "auto"
    precision: str = "bf16-mixed"
    workers: int = 1
    draw_processes: int = 1
    val_seed: int = 900_000
    val_count: int = 500
    val_every: int = 200
    seed: int = 0
    compile: bool = False


class Curve(Callback):
    """Append every validation to a curve and log it.

    Args:
        path: the CSV file.
        stage: the stage that is run.
    """

    def __init__(self, path: Path, stage: Stage) -> None:
        self.path, self.stage, self.start = path, stage, time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One row per validation."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        row: dict[str, object] = {"stage": self.stage.name, "step": trainer.global_step}
        row["images"] = trainer.global_step * self.stage.batch_size
        row["seconds"] = round(time.monotonic() - self.start, 1)
        metrics = trainer.callback_metrics
        row.update({k: round(float(v), 4) for k, v in sorted(metrics.items()) if k.startswith("val/")})
        append_row(self.path, row)
        shown = [k for k in row if k in ("stage", "step", "seconds") or "_mm" in k or "px" in k]
        log.info("%s", {k: row[k] for k in shown})


def append_row(path: Path, row: Mapping[str, object]) -> None:
    """Add a row to a CSV file; a column that is new, or that the row lacks, is empty where it is missing."""
    rows: list[Mapping[str, object]] = []
    if path.exists():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    fields = list(dict.fromkeys(key for one in (*rows, row) for key in one))
    text = io.StringIO()
    writer = csv.DictWriter(text, fields)
    writer.writeheader()
    writer.writerows([*rows, row])
    write_text(path, text.getvalue())


def _weights(model: nn.Module, training: RegressorTraining) -> dict[str, torch.Tensor]:
    return {f"model.{k}": v.contiguous() for k, v in model.state_dict().items()} | {
        f"dense.{k}": v.contiguous() for k, v in training.dense.state_dict().items()
    }


def _check(stages: list[Stage]) -> None:
    """Find out before hours of training what would end them."""
    if not stages:
        raise ConfigError("training was asked for with no stages: name at least one.")
    for before, after in pairwise(stages):
        if after.depth < before.depth:
            raise ConfigError(
                f"stage {after.name!r} has {after.depth} blocks after {before.depth} in {before.name!r}: "
                f"a trunk only grows, so give it {before.depth} or more."
            )


def run_stages(
    build: Callable[[int], nn.Module],
    dim: int,
    stages: list[Stage],
    setting: Setting,
    num_prefix_tokens: int = 0,
    start: nn.Module | None = None,
    task: Task = HAND,
) -> nn.Module:
    """Run all stages that are not done.

    Args:
        build: makes an untrained model with the given number of blocks.
        dim: channels of its tokens.
        stages: in order.
        setting: what they share.
        num_prefix_tokens: task tokens in front of the patch tokens.
        start: a trained model of the same sizes to go on from; if deeper than the first stage, it keeps the
            blocks that it had before it grew; None starts from nothing.
        task: what is trained.

    Returns:
        The model after the last stage, on the CPU.

    Raises:
        ConfigError: there are no stages, or one has fewer blocks than the one before.
        MissingDependencyError: pictures are missing, and embreex, which draws them, is not installed.
    """
    _check(stages)
    setting.out.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(setting.seed, workers=True, verbose=False)
    model = start
    if model is None:
        model = build(stages[0].depth)
        task.initialise(model)
    dense: dict[str, torch.Tensor] | None = None
    for i, stage in enumerate(stages):
        pl.seed_everything(setting.seed + i, workers=True, verbose=False)
        model = _resized(model, build(stage.depth), stage.depth, task)
        training = task.training(
            model,
            dim,
            stage.steps,
            stage.lr,
            stage.warmup,
            weights=stage.weights,
            num_prefix_tokens=num_prefix_tokens,
            matrix_factor=stage.matrix_factor,
            embedding_factor=stage.embedding_factor,
            anneal=stage.anneal,
            keep_patches=stage.keep_patches,
        )
        if dense is not None:
            training.dense.load_state_dict(dense)
        done = setting.out / stage.name / DONE
        if done.exists():
            log.info("stage %s is done", stage.name)
            _load(done, model, training)
        else:
            trainer = _fit(stage, setting, training, task)
            if trainer.is_global_zero:
                with replacing(done) as beside:
                    save_file(_weights(model.cpu(), training.cpu()), beside)
            trainer.strategy.barrier()
        dense = training.dense.state_dict()
    return model.cpu()


def _resized(source: nn.Module, model: nn.Module, depth: int, task: Task) -> nn.Module:
    """`model`, made with `depth` blocks, given the weights of one that may have fewer or more."""
    vit = task.vit(source)
    vit.blocks = resize_blocks(vit.blocks, depth)
    model.load_state_dict(source.state_dict())
    return model


def load_newest(
    build: Callable[[int], nn.Module],
    dim: int,
    stages: list[Stage],
    setting: Setting,
    task: Task = HAND,
) -> tuple[nn.Module, str]:
    """The model as the newest checkpoint of any stage has it, and that stage's name.

    Args:
        build: makes an untrained model with the given number of blocks.
        dim: channels of its tokens.
        stages: in order.
        setting: says where they wrote.
        task: what is trained.

    Raises:
        MissingAssetError: no stage has left a checkpoint yet.
    """
    for stage in reversed(stages):
        folder = setting.out / stage.name
        model = build(stage.depth)
        training = task.training(model, dim, stage.steps)
        if (folder / DONE).exists():
            _load(folder / DONE, model, training)
        elif (folder / "last.ckpt").exists():
            training.load_state_dict(torch.load(folder / "last.ckpt", weights_only=True)["state_dict"])
        else:
            continue
        return model, stage.name
    raise MissingAssetError(f"no stage has left a checkpoint in {setting.out} yet: run training first.")


def _load(path: Path, model: nn.Module, training: RegressorTraining) -> None:
    weights = load_file(path)
    for prefix, module in (("model.", model), ("dense.", training.dense)):
        module.load_state_dict({k[len(prefix) :]: v for k, v in weights.items() if k.startswith(prefix)})


def _fit(stage: Stage, setting: Setting, training: RegressorTraining, task: Task) -> pl.Trainer:
    folder = setting.out / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "stage.json", json.dumps(asdict(stage), indent=1) + "\n")
    cache, processes = setting.cache, setting.draw_processes
    sets = [task.pictures(cache, *scenes, True, processes) for scenes in stage.sets]
    train: Dataset[dict[str, torch.Tensor]] = ConcatDataset(sets) if len(sets) > 1 else sets[0]
    val = task.pictures(cache, setting.val_seed, setting.val_count, Difficulty(), False, processes)
    keep = ModelCheckpoint(
        folder, save_last=True, save_top_k=0, every_n_train_steps=SAVE_EVERY, save_on_train_epoch_end=False
    )
    if setting.compile:
        training.encoders = (torch.compile(training.encoders[0]),)
    trainer = pl.Trainer(
        accelerator=setting.accelerator,
        devices=setting.devices,
        precision=setting.precision,  # type: ignore[arg-type]
        max_steps=stage.steps,
        val_check_interval=min(setting.val_every, stage.steps),
        check_val_every_n_epoch=None,
        gradient_clip_val=1.0,
        num_sanity_val_steps=0,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        default_root_dir=folder,
        callbacks=[keep, Curve(setting.out / "curve.csv", stage)],
    )
    loader = DataLoader(
        train,
        max(stage.batch_size // trainer.world_size, 1),
        shuffle=True,
        drop_last=True,
        num_workers=setting.workers,
        persistent_workers=setting.workers > 0,
    )
    last = folder / "last.ckpt"
    resume = str(last) if last.exists() else None
    trainer.fit(training, loader, DataLoader(val, 50), ckpt_path=resume, weights_only=True)
    return trainer
