"""Trains existing weights of a hand model as a published recipe says, and resumes after a stop."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
from torch import nn

from shared_tmu.errors import ConfigError
from shared_tmu.programs.identity import digest_of, sizes_of, weights_sha256
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training.checkpointing import LAST, Keeper, check_fits, read_state, read_step, recover
from shared_tmu.training.data import SynthHandSet
from shared_tmu.training.data_module import Order, OrderLoader
from shared_tmu.training.kept_recipe import RECIPE, keep_recipe
from shared_tmu.training.published import HandModule, SquareHands, with_discriminator
from shared_tmu.training.recipes import PublishedRecipe
from shared_tmu.training.step_seeds import StepSeeds
from shared_tmu.training.stopping import Stop, ignore_signals
from shared_tmu.training.trainer import check_start, quiet_trainer

_SAID = ("data_seed", "count", "batch_size", "lr", "weight_decay", "precision", "seed")
log = logging.getLogger(__name__)


def run_published(program: ModelProgram, recipe: PublishedRecipe, stop: Stop) -> None:
    """Continue training with the published losses; resumes from `last.ckpt` in `out` if there is one.

    A run in `out` goes on with the weights and settings with which it was begun; only `steps` may be larger.

    Raises:
        TMUError: see `train`.
    """
    out, weights = recipe.out, recipe.weights
    devices = check_start(recipe, recipe.batch_size, {"out": out, "cache": recipe.cache})
    if recipe.batch_size % devices:
        raise ConfigError(
            f"batch_size={recipe.batch_size} was asked for, but {devices} devices share every batch: use a "
            f"multiple of {devices}."
        )
    last = recover(out)
    model: Any = program.load_model(recipe.checkpoint, recipe.mano_path)
    keep_recipe(out / RECIPE, facts_of(recipe, model), is_new=last is None)
    pl.seed_everything(recipe.seed, workers=True, verbose=False)
    if weights.adversarial > 0:
        model = with_discriminator(model)
    optimizers = 2 if weights.adversarial > 0 else 1  # Lightning counts the steps of both
    if last is not None:
        check_fits(last, read_state(last), model.state_dict())
        _check_steps(recipe, read_step(last) // optimizers)
    keeper = Keeper(out / LAST, recipe.save_every * optimizers, None, stop)
    more: dict[str, Any] = {"enable_model_summary": True, "enable_progress_bar": True}
    more["use_distributed_sampler"] = False  # the order gives each device its part
    if devices > 1 and weights.adversarial > 0:  # each turn leaves the other's weights without gradients
        more["strategy"] = "ddp_find_unused_parameters_true"
    callbacks = [StepSeeds(recipe.seed), keeper]
    trainer = quiet_trainer(recipe, recipe.steps * optimizers, out, callbacks, **more)
    module = HandModule(model.train(), weights, recipe.lr, recipe.weight_decay)
    module.name_of = lambda number: f"scene {number} of seed {recipe.data_seed}"
    feed = PublishedFeed(recipe, optimizers)
    trainer.fit(module, datamodule=feed, ckpt_path=last, weights_only=True)
    if trainer.is_global_zero:
        program.save_model(model, out / f"{program.published}.safetensors")
        log.info("wrote %s", out / f"{program.published}.safetensors")


class PublishedFeed(pl.LightningDataModule):
    """Training pictures; those of a step, and their changes, depend on seed and step only.

    Args:
        recipe: the settings.
        optimizers: number of optimisers, whose steps Lightning adds up.
    """

    def __init__(self, recipe: PublishedRecipe, optimizers: int) -> None:
        super().__init__()
        self.recipe, self.optimizers = recipe, optimizers

    def train_dataloader(self) -> OrderLoader:
        """Batches from the next step on."""
        recipe, trainer = self.recipe, self.trainer
        assert trainer is not None
        hands = SynthHandSet(recipe.cache, recipe.data_seed, recipe.count, Difficulty(), augment=True)
        order = Order(
            recipe.seed,
            recipe.steps,
            recipe.batch_size,
            [recipe.count],
            lambda: [recipe.count],
            lambda: trainer.global_step // self.optimizers,
            trainer.global_rank,
            trainer.world_size,
        )
        return OrderLoader(
            SquareHands(hands), order, num_workers=recipe.workers, worker_init_fn=ignore_signals
        )


def facts_of(recipe: PublishedRecipe, model: nn.Module) -> dict[str, Any]:
    """What the result depends on, besides the number of steps, as plain values.

    Args:
        recipe: the settings.
        model: the weights from which training starts, body model included.
    """
    start = digest_of({"weights": weights_sha256(model), "sizes": sizes_of(model)})
    said = {name: getattr(recipe, name) for name in _SAID}
    return {**said, "losses": asdict(recipe.weights), "start": start}


def _check_steps(recipe: PublishedRecipe, done: int) -> None:
    """Refuse fewer steps than a run has already done, because nothing could take them back."""
    if recipe.steps < done:
        raise ConfigError(
            f"steps={recipe.steps} was asked for, but the run in {recipe.out} has done {done}: use {done} or "
            "more, or choose another folder with out=."
        )
    log.info("the run in %s has done %d of %d steps", recipe.out, done, recipe.steps)
