"""The LightningModule that trains what a method learns: one for all methods, models and objectives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from shared_tmu.errors import ConfigError
from shared_tmu.flops import TrunkShape
from shared_tmu.method_parts.relaxed import Learned, LearnedLayers, flops_share
from shared_tmu.methods import count_costs, count_tokens, find_method
from shared_tmu.patching import PatchHandle
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.random_models import share_weights
from shared_tmu.programs.trunk_shapes import shape_of
from shared_tmu.schedule import Schedule
from shared_tmu.training.finite import not_finite
from shared_tmu.training.learned.soft import SoftTrunk, asked_of
from shared_tmu.training.learned.subjects import objective_of
from shared_tmu.training.optim import warm_cosine


@dataclass(frozen=True)
class LearnedOptions:
    """How learned parts are trained.

    Attributes:
        steps: optimiser steps.
        lr: peak learning rate; None for the method's own.
        flops_weight: see `Learned`; None for the method's own.
        objective: what the merged model is compared with: the `truth`, or itself `unmerged`.
        warmup: steps of linear warm-up.
    """

    steps: int
    lr: float | None = None
    flops_weight: float | None = None
    objective: str = "truth"
    warmup: int = 10


class LearnedTraining(pl.LightningModule):
    """Trains the learned module of a method; the model's weights are frozen, and not in checkpoints.

    Args:
        program: description of the model.
        model: a model that is not patched; its weights are shared.
        method: row of the table that learns.
        schedule: tokens to remove; for methods that learn how many, the budget in FLOPs, and what to start
            from.
        options: how.

    Raises:
        ConfigError: the method learns nothing that can be trained here, or the schedule removes nothing.
    """

    def __init__(
        self,
        program: ModelProgram,
        model: nn.Module,
        method: str,
        schedule: Schedule,
        options: LearnedOptions,
    ) -> None:
        super().__init__()
        _require_budget(schedule)
        self.options, self.schedule, self.method = options, schedule, method
        self.name_of: Callable[[int], str] = str  # a picture, by its number in the batch
        plain = share_weights(model).requires_grad_(False).eval()
        merged = share_weights(plain)
        self.shape = shape_of(program, plain)
        first = method_start(method, schedule)
        self.handle: PatchHandle = program.patch(merged, first, method)
        learned = self.handle.learned
        if not isinstance(learned, Learned):
            raise ConfigError(
                f"method={method} was asked for, but its row makes no `Learned`: choose a method that learns."
            )
        self.learned = learned
        if isinstance(learned, LearnedLayers):
            self._rest_where_nothing_is_removed(learned, first)
        if learned.relaxes:
            learned.begin(schedule, self.shape.num_tokens, self.shape.num_prefix_tokens)
        soft = merged if not learned.relaxes else _softened(program, share_weights(plain), learned, self)
        self.target = budget_share(method, schedule, self.shape)
        # in a tuple: the frozen weights belong to neither checkpoints nor optimisers
        self.models: tuple[nn.Module, ...] = (plain, merged, soft)
        self.vit = program.estimates.vit
        self.objective = objective_of(plain, program.estimates)

    def _rest_where_nothing_is_removed(self, learned: LearnedLayers, schedule: Schedule) -> None:
        """Several devices wait for a gradient of everything that learns."""
        shape, depth = self.shape, len(learned.layers)
        counts = count_tokens(self.method, schedule, depth, shape.num_tokens, shape.num_prefix_tokens)
        for part, (before, after) in zip(learned.layers, pairwise(counts), strict=True):
            part.requires_grad_(after < before)

    @property
    def lr(self) -> float:
        """Peak learning rate."""
        return self.learned.lr if self.options.lr is None else self.options.lr

    @property
    def flops_weight(self) -> float:
        """Factor of the loss on FLOPs."""
        given = self.options.flops_weight
        return self.learned.flops_weight if given is None else given

    def setup(self, stage: str) -> None:
        """Move the frozen weights to the device."""
        for model in self.models:
            model.to(self.device)

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """All losses of a batch, weighted."""
        plain, _, soft = self.models
        vit = self.vit(soft)
        tokens = vit(batch["img"])
        if self.options.objective == "truth":
            losses = self.objective.truth_losses(tokens, batch)
        else:
            with torch.no_grad():
                unmerged = self.vit(plain)(batch["img"])
            losses = self.objective.own_losses(tokens, unmerged)
        if self.flops_weight and self.learned.relaxes:
            share = flops_share(vit.blocks[0].shares, self.shape)
            self.log("train/flops_share", share.detach(), prog_bar=True)
            losses["flops"] = self.flops_weight * (share - self.target).square()
        return losses

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """Sum of all losses; each is logged."""
        losses = self.losses(batch)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise not_finite(self, batch, losses)
        self.log_dict({f"train/{name}": loss.detach() for name, loss in losses.items()})
        self.log("train/total", total.detach(), prog_bar=True)
        return total

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Log the aligned vertex errors with what was learned so far, as inference will use it."""
        self.apply_schedule()
        tokens = self.vit(self.models[1])(batch["img"])
        error = self.objective.errors_mm(tokens, batch).mean()
        self.log("val/pa_mpvpe_mm", error, batch_size=len(batch["img"]))

    def apply_schedule(self) -> Schedule:
        """Set the patched model to the learned schedule, where there is one, and return its schedule."""
        found = self.learned.learned_schedule(self.schedule, self.shape) if self.learned.relaxes else None
        if found is None:
            return self.handle.schedule
        self.handle.schedule = found
        return found

    def configure_optimizers(self) -> Any:
        """Adam with a warm-up and a cosine."""
        groups = [
            {"params": [p], "lr": self.lr * self.learned.lr_factors.get(name, 1.0)}
            for name, p in self.learned.named_parameters()
            if p.requires_grad
        ]
        optimizer = torch.optim.Adam(groups, lr=self.lr)
        steps, warmup = self.options.steps, self.options.warmup
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warm_cosine(step, warmup, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _softened(program: ModelProgram, model: nn.Module, learned: Learned, of: LearnedTraining) -> nn.Module:
    """`model` with its blocks replaced by one that relaxes them."""
    vit = program.estimates.vit(model)
    asked = asked_of(of.method, of.schedule, of.shape)
    vit.blocks = nn.Sequential(SoftTrunk(list(vit.blocks), learned, asked, of.shape.num_prefix_tokens))
    return model


def _require_budget(schedule: Schedule) -> None:
    if schedule.is_off:
        raise ConfigError("r=off was asked for, which removes nothing, so there is nothing to learn.")
    if schedule.reads_thresholds:
        raise ConfigError(
            f"r={schedule} was asked for; give counts such as 10x16, also for methods with thresholds: their "
            "FLOPs are the budget."
        )


def method_start(method: str, schedule: Schedule) -> Schedule:
    """A schedule that the method takes: for thresholds, the paper's first."""
    return Schedule.parse("threshold:0.9") if find_method(method).reads == "thresholds" else schedule


def budget_share(method: str, schedule: Schedule, shape: TrunkShape) -> float:
    """FLOPs of the blocks with a schedule as a share of those without merging."""
    wanted, whole = (
        sum(cost.flops for cost in count_costs(method, one, shape))
        for one in (schedule, Schedule.parse("off"))
    )
    return wanted / whole
