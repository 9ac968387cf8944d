"""Trains what a method learns, as a recipe says, resumes after a stop, and writes the learned file."""

from __future__ import annotations

import json
import logging
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch import nn

from shared_tmu.programs.identity import weights_sha256
from shared_tmu.programs.learned_files import learned_name
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.training.checkpointing import (
    LAST,
    Keeper,
    check_fits,
    read_state,
    read_step,
    recover,
)
from shared_tmu.training.data_module import Feed
from shared_tmu.training.drawing import ShardDrawer, cores
from shared_tmu.training.kept_recipe import RECIPE, keep_recipe
from shared_tmu.training.learned.module import LearnedTraining
from shared_tmu.training.learned.recipe import LearnedRecipe
from shared_tmu.training.stopping import Stop
from shared_tmu.training.tasks import Task, task_of
from shared_tmu.training.trainer import check_start, quiet_trainer

log = logging.getLogger(__name__)
_SAID = (
    "method", "r", "data_seed", "count", "images", "batch_size", "warmup", "objective", "lr", "flops_weight",
    "seed", "precision",
)  # fmt: skip


def run_learned(program: ModelProgram, recipe: LearnedRecipe, stop: Stop) -> Path:
    """Train, or continue from `last.ckpt` in `out`, and write the learned file.

    Returns:
        The file.

    Raises:
        TMUError: the recipe cannot be run, or files of an earlier run belong to another one.
        Stopped: training was asked to stop; nothing was exported.
    """
    folder = recipe.export_to or recipe.out
    places = {"out": recipe.out, "cache": recipe.cache, "export_to": folder}
    check_start(recipe, recipe.batch_size, places)
    model = program.load_model(recipe.checkpoint, recipe.body_path)
    training, error_mm = fit(program, model, recipe, task_of(program.estimates), stop)
    weights = recipe.checkpoint or program.default_checkpoint
    path = folder / learned_name(weights, recipe.method)
    export(training, path, program.name, recipe, error_mm)
    log.info(
        "wrote %s (%s: %.2f mm on %d pictures)", path, training.handle.schedule, error_mm, recipe.val_count
    )
    return path


def fit(
    program: ModelProgram, model: nn.Module, recipe: LearnedRecipe, task: Task, stop: Stop
) -> tuple[LearnedTraining, float]:
    """Train, and measure the aligned vertex error in mm as inference will have it."""
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    start = weights_sha256(model)  # head and body model included: the losses depend on them
    training = LearnedTraining(program, model, recipe.method, recipe.schedule, recipe.options)
    recipe.out.mkdir(parents=True, exist_ok=True)
    last = recover(recipe.out)
    keep_recipe(recipe.out / RECIPE, {**facts_of(training, recipe), "start": start}, is_new=last is None)
    if last is not None:
        check_fits(last, read_state(last), training.state_dict())
        log.info("the run in %s has done %d of %d steps", recipe.out, read_step(last), recipe.options.steps)
    train, val = recipe.scenes
    processes = recipe.draw_processes or cores()
    with closing(ShardDrawer(recipe.cache, task.pictures.kind, [[val], [train]], processes)) as drawer:
        feed = Feed(
            task.pictures, drawer, [train], val, recipe.options.steps, recipe.batch_size, recipe.seed,
            recipe.workers, None, lambda share: False,
        )  # fmt: skip
        training.name_of = feed.name_of
        trainer = make_trainer(recipe, stop)
        trainer.fit(training, datamodule=feed, ckpt_path=last, weights_only=True)
        round_to_half(training.learned)
        (found,) = trainer.validate(training, datamodule=feed, verbose=False)
    return training, float(found["val/pa_mpvpe_mm"])


def make_trainer(recipe: LearnedRecipe, stop: Stop) -> pl.Trainer:
    """A trainer that keeps checkpoints, and validates only when asked to."""
    return quiet_trainer(
        recipe,
        recipe.options.steps,
        recipe.out,
        [Keeper(recipe.out / LAST, recipe.save_every, None, stop), Told()],
        limit_val_batches=1.0,
        check_val_every_n_epoch=10**9,
        gradient_clip_val=1.0,
        use_distributed_sampler=False,
    )


class Told(pl.Callback):
    """Tells the losses now and then."""

    EVERY = 10

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        """Tell them."""
        if trainer.global_step % self.EVERY == 0:
            values = {name.removeprefix("train/"): float(v) for name, v in trainer.callback_metrics.items()}
            told = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
            log.info("step %d of %s: %s", trainer.global_step, trainer.max_steps, told)


def round_to_half(module: nn.Module) -> None:
    """Round large matrices to what float16 can hold, in which files keep them."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.data.copy_(parameter.data.half())


def export(training: LearnedTraining, path: Path, model: str, recipe: LearnedRecipe, error_mm: float) -> None:
    """Write the learned file: tensors, and to what they belong."""
    schedule = training.apply_schedule()
    is_learned = training.learned.learned_schedule(training.schedule, training.shape) is not None
    told = {**facts_of(training, recipe), "pa_mpvpe_mm": round(error_mm, 3), "pictures": recipe.val_count}
    facts = {"model": model, "recipe": json.dumps(told)}
    training.handle.save_learned(path, **facts, **({"schedule": str(schedule)} if is_learned else {}))


def facts_of(training: LearnedTraining, recipe: LearnedRecipe) -> dict[str, Any]:
    """The settings on which the result depends, as plain values; the method's own where it chose."""
    chosen = {"lr": training.lr, "flops_weight": training.flops_weight}
    said = {name: chosen.get(name, getattr(recipe, name)) for name in _SAID}
    return {**said, "difficulty": asdict(recipe.difficulty)}
