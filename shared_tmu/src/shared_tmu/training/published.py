"""The LightningModule for a hand model: the published training recipe, validation and prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from shared_tmu.errors import ConfigError, InputError
from shared_tmu.models.discriminator import Discriminator
from shared_tmu.models.hand import HandModel
from shared_tmu.training.data import ShardSet
from shared_tmu.training.data_module import Ticket
from shared_tmu.training.finite import not_finite
from shared_tmu.training.losses import aligned_error_mm
from shared_tmu.training.published_losses import (
    LossWeights,
    discriminator_loss,
    generator_loss,
    supervised_losses,
    weighted_sum,
)

PREFIX = "model."


class SquareHands(Dataset[dict[str, Tensor]]):
    """Training samples in the form of a hand model's input: square crops, and poses of other hands.

    Args:
        hands: samples with `img` `[3, 256, 192]`, the part of the crop that the model uses.
    """

    def __init__(self, hands: ShardSet) -> None:
        self.hands = hands

    def __len__(self) -> int:
        return len(self.hands)

    def __getitem__(self, ticket: Ticket) -> dict[str, Tensor]:
        index, chance = ticket
        sample = self.hands.sample(index, chance)
        height, width = sample["img"].shape[-2:]
        sample["img"] = F.pad(sample["img"], ((height - width) // 2,) * 2)
        other = self.hands.sample((index + len(self) // 2) % len(self), chance)
        real = {"real_hand_pose": other["hand_pose"], "real_betas": other["betas"]}
        return sample | real | {"number": torch.tensor(index)}


def with_discriminator(model: HandModel) -> HandModel:
    """Return the same model with an untrained pose discriminator, which adversarial training needs."""
    model.config = replace(model.config, with_discriminator=True)
    model.discriminator = Discriminator()
    return model


class HandModule(pl.LightningModule):
    """Trains, validates and runs a hand model with Lightning.

    Checkpoints have the published layout (`state_dict` with `backbone.*`, `mano.*`, ..., and the
    configuration under `hyper_parameters.cfg`), so the model folder's own loader reads them.

    Batches are those of `supervised_losses` plus `img`; adversarial training also needs hands to compare
    with: `real_hand_pose` `[R, 15, 3, 3]` and `real_betas` `[R, 10]`.

    Args:
        model: the model; built with `with_discriminator` for adversarial training.
        weights: factors of the losses.
        lr: learning rate of AdamW, for the model and for the discriminator.
        weight_decay: weight decay of both.
        grad_clip: largest norm of each optimiser's gradients.

    Raises:
        ConfigError: an adversarial loss is asked for, but the model has no discriminator.
    """

    def __init__(
        self,
        model: HandModel,
        weights: LossWeights | None = None,
        lr: float = 1e-5,
        weight_decay: float = 1e-4,
        grad_clip: float = 1.0,
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.weights = weights or LossWeights()
        self.lr, self.weight_decay, self.grad_clip = lr, weight_decay, grad_clip
        self.name_of: Callable[[int], str] = str  # a picture, by its number in the batch
        self.adversarial = self.weights.adversarial > 0
        if self.adversarial and not hasattr(model, "discriminator"):
            raise ConfigError(
                f"the adversarial loss has weight {self.weights.adversarial}, but the model has no "
                "discriminator: set with_discriminator in its configuration, or the weight to 0."
            )
        self.automatic_optimization = not self.adversarial  # two optimisers alternate

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `HandModel.forward`."""
        output: dict[str, Any] = self.model(batch)
        return output

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """Step with the weighted sum of all losses; each loss is logged unweighted."""
        losses, output = self.losses(batch)
        if self.adversarial:
            losses["adversarial"] = generator_loss(self._judge(output["pred_mano_params"]))
        total = weighted_sum(losses, self.weights)
        if not torch.isfinite(total):
            raise not_finite(self, batch, losses)
        if self.adversarial:
            losses["discriminator"] = self._take_turns(total, output["pred_mano_params"], batch)
        self.log_dict({f"train/{name}": loss.detach() for name, loss in losses.items()})
        self.log("train/total", total.detach(), prog_bar=True)
        return total

    def losses(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Supervised losses of a batch, unweighted, and the model's output."""
        output = self.model(batch)
        return supervised_losses(output, batch), output

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Log losses, aligned joint error in mm and 2D error in pixels of the crop."""
        losses, output = self.losses(batch)
        joints = aligned_error_mm(output["pred_keypoints_3d"], batch["keypoints_3d"][..., :3])
        distance = (output["pred_keypoints_2d"] - batch["keypoints_2d"][..., :2]).norm(dim=-1)
        values = {
            "val/total": weighted_sum(losses, self.weights),
            "val/pa_mpjpe_mm": joints.mean(),
            "val/error_2d_px": self.model.config.image_size * distance.mean(),
            **{f"val/{name}": loss for name, loss in losses.items()},
        }
        self.log_dict(values, batch_size=len(batch["img"]))

    def predict_step(self, batch: dict[str, Tensor], _: int) -> dict[str, Any]:
        """Return the output dictionary."""
        output: dict[str, Any] = self.model(batch)
        return output

    def configure_optimizers(self) -> Any:
        """AdamW for the model, and one for the discriminator if there is adversarial training."""
        judge = list(self.model.discriminator.parameters()) if self.adversarial else []
        skip = {id(parameter) for parameter in judge}
        own = [p for p in self.model.parameters() if p.requires_grad and id(p) not in skip]
        return [
            torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)
            for parameters in (own, judge)
            if parameters
        ]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip gradients, both if Lightning and if this module steps the optimisers."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.grad_clip)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store weights and configuration in the layout of published checkpoints."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {key.removeprefix(PREFIX): value for key, value in state.items()}
        checkpoint["hyper_parameters"] = {"cfg": self.model.config.to_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Undo `on_save_checkpoint`, to resume."""
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {PREFIX + key.removeprefix(PREFIX): value for key, value in state.items()}

    def _judge(self, params: Mapping[str, Tensor]) -> Tensor:
        scores: Tensor = self.model.discriminator(params["hand_pose"], params["betas"])
        return scores

    def _take_turns(self, total: Tensor, params: Mapping[str, Tensor], batch: dict[str, Tensor]) -> Tensor:
        """Step the model, then the discriminator; return the discriminator's loss."""
        if "real_hand_pose" not in batch or "real_betas" not in batch:
            raise InputError(
                "adversarial training needs 'real_hand_pose' and 'real_betas' in each batch, found "
                f"{sorted(batch)}."
            )
        optimizers: Any = self.optimizers()
        model_optimizer, judge_optimizer = optimizers
        model_optimizer.zero_grad()
        self.manual_backward(total)
        model_optimizer.step()
        predicted = self._judge({name: value.detach() for name, value in params.items()})
        real = self.model.discriminator(batch["real_hand_pose"], batch["real_betas"])
        loss = self.weights.adversarial * discriminator_loss(real, predicted)
        judge_optimizer.zero_grad()
        self.manual_backward(loss)
        judge_optimizer.step()
        return loss.detach()
