"""The program of every folder's `train.py`: stages on renders, or the published recipe for hand models."""

from __future__ import annotations

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

from shared_tmu.errors import ConfigError
from shared_tmu.programs.estimates import HAND
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.training.building import section, sizes_of, untrained
from shared_tmu.training.curve import read_curve
from shared_tmu.training.data import HEIGHT, WIDTH
from shared_tmu.training.ends import DONE, read_end
from shared_tmu.training.learned.recipe import LearnedRecipe
from shared_tmu.training.learned.run import run_learned
from shared_tmu.training.motion.recipe import MotionRecipe
from shared_tmu.training.motion.run import run_motion
from shared_tmu.training.parents import start_model
from shared_tmu.training.photos import PhotoSet, keep_hands, photo_file, with_photos
from shared_tmu.training.published_run import run_published
from shared_tmu.training.recipes import (
    PublishedRecipe,
    StagesRecipe,
    check_overrides,
    check_stages,
    read_recipe,
)
from shared_tmu.training.record import write_record
from shared_tmu.training.silhouette import export_probe
from shared_tmu.training.stages import load_newest, run_stages
from shared_tmu.training.stopping import Stop
from shared_tmu.training.tasks import task_of
from shared_tmu.training.trainer import check_start

PATCH = 16  # input size in pixels of every ViT that learns from our pictures
MOST_WEIGHTS = 2e9
_PLACES = (
    "out=", "cache=", "photos=", "export_to=", "export_only=", "setting.draw_processes=", "setting.workers=",
)  # fmt: skip
_PARENTS = ("start_from", "backbone_from")
log = logging.getLogger(__name__)


