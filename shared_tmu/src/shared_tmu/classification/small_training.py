"""A small classifier trained with and without merging, to see whether a model that has learned with it loses
less."""

from __future__ import annotations

import copy
import logging
import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import shared_tmu
from shared_tmu.classification.photo_vit import PhotoViT, PhotoViTConfig
from shared_tmu.errors import TrainingError
from shared_tmu.metrics.bootstrap import bootstrap_interval
from shared_tmu.schedule import Schedule

MEAN, STD = 0.286, 0.353  # of Fashion-MNIST's training pictures
SMALL = PhotoViTConfig(embed_dim=64, depth=6, num_heads=4, patch_size=4, position_grid=7, image_size=(28, 28))
TOKENS = (50, 1)
"""Tokens that enter its blocks, and those of them in front, which never merge."""
_SHOWN = 50  # steps between two messages
_log = logging.getLogger(__name__)


class SmallClassifier(nn.Module):
    """Pictures `[B, 3, h, w]` to logits, from the mean of a ViT's tokens.

    Args:
        num_classes: K.
        config: sizes of the ViT; the default is a small one for 28 x 28 pixels.
        seed: of the weights.
    """

    def __init__(self, num_classes: int, config: PhotoViTConfig = SMALL, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed all GPUs as well
            self.vit = PhotoViT(config)
            self.head = nn.Linear(config.embed_dim, num_classes)
            for parameter in self.vit.parameters():
                if parameter.ndim > 1:
                    nn.init.trunc_normal_(parameter, std=0.02)
        self.eval()

    def forward(self, img: Tensor) -> Tensor:
        """`[B, K]`."""
        logits: Tensor = self.head(self.vit(img).mean(dim=1))
        return logits

    def merging(self, schedule: str, method: str = "tome") -> AbstractContextManager[object]:
        """The model with merging, inside a `with` block."""
        is_off = Schedule.parse(schedule).is_off
        return nullcontext() if is_off else shared_tmu.patch(self.vit, schedule, method)


@dataclass(frozen=True)
class SmallRecipe:
    """How to train.

    Attributes:
        epochs: passes over the pictures.
        batch_size: pictures per step.
        lr: largest learning rate, after a warm-up; it falls to 0 along a cosine.
        weight_decay: AdamW's.
        seed: of the order.
    """

    epochs: int = 4
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    seed: int = 0


def as_input(grey: NDArray[np.uint8]) -> Tensor:
    """Grey pictures `[N, 28, 28]` as input `[N, 3, 28, 28]`."""
    values = (torch.from_numpy(grey.astype(np.float32)) / 255.0 - MEAN) / STD
    return values[:, None].expand(-1, 3, -1, -1)


def train_alike(
    start: SmallClassifier, img: Tensor, labels: Tensor, schedule: str, method: str, recipe: SmallRecipe
) -> tuple[SmallClassifier, SmallClassifier]:
    """Train two copies of a model on the same pictures in the same order, one without and one with merging.

    Raises:
        TrainingError: a loss is no longer finite.
    """
    plain, merging = copy.deepcopy(start), copy.deepcopy(start)
    train_small(plain, img, labels, "off", method, recipe)
    train_small(merging, img, labels, schedule, method, recipe)
    return plain, merging


def train_small(
    model: SmallClassifier, img: Tensor, labels: Tensor, schedule: str, method: str, recipe: SmallRecipe
) -> None:
    """Train a model, with merging in every step unless the schedule is `off`, and leave it in eval mode.

    Raises:
        TrainingError: the loss is no longer finite.
    """
    if recipe.epochs == 0:
        return
    model.train()
    groups = [[p for p in model.parameters() if (p.ndim > 1) == is_matrix] for is_matrix in (True, False)]
    decays = (recipe.weight_decay, 0.0)
    parts = [{"params": part, "weight_decay": decay} for part, decay in zip(groups, decays, strict=True)]
    optimiser = torch.optim.AdamW(parts, lr=recipe.lr)
    size = min(recipe.batch_size, len(labels))
    per_epoch = len(labels) // size
    steps = recipe.epochs * per_epoch
    falling = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, total_steps=steps + 1, pct_start=0.1)
    order = torch.Generator().manual_seed(recipe.seed)
    with model.merging(schedule, method):
        for step in range(steps):
            if step % per_epoch == 0:
                shuffled = torch.randperm(len(labels), generator=order)
            start = step % per_epoch * size
            rows = shuffled[start : start + size]
            loss = F.cross_entropy(model(img[rows]), labels[rows], label_smoothing=0.1)
            value = loss.item()
            if not math.isfinite(value):
                raise TrainingError(f"the loss is {value} at step {step}: try a smaller learning rate.")
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            falling.step()
            if step % _SHOWN == 0:
                _log.info("%s %s: step %d of %d, loss %.3f", method, schedule, step, steps, value)
    model.eval()


@torch.inference_mode()
def is_right(
    model: SmallClassifier, img: Tensor, labels: Tensor, schedule: str, method: str, batch_size: int = 256
) -> NDArray[np.float64]:
    """100 for each picture whose class is found, else 0: `[N]`."""
    found = []
    with model.merging(schedule, method):
        for start in range(0, len(labels), batch_size):
            rows = slice(start, start + batch_size)
            found.append(model(img[rows]).argmax(dim=1) == labels[rows])
    return np.asarray(100.0 * torch.cat(found).double().numpy())


def compare_drops(
    plain: tuple[NDArray[np.float64], NDArray[np.float64]],
    trained: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> dict[str, Any]:
    """How much top-1 merging costs a model that has, and one that has not, been trained with it.

    Args:
        plain: of the model trained without merging, what `is_right` says without and with it.
        trained: the same of the model trained with merging.

    Returns:
        `top1_pct` of all four; of the plain model what merging costs off the shelf, `drop`; of the trained
        one what it costs from the plain model without merging, `gap`, and from itself without, `own_drop`;
        and `regained` = drop - gap, by how much the trained model is better when both merge; with 95 %
        intervals over pictures.
    """
    differences = {
        "drop": plain[0] - plain[1],
        "gap": plain[0] - trained[1],
        "own_drop": trained[0] - trained[1],
        "regained": trained[1] - plain[1],
    }
    names = ("plain_off", "plain_merged", "trained_off", "trained_merged")
    told: dict[str, Any] = {
        "top1_pct": {n: float(v.mean()) for n, v in zip(names, (*plain, *trained), strict=True)}
    }
    for name, values in differences.items():
        told[name], told[f"{name}_interval_95"] = float(values.mean()), list(bootstrap_interval(values))
    return told
