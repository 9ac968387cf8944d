"""Trains in stages: each stage is one Lightning fit that starts from the result of the previous stage, and
can be resumed.

A stage writes `last.ckpt` and keeps the previous one as `before.ckpt` while it runs, and writes
`done.safetensors` when it has finished, with `own.safetensors` beside it if those weights are an average;
running the same command again resumes where the last run stopped, for whatever reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn

from shared_tmu.errors import MissingAssetError
from shared_tmu.programs.identity import weights_sha256
from shared_tmu.training.averaging import averaging, check_averaged
from shared_tmu.training.begun import check_begun, check_start, keep_begun
from shared_tmu.training.checkpointing import (
    BEFORE,
    LAST,
    Keeper,
    check_fits,
    newest_checkpoint,
    read_state,
    recover,
)
from shared_tmu.training.curve import Curve
from shared_tmu.training.data_module import Feed
from shared_tmu.training.drawing import ShardDrawer, cores
from shared_tmu.training.ends import DONE, OWN, load_end, read_end, save_end, save_own, take_known
from shared_tmu.training.grow import resize_blocks
from shared_tmu.training.model_sizes import sizes_by_name
from shared_tmu.training.module import RegressorTraining
from shared_tmu.training.recipes import check_stages
from shared_tmu.training.settings import Setting, Stage
from shared_tmu.training.step_seeds import StepSeeds
from shared_tmu.training.stopping import Stop
from shared_tmu.training.tasks import HAND_TASK, Task
from shared_tmu.training.time_limit import Clock, seconds_for
from shared_tmu.training.trainer import quiet_trainer

log = logging.getLogger(__name__)


def run_stages(
    build: Callable[[int], nn.Module],
    dim: int,
    stages: list[Stage],
    setting: Setting,
    num_prefix_tokens: int = 0,
    start: nn.Module | None = None,
    task: Task = HAND_TASK,
    stop: Stop | None = None,
) -> nn.Module:
    """Run all stages that are not finished.

    Args:
        build: makes an untrained model with the given number of blocks.
        dim: channels of its tokens.
        stages: the stages, in order.
        setting: settings that they share.
        num_prefix_tokens: number of task tokens before the patch tokens.
        start: a trained model of the same sizes to start from; if it is deeper than the first stage, the
            blocks that it had before it grew are used; None for random weights.
        task: the training task.
        stop: tells whether training was asked to stop; None ignores signals.

    Returns:
        The model after the last stage, on the CPU.

    Raises:
        ConfigError: there are no stages, or one has fewer blocks than the one before, or was begun with other
            settings or weights.
        CheckpointError: files of an earlier run are damaged, or belong to a model of other sizes.
        TrainingError: a loss is NaN or infinite, or a checkpoint cannot be written.
        Stopped: training was asked to stop; the newest checkpoint holds its result.
        MissingDependencyError: pictures are missing, and embreex, which draws them, is not installed.
    """
    check_stages(stages, setting)
    check_begun(stages, setting, sizes_by_name(build(1), task.part))
    setting.out.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(setting.seed, workers=True, verbose=False)
    stop = stop or Stop()
    model = start
    if model is None:
        model = build(stages[0].depth)
        task.initialise(model)
    dense: dict[str, torch.Tensor] = {}
    with closing(_drawer(stages, setting, task)) as drawer:
        for i, stage in enumerate(stages):
            pl.seed_everything(setting.seed + i, workers=True, verbose=False)
            model = _resized(model, build(stage.depth), stage.depth, task)
            training = _training(stage, task, model, dim, num_prefix_tokens, setting.seed + i)
            take_known(training.dense, dense)
            origin = None if i == 0 and start is None else weights_sha256(model)
            _finish(stages, i, setting, task, training, drawer, origin, stop)
            dense = training.dense.state_dict()
    return model.cpu()


def _finish(
    stages: list[Stage],
    i: int,
    setting: Setting,
    task: Task,
    training: RegressorTraining,
    drawer: ShardDrawer,
    origin: str | None,
    stop: Stop,
) -> None:
    """Train a stage to its end, or load what it has left, in `training`; `origin` is the digest of the
    weights from which it starts.
    """
    stage, done = stages[i], setting.out / stages[i].name / DONE
    check_start(done.parent, origin)
    if done.exists():
        log.info("stage %s is finished", stage.name)
        load_end(done, training.model, training.dense)
    else:
        clock = Clock(stage.steps, _limit_s(stages, i, setting))
        feed = _feed(stage, i, setting, task, drawer, clock)
        done.parent.mkdir(exist_ok=True)
        keep_begun(stages, i, setting, sizes_by_name(training.model, task.part), origin)
        _fit(stage, setting, training, feed, clock, stop)
    if stage is not stages[-1] and (before := done.with_name(OWN)).exists():
        load_end(before, training.model, training.dense)


def _training(
    stage: Stage, task: Task, model: nn.Module, dim: int, num_prefix_tokens: int, seed: int
) -> RegressorTraining:
    return task.training(
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
        full_share=stage.full_share,
        seed=seed,
        silhouette_block=stage.silhouette_block,
    )


def _keep_end(
    trainer: pl.Trainer, clock: Clock, folder: Path, training: RegressorTraining, own: dict[str, torch.Tensor]
) -> None:
    """Write the result of a stage, in only one of several processes."""
    training.cpu()
    if trainer.is_global_zero:
        save_own(folder, own)
        facts = {"steps": str(trainer.global_step), "seconds": f"{clock.seconds:.1f}"}
        save_end(folder, training.model, training.dense, facts)
        (folder / BEFORE).unlink(missing_ok=True)
    trainer.strategy.barrier()


def _drawer(stages: list[Stage], setting: Setting, task: Task) -> ShardDrawer:
    """The drawer for the validation and for all stages that are not finished."""
    left = [stage.sets for stage in stages if not (setting.out / stage.name / DONE).exists()]
    sets = [[setting.val_scenes], *left] if left else []
    return ShardDrawer(setting.cache, task.pictures.kind, sets, setting.draw_processes or cores())


def _limit_s(stages: list[Stage], i: int, setting: Setting) -> float | None:
    """Seconds that a stage may take, of the time that the stages before it have left."""
    if setting.max_minutes is None:
        return None
    used = sum(float(read_end(setting.out / stage.name).get("seconds", 0)) for stage in stages[:i])
    return seconds_for(stages[i:], 60 * setting.max_minutes - used)


def _feed(stage: Stage, i: int, setting: Setting, task: Task, drawer: ShardDrawer, clock: Clock) -> Feed:
    return Feed(
        task.pictures,
        drawer,
        train=stage.sets,
        val=setting.val_scenes,
        steps=stage.steps,
        batch=stage.batch_size,
        seed=setting.seed + i,
        workers=setting.workers,
        draw_first=setting.draw_first,
        is_late=clock.is_past,
        photos=setting.photos,
        photos_share=setting.photos_share,
        hard_share=stage.hard_share,
    )


def _resized(source: nn.Module, model: nn.Module, depth: int, task: Task) -> nn.Module:
    """A model with `depth` blocks and the weights of one that may have fewer or more blocks."""
    vit = task.vit(source)
    vit.blocks = resize_blocks(vit.blocks, depth)
    model.load_state_dict(source.state_dict())
    return model


def load_newest(
    build: Callable[[int], nn.Module],
    dim: int,
    stages: list[Stage],
    setting: Setting,
    task: Task = HAND_TASK,
) -> tuple[nn.Module, str]:
    """The model of the newest checkpoint of any stage, and that stage's name.

    Args:
        build: makes an untrained model with the given number of blocks.
        dim: channels of its tokens.
        stages: the stages, in order.
        setting: names the folder to which they wrote.
        task: the training task.

    Raises:
        ConfigError: a stage was begun with other settings.
        MissingAssetError: no stage has written a checkpoint yet.
    """
    check_begun(stages, setting, sizes_by_name(build(1), task.part))
    for stage in reversed(stages):
        folder = setting.out / stage.name
        model = build(stage.depth)
        training = _training(stage, task, model, dim, 0, setting.seed)
        if (folder / DONE).exists():
            load_end(folder / DONE, model, training.dense)
        elif (newest := newest_checkpoint(folder)) is not None:
            state = read_state(newest)
            check_fits(newest, state, training.state_dict())
            training.load_state_dict(state)
        else:
            continue
        return model, stage.name
    raise MissingAssetError(f"no stage has written a checkpoint in {setting.out} yet: run training first.")


def _fit(
    stage: Stage, setting: Setting, training: RegressorTraining, feed: Feed, clock: Clock, stop: Stop
) -> None:
    folder = setting.out / stage.name
    # functions of their own, because the average of the weights copies the module with all that it holds
    training.time_passed, training.name_of = lambda: clock.passed, lambda number: feed.name_of(number)
    if stage.hard_share:
        training.note = lambda step, numbers, losses: feed.note(step, numbers, losses)
    last = recover(folder)
    if last is not None:
        check_fits(last, read_state(last), training.state_dict())
        check_averaged(last, setting.ema)
    if setting.compile:
        for block in training.encoders[0].blocks:
            block.compile()  # one by one: all blocks share one program, which is compiled once
    val_every = min(setting.val_every, stage.steps)
    curve = Curve(setting.out / "curve.csv", stage.name, stage.batch_size, val_every, clock)
    keeper = Keeper(folder / LAST, setting.save_every, val_every, stop)
    average = averaging(setting.ema)
    trainer = quiet_trainer(
        setting,
        stage.steps,
        folder,
        [StepSeeds(training.seed), clock, curve, *average, keeper],
        val_check_interval=val_every,
        check_val_every_n_epoch=None,
        gradient_clip_val=1.0,
        use_distributed_sampler=False,
    )
    trainer.fit(training, datamodule=feed, ckpt_path=last, weights_only=True)
    for one in average:
        one.on_train_end(trainer, training)
    if trainer.strategy.broadcast(not curve.has_row(trainer.global_step)):
        trainer.validate(training, datamodule=feed, verbose=False)  # it was stopped after its last step
    _keep_end(trainer, clock, folder, training, average[0].own if average else {})