def train(program: ModelProgram, config: DictConfig) -> None:
    """Train as a configuration describes, and export; see the folder's `configs/` for the fields.

    Raises:
        TMUError: the configuration cannot be run, weights do not fit, or pictures cannot be drawn.
        Stopped: training was asked to stop; nothing was exported.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if HydraConfig.initialized():
        check_overrides(HydraConfig.get().overrides.task)
    if program.published is None and config.get("recipe") == "published":
        raise ConfigError(f"{program.name} has no published recipe: use recipe=stages.")
    recipe = read_recipe(config)
    with Stop() as stop:
        if isinstance(recipe, PublishedRecipe):
            run_published(program, recipe, stop)
        elif isinstance(recipe, LearnedRecipe):
            run_learned(program, recipe, stop)
        elif isinstance(recipe, MotionRecipe):
            run_motion(program, recipe, stop)
        else:
            run_recipe(program, recipe, stop)


def run_recipe(program: ModelProgram, recipe: StagesRecipe, stop: Stop) -> None:
    """Train in stages and export."""
    setting, stages, photos = recipe.setting, recipe.run, recipe.setting.photos
    check_recipe(program, recipe)
    task = with_photos(task_of(program.estimates)) if photos else task_of(program.estimates)
    dim = getattr(sizes_of(program, recipe.model, 1), task.part).embed_dim

    def make(depth: int) -> nn.Module:
        return untrained(program, recipe.model, depth)

    if recipe.export_only:
        model, stage = load_newest(make, dim, stages, setting, task)
        log.info("exporting stage %s", stage)
    else:
        prefix, start = task.vit(make(1)).num_prefix_tokens, _start(program, recipe)
        model = run_stages(make, dim, stages, setting, prefix, start, task, stop)
    if getattr(rank_zero_only, "rank", 0) != 0:
        return  # with several devices, only one process writes
    folder = recipe.export_to
    program.save_model(model, folder / f"{program.default_checkpoint.stem}.safetensors")
    facts = PhotoSet(keep_hands(photos, setting.cache)).facts if photos else None
    command = _command(program, recipe)
    parents = recipe.start_from, recipe.backbone_from
    write_record(
        folder, program.default_checkpoint.stem, command, stages, setting, parents[0], facts, parents[1]
    )
    written = folder / f"{program.default_checkpoint.stem}.safetensors"
    log.info("wrote %s", written)
    block, done = stages[-1].silhouette_block, setting.out / stages[-1].name / DONE
    if block is not None and done.exists():
        val = setting.val_scenes
        pictures = task.pictures(setting.cache, val.seed, val.count, val.difficulty, augment=False)
        log.info("wrote %s", export_probe(program, written, done, block, pictures))


def check_recipe(program: ModelProgram, recipe: StagesRecipe) -> None:
    """Check for settings that would make training fail, or learn something other than requested.

    Raises:
        TMUError: there is such a setting; one sentence about the first.
    """
    setting, stages = recipe.setting, recipe.run
    if setting.photos and program.estimates is not HAND:
        raise ConfigError(
            f"photos={setting.photos} was given for {program.name}, but only hand models can learn from "
            "photographs: leave it out."
        )
    task = with_photos(task_of(program.estimates)) if setting.photos else task_of(program.estimates)
    check_stages(stages, setting)
    for stage in stages:
        try:
            task.training.check_weights(stage.weights)
        except ConfigError as error:
            raise ConfigError(f"stages.{stage.name}: {error}") from error
    _check_sizes(program, recipe)
    batch = min(stage.batch_size for stage in stages)
    check_start(setting, batch, {"out": setting.out, "cache": setting.cache, "export_to": recipe.export_to})
    read_curve(setting.out / "curve.csv")
    for stage in stages:
        read_end(setting.out / stage.name)
    if setting.photos:
        photo_file(setting.photos, setting.cache)


def _check_sizes(program: ModelProgram, recipe: StagesRecipe) -> None:
    """Check that a model of these sizes can be built and can learn from our pictures."""
    part = program.estimates.backbone
    if "depth" in section(recipe.model, part):
        raise ConfigError(
            f"model.{part}.depth is not a setting; each stage has its own depth, stages.NAME.depth."
        )
    for stage in recipe.run:
        vit = getattr(sizes_of(program, recipe.model, stage.depth), part)
        size, grid = (HEIGHT, WIDTH), (HEIGHT // PATCH, WIDTH // PATCH)
        if vit.img_size != size or vit.grid != grid:
            raise ConfigError(
                f"a {part} for {vit.img_size} px with {vit.grid} patches was asked for, but training "
                f"pictures have {size} px, and patches of {PATCH} px divide them into {grid}."
            )
        patches = vit.grid[0] * vit.grid[1]
        if stage.keep_patches is not None and stage.keep_patches > patches:
            raise ConfigError(
                f"stages.{stage.name}.keep_patches={stage.keep_patches} was asked for, but a picture has "
                f"only {patches} patches; null keeps all."
            )
        weights = stage.depth * (4 + 2 * vit.mlp_ratio) * vit.embed_dim**2
        if not weights <= MOST_WEIGHTS:
            raise ConfigError(
                f"a {part} of {stage.depth} blocks, {vit.embed_dim} channels and mlp_ratio {vit.mlp_ratio:g} "
                f"has {weights:.1e} weights, more than the limit of {MOST_WEIGHTS:.0e}: choose smaller sizes."
            )


def _start(program: ModelProgram, recipe: StagesRecipe) -> nn.Module | None:
    """The weights from which the first stage starts; None for random weights."""
    depth = recipe.run[0].depth
    return start_model(
        task_of(program.estimates),
        lambda: untrained(program, recipe.model, depth),
        program.load_model,
        recipe.start_from,
        recipe.backbone_from,
    )


def portable(change: str) -> str:
    """A setting as typed, but with only the name of a file that an absolute path names."""
    key, _, value = change.partition("=")
    path = Path(value.strip("'\""))
    return f"{key}={path.name}" if key in _PARENTS and path.is_absolute() else change


def _command(program: ModelProgram, recipe: StagesRecipe) -> str:
    """The command that repeats the training, without the locations of files."""
    words = [f"cd {program.folder.name} && python train.py"]
    if HydraConfig.initialized():
        typed = HydraConfig.get()
        if typed.job.config_name != "train":
            words.append(f"--config-name {typed.job.config_name}")
        words += [portable(change) for change in typed.overrides.task if not change.startswith(_PLACES)]
        words += ["photos=DIR"] if recipe.setting.photos else []
    elif recipe.start_from:
        words.append(f"--config-name more start_from={recipe.start_from}")
    elif recipe.backbone_from:
        words.append(f"backbone_from={recipe.backbone_from}")
    return " ".join(words)
