"""Trains a temporal decoder as a recipe says, in two stages, resumes after a stop, and writes its file."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader, IterableDataset

from shared_tmu.errors import ConfigError
from shared_tmu.files import write_text
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.temporal.config import SKELETONS
from shared_tmu.temporal.files import DecoderFacts, decoder_path, mark_weights, save_decoder
from shared_tmu.temporal.model import MotionDecoder
from shared_tmu.temporal.posing import Layer, places_of
from shared_tmu.training.checkpointing import (
    LAST,
    Keeper,
    check_fits,
    read_state,
    recover,
)
from shared_tmu.training.kept_recipe import RECIPE, keep_recipe
from shared_tmu.training.learned.run import Told
from shared_tmu.training.motion.clip_features import ClipFeatures
from shared_tmu.training.motion.denoiser_stage import (
    ConditionedWindows,
    DenoiserTraining,
    ReadClips,
    standardise_conditions,
)
from shared_tmu.training.motion.measuring import measure
from shared_tmu.training.motion.pool import MotionPool
from shared_tmu.training.motion.recipe import MotionRecipe, MotionStage
from shared_tmu.training.motion.vae_stage import (
    MotionWindows,
    VaeTraining,
    scale_latents,
    standardise_motion,
)
from shared_tmu.training.stopping import Stop
from shared_tmu.training.trainer import check_start, quiet_trainer

MEASURED = "measured.json"
_PLACES = ("out", "cache", "export_to", "save_every", "accelerator", "devices", "checkpoint", "body_path")
log = logging.getLogger(__name__)


def run_motion(program: ModelProgram, recipe: MotionRecipe, stop: Stop) -> Path:
    """Train, or continue from the checkpoints in `out`, and write the decoder.

    Returns:
        Its file.

    Raises:
        TMUError: the recipe cannot be run, or files of an earlier run belong to another one.
        Stopped: training was asked to stop; nothing was exported.
    """
    batch = min(recipe.vae.batch_size, recipe.denoiser.batch_size)
    folder = recipe.export_to or recipe.out
    places = {"out": recipe.out, "cache": recipe.cache, "export_to": folder}
    if (devices := check_start(recipe, batch, places)) > 1:
        raise ConfigError(
            f"devices={recipe.devices} gives {devices} devices here, but the temporal decoder is small and "
            "trains on one: use devices=1."
        )
    model: Any = program.load_model(recipe.checkpoint, recipe.body_path).eval()
    layer = getattr(model, program.estimates.body_layer)
    check_motion(layer, recipe)
    clips = read_clips(program, model, recipe, recipe.data_seed, recipe.clips)
    decoder = train_decoder(layer, mark_weights(model), clips, recipe, stop)
    rows: list[dict[str, Any]] = []
    if recipe.val_clips:
        held_out = read_clips(program, model, recipe, recipe.val_seed, recipe.val_clips)
        measured = measure(decoder, layer, held_out, recipe.schedules)
        rows = measured["rows"]
        for line in measured["table"]:
            log.info("%s", line)
    weights = recipe.checkpoint or program.default_checkpoint
    path = folder / decoder_path(weights).name
    facts = {"recipe": _plain(recipe), "held_out": rows}
    save_decoder(path, decoder, DecoderFacts(program.name, mark_weights(model), facts))
    write_text(
        folder / f"{decoder_path(weights).stem}.json",
        json.dumps({**facts, "model": program.name}, indent=1) + "\n",
    )
    log.info("wrote %s", path)
    return path


def check_motion(layer: Layer, recipe: MotionRecipe) -> None:
    """See that the recipe fits a body model, before clips are drawn.

    Raises:
        ConfigError: it does not.
    """
    tree = places_of(layer).tree
    recipe.sources.check(tree)
    _ = recipe.config(tree.width, skeleton_of(layer))


def skeleton_of(layer: Layer) -> str:
    """The name of a body model's skeleton."""
    tree = places_of(layer).tree
    return next(name for name, one in SKELETONS.items() if one is tree)


def read_clips(program: ModelProgram, model: Any, recipe: MotionRecipe, seed: int, count: int) -> ReadClips:
    """Features of the clips of a seed, made where they are missing."""
    layer = getattr(model, program.estimates.body_layer)
    frames = recipe.config(2**16, skeleton_of(layer)).frames
    made = ClipFeatures(program, model, recipe.cache, seed, frames, recipe.schedules, recipe.sources)
    return ReadClips.read(made.make(count))


def train_decoder(layer: Any, mark: str, clips: ReadClips, recipe: MotionRecipe, stop: Stop) -> MotionDecoder:
    """Both stages, one after the other.

    Args:
        layer: the body model.
        mark: of the weights whose features the clips hold.
        clips: for training.
        recipe: what to do.
        stop: tells whether training was asked to stop.
    """
    layer = layer.cpu()
    conditions = clips.conditions(layer)
    config = recipe.config(conditions.shape[-1], skeleton_of(layer))
    keep_recipe(
        recipe.out / RECIPE,
        {**_plain(recipe), "all_sizes": config.as_dict(), "trunk": mark},  # a preset can change
        is_new=not (recipe.out / RECIPE).exists(),
    )
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    decoder = MotionDecoder(config)
    pool = MotionPool.made(layer, recipe.data_seed, config.frames, recipe.sources)
    standardise_motion(decoder.motion, pool, layer, config.tree, config.frames, recipe.seed)
    vae = VaeTraining(decoder, recipe.vae, recipe.divergence)
    windows = MotionWindows(pool, layer, recipe.vae, config.frames, recipe.seed, lambda: int(vae.global_step))
    _fit(vae, windows, recipe.out / "vae", recipe.vae, recipe, stop)
    decoder.eval()
    scale_latents(decoder, pool, layer, recipe.seed)
    standardise_conditions(decoder.condition, decoder.motion, conditions)
    denoiser = DenoiserTraining(decoder, recipe.denoiser, recipe.last_share)
    mean = decoder.condition.mean[: -config.tree.width]
    both = ConditionedWindows(clips, pool, layer, mean, recipe, lambda: int(denoiser.global_step))
    _fit(denoiser, both, recipe.out / "denoiser", recipe.denoiser, recipe, stop)
    return decoder.cpu().eval()


def _fit(
    module: pl.LightningModule,
    data: IterableDataset[Any],
    folder: Path,
    stage: MotionStage,
    recipe: MotionRecipe,
    stop: Stop,
) -> None:
    """Train one stage, or continue it; a finished stage only gets its weights back."""
    folder.mkdir(parents=True, exist_ok=True)
    last = recover(folder)
    if last is not None:
        check_fits(last, read_state(last), module.state_dict())
    callbacks = [Keeper(folder / LAST, recipe.save_every, None, stop), Told()]
    trainer = quiet_trainer(recipe, stage.steps, folder, callbacks, gradient_clip_val=1.0)
    loader = DataLoader(data, batch_size=None)
    trainer.fit(module.train(), loader, ckpt_path=last, weights_only=True)
    trainer.save_checkpoint(folder / LAST)


def _plain(recipe: MotionRecipe) -> dict[str, Any]:
    """The recipe without places, but with what lies there, in plain values."""
    values = {name: value for name, value in asdict(recipe).items() if name not in _PLACES}
    return values | recipe.sources.facts
