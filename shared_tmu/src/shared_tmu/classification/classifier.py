"""Classifiers as the programs take them: timm's models, or a linear probe on the tokens of a ViT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import shared_tmu
from shared_tmu.classification.crops import Crop
from shared_tmu.classification.labelled import TOP, UNREAD
from shared_tmu.errors import InputError
from shared_tmu.patching import PatchHandle
from shared_tmu.programs.program import Program
from shared_tmu.programs.subject import Subject


class Classifier(nn.Module):
    """A batch with `img` `[B, 3, h, w]` to the most probable classes.

    Args:
        vit: maps pictures to logits; with a probe, to tokens.
        probe: maps features of tokens to logits; None without.
        crop: how pictures become its input.
        num_classes: number of logits.
    """

    def __init__(self, vit: nn.Module, probe: nn.Module | None, crop: Crop, num_classes: int) -> None:
        super().__init__()
        self.vit, self.probe = vit, probe
        self.crop, self.num_classes = crop, num_classes
        self.config = SimpleNamespace(image_size=crop.size)

    def logits(self, img: Tensor) -> Tensor:
        """`[B, K]`."""
        out: Tensor = self.vit(img) if self.probe is None else self.probe(features_of(self.vit, img))
        return out

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`logits` `[B, K]`; `top` `[B, 5]`, the most probable classes first (fewer if there are fewer); and
        if the batch has a `label` `[B]`, `nll` `[B]`, the cross entropy in nats."""
        dtype = next(self.vit.parameters()).dtype
        logits = self.logits(batch["img"].to(dtype)).float()
        found = {"logits": logits, "top": logits.topk(min(TOP, logits.shape[1]), dim=1).indices}
        if "label" in batch:
            label = batch["label"].long().to(logits.device)
            found["nll"] = F.cross_entropy(logits, label, reduction="none", ignore_index=UNREAD)
        return found


def features_of(vit: nn.Module, img: Tensor) -> Tensor:
    """Class token, if the ViT has one, and mean of the patch tokens: `[B, 2 * C]`, or `[B, C]`.

    Raises:
        InputError: the model has no tokens.
    """
    read: Any = getattr(vit, "forward_features", vit)
    tokens: Tensor = read(img)
    if tokens.ndim != 3:
        raise InputError(
            f"a probe reads the tokens [B, N, C] of a ViT, but {type(vit).__name__} gives features "
            f"{list(tokens.shape)}: use a ViT."
        )
    prefix = int(getattr(vit, "num_prefix_tokens", 0))
    mean = tokens[:, prefix:].mean(dim=1)
    return torch.cat((tokens[:, 0], mean), dim=1) if prefix else mean


class FeatureNet(nn.Module):
    """A batch with `img` to `features`, see `features_of`."""

    def __init__(self, vit: nn.Module, crop: Crop) -> None:
        super().__init__()
        self.vit, self.crop = vit, crop
        self.config = SimpleNamespace(image_size=crop.size)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`features` `[B, F]`."""
        dtype = next(self.vit.parameters()).dtype
        return {"features": features_of(self.vit, batch["img"].to(dtype)).float()}


@dataclass(frozen=True)
class LogitError:
    """How far logits are from those of the same model in float32.

    Attributes:
        mean, max: over all classes of all samples.
        same_top1: share of samples with the same most probable class.
    """

    mean: float
    max: float
    same_top1: float


@dataclass(frozen=True)
class PictureClass(Subject):
    """What classifiers estimate."""

    def dtype_error(self, found: Mapping[str, Any], exact: Mapping[str, Any]) -> LogitError:
        """See `Subject`."""
        away = (found["logits"] - exact["logits"]).abs()
        same = (found["top"][:, 0] == exact["top"][:, 0]).float().mean()
        return LogitError(float(away.mean()), float(away.max()), float(same))


CLASS = PictureClass(name="class", backbone="vit", size="image_size", is_normalised=True)


def program_of(name: str, load: Callable[[], nn.Module], checkpoint: Path) -> Program:
    """The description of a classifier for evaluation and benchmark.

    Args:
        name: of the model, in results.
        load: makes it, in eval mode; called once.
        checkpoint: what its results name.
    """
    once = cache(load)
    return Program(
        name,
        Path(__file__).parent,
        load_model=lambda *paths: once(),
        patch=patch_classifier,
        default_checkpoint=checkpoint,
        estimates=CLASS,
    )


def patch_classifier(model: nn.Module, schedule: Any, method: str = "tome", **options: Any) -> PatchHandle:
    """Patch the ViT of a `Classifier`; see `shared_tmu.patch`."""
    vit: Any = model.vit
    return shared_tmu.patch(vit, schedule, method, **options)
