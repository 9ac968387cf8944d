"""LightningModules for training on renders, with losses on patch tokens and on the head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from shared_tmu.errors import ConfigError
from shared_tmu.training.cpu_attention import AttentionWrittenOut
from shared_tmu.training.dense import (
    DENSE_LOSSES,
    SILHOUETTE,
    DenseHeads,
    dense_losses,
    heat_losses,
    silhouette_head,
)
from shared_tmu.training.finite import not_finite
from shared_tmu.training.losses import aligned_error_mm, hand_losses, points_apart
from shared_tmu.training.optim import MuonAdamW, split_parameters, warm_cosine
from shared_tmu.training.patches import choose_patches, encode_some, put_back, sees_all


class RegressorTraining(pl.LightningModule, ABC):
    """Trains a ViT with a head; a subclass defines the losses.

    Args:
        model: has a ViT (images `[B, 3, 256, 192]` to tokens) and `predict` (tokens to the output
            dictionary).
        vit: the ViT.
        dense: heads on the patch tokens, for training only.
        steps: optimiser steps of this stage; the learning rate schedule ends with them.
        lr: peak learning rate.
        warmup: steps of linear warm-up.
        weight_decay: weight decay of matrices.
        weights: factors of the losses by name; the default is 1.
        num_prefix_tokens: task tokens before the patch tokens, which the dense heads skip.
        matrix_factor, embedding_factor: factors on the learning rates of the blocks' matrices, and of the
            patch and position embeddings.
        anneal: share of the steps, at the end, over which the learning rate falls.
        keep_patches: number of patches of a picture that training uses; None for all. Validation uses all.
        full_share: share of the steps that use all patches nevertheless.
        seed: seed of their choice.
        silhouette_block: block whose input tokens learn to tell how much of their patch shows the subject;
            None for none.

        Raises:
        ConfigError: a weight is given for a loss that does not exist, or all weights are 0.
    """

    LOSSES: ClassVar[frozenset[str]]
    """Names that `weights` may have."""

    def __init__(
        self,
        model: nn.Module,
        vit: nn.Module,
        dense: nn.Module,
        steps: int,
        lr: float = 2e-3,
        warmup: int = 200,
        weight_decay: float = 0.02,
        weights: Mapping[str, float] | None = None,
        num_prefix_tokens: int = 0,
        matrix_factor: float = 1.0,
        embedding_factor: float = 1.0,
        anneal: float = 1.0,
        keep_patches: int | None = None,
        full_share: float = 0.0,
        seed: int = 0,
        silhouette_block: int | None = None,
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.dense: Any = dense
        self.steps, self.lr, self.warmup, self.weight_decay = steps, lr, warmup, weight_decay
        self.weights = dict(weights or {})
        self.check_weights(self.weights)
        self.num_prefix_tokens = num_prefix_tokens
        self.matrix_factor, self.embedding_factor = matrix_factor, embedding_factor
        self.anneal, self.keep_patches = anneal, keep_patches
        self.full_share, self.seed = full_share, seed
        self.silhouette_block = silhouette_block
        if silhouette_block is not None:
            dense.add_module(SILHOUETTE, silhouette_head(vit.embed_dim))  # type: ignore[arg-type]
        self.name_of: Callable[[int], str] = str  # a picture, by its number in the batch
        # takes the step, the numbers of its pictures `[B]` and their `hardness`, if that is of use
        self.note: Callable[[int, Tensor, Tensor], None] | None = None
        # share of the stage's time limit that is over, if there is one
        self.time_passed: Callable[[], float] = lambda: 0.0
        # in a tuple, because a module itself would be saved a second time
        self.encoders: tuple[Any, ...] = (vit,)

    @classmethod
    def check_weights(cls, weights: Mapping[str, float]) -> None:
        """Refuse weights that have no meaning.

        Raises:
            ConfigError: see the class.
        """
        unknown = sorted(set(weights) - cls.LOSSES)
        if unknown:
            raise ConfigError(
                f"weights.{unknown[0]} was asked for, but there is no such loss; use "
                f"{', '.join(sorted(cls.LOSSES))}."
            )
        if not any(
            weights.get(name, float(name != SILHOUETTE)) for name in cls.LOSSES
        ):  # few stages have that
            raise ConfigError(
                "all losses have weight 0, so nothing would be learned: give at least one a weight above 0."
            )

    def encode(self, batch: dict[str, Tensor], with_tasks: bool = True) -> tuple[Tensor, dict[str, Any]]:
        """Tokens of a batch, `[B, T + K, C]` or `[B, T + P, C]`, and the predictions of the dense heads from
        them.

        Args:
            batch: pictures, and what they show where.
            with_tasks: whether the ViT's task tokens are included.
        """
        vit, prefix = self.encoders[0], self.num_prefix_tokens if with_tasks else 0
        kept, early = self.kept_patches(batch), list[Tensor]()

        def enter(number: int, tokens: Tensor) -> None:
            if number == self.silhouette_block:
                early.append(tokens[:, prefix:])

        if kept is None and with_tasks and self.silhouette_block is None:
            tokens = vit(batch["img"])
        else:
            tokens = encode_some(vit, batch["img"], kept, with_tasks, enter)
        read = self.dense(tokens[:, prefix:], kept)
        if early:
            read[SILHOUETTE] = self.dense.silhouette(early[0]).float().squeeze(-1)
        if kept is not None and getattr(self.model, "reads_grid", False):
            tokens = put_back(tokens, kept, vit.pos_embed.shape[1] - 1)
        return tokens, read

    def kept_patches(self, batch: dict[str, Tensor]) -> Tensor | None:
        """The patches that this step uses, `[B, K]`; None for all.

        They depend only on the step, so that a stopped run resumes exactly.
        """
        step = self.global_step
        if not self.keep_patches or not self.training or sees_all(self.seed, step, self.full_share):
            return None
        part = batch["part"]
        return choose_patches(part, self.keep_patches, torch.Generator(part.device).manual_seed(step))

    @abstractmethod
    def losses(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Named losses of a batch, and the model's output for it."""

    @abstractmethod
    def errors(self, batch: dict[str, Tensor], output: dict[str, Any]) -> dict[str, Tensor]:
        """The values that validation logs: at least `val/pa_mpvpe_mm` and `val/error_2d_px`."""

    @abstractmethod
    def hardness(self, batch: dict[str, Tensor], output: dict[str, Any]) -> Tensor:
        """How badly each picture of a batch was done, `[B]`, in any unit."""

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """The sum of weighted losses; each loss is logged."""
        with AttentionWrittenOut() if batch["img"].device.type == "cpu" else nullcontext():
            losses, output = self.losses(batch)
        total = torch.stack([self.factor(name) * loss for name, loss in losses.items()]).sum()
        if not torch.isfinite(total):
            raise not_finite(self, batch, losses)
        if self.note is not None:
            self.note(self.global_step, *self._of_all(batch["number"], self.hardness(batch, output)))
        self.log_dict({f"train/{k}": v.detach() for k, v in losses.items()})
        self.log("train/total", total.detach(), prog_bar=True)
        return total

    def factor(self, name: str) -> float:
        """The weight of a loss in the sum."""
        return self.weights.get(name, 1.0)

    def _of_all(self, *values: Tensor) -> list[Tensor]:
        """Values `[B]` of the pictures of all devices."""
        gathered: list[Any] = [self.all_gather(value.detach()) for value in values]
        return [value.flatten() for value in gathered]

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Log the errors and every loss."""
        losses, output = self.losses(batch)
        values = {**self.errors(batch, output), **{f"val/{k}": v for k, v in losses.items()}}
        self.log_dict(values, batch_size=len(batch["img"]), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Muon and AdamW with one common schedule: warm-up and cosine."""
        optimizer = MuonAdamW(
            *split_parameters(self),
            lr=self.lr,
            weight_decay=self.weight_decay,
            matrix_factor=self.matrix_factor,
            embedding_factor=self.embedding_factor,
        )

        def factor(step: int) -> float:
            return warm_cosine(step, self.warmup, self.steps, self.anneal, self.time_passed())

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class HandTraining(RegressorTraining):
    """Trains a hand model.

    Args:
        model: has `backbone`, `predict` and `mano` (the body-model layer).
        dim: channels of the tokens.
        steps: see `RegressorTraining`, also for the other arguments.
    """

    LOSSES: ClassVar[frozenset[str]] = DENSE_LOSSES | {
        "keypoints_3d",
        "vertices",
        "local_vertices",
        "keypoints_2d",
        "global_orient",
        "hand_pose",
        "betas",
        "camera",
    }

    def __init__(self, model: nn.Module, dim: int, steps: int, *args: Any, **options: Any) -> None:
        super().__init__(model, model.backbone, DenseHeads(dim), steps, *args, **options)  # type: ignore[arg-type]

    def losses(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `RegressorTraining`."""
        return self.compare(*self.encode(batch), batch)

    def compare(
        self, tokens: Tensor, read: dict[str, Any], batch: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Losses and output, given the result of `encode` for the batch."""
        losses = dense_losses(read, batch) | heat_losses(self.dense, read, batch["keypoints_2d"])
        output = self.model.predict(tokens)
        losses.update(hand_losses(output, batch, self.model.mano))
        return losses, output

    def hardness(self, batch: dict[str, Tensor], output: dict[str, Any]) -> Tensor:
        """Mean distance of the joints with the wrists together, metres."""
        return points_apart(output["pred_keypoints_3d"], batch["keypoints_3d"])

    def errors(self, batch: dict[str, Tensor], output: dict[str, Any]) -> dict[str, Tensor]:
        """Aligned vertex and joint errors in mm, 2D errors in pixels, and the wrist's rotation."""
        truth = self.model.mano(
            global_orient=batch["global_orient"], hand_pose=batch["hand_pose"], betas=batch["betas"]
        )
        distance = (output["pred_keypoints_2d"] - batch["keypoints_2d"]).norm(dim=-1)
        turn = output["pred_mano_params"]["global_orient"].transpose(-1, -2) @ batch["global_orient"]
        cosine = ((turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1)
        return {
            "val/pa_mpvpe_mm": aligned_error_mm(output["pred_vertices"].float(), truth.vertices).mean(),
            "val/pa_mpjpe_mm": aligned_error_mm(output["pred_keypoints_3d"].float(), truth.keypoints).mean(),
            "val/error_2d_px": 256.0 * distance.mean(),
            "val/orient_deg": torch.rad2deg(cosine.arccos()).mean(),
        }
