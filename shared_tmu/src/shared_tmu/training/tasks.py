"""The models that can be trained in stages: the place of the ViT, the pictures, and the training module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from shared_tmu.programs.estimates import HAND, Estimate
from shared_tmu.training.data import ShardSet, SynthHandSet
from shared_tmu.training.grow import fold_normalisation, initialise_vit
from shared_tmu.training.module import HandTraining, RegressorTraining


class TrainingKind(Protocol):
    """A subclass of `RegressorTraining` that makes its own heads."""

    def __call__(
        self, model: nn.Module, dim: int, steps: int, *args: Any, **options: Any
    ) -> RegressorTraining:
        """See `RegressorTraining`."""

    def check_weights(self, weights: Mapping[str, float]) -> None:
        """See `RegressorTraining.check_weights`."""


@dataclass(frozen=True)
class Task:
    """A kind of model.

    Attributes:
        part: name of the ViT in the model.
        pictures: class of the sets of training pictures.
        training: `(model, dim, steps, ...)`, see `RegressorTraining`.
        is_normalised: whether pictures have mean 0 and deviation 1, or are in 0..1.
    """

    part: str
    pictures: type[ShardSet]
    training: TrainingKind
    is_normalised: bool = True

    def vit(self, model: nn.Module) -> Any:
        """The model's ViT."""
        return getattr(model, self.part)

    def initialise(self, model: nn.Module) -> None:
        """Initialise the ViT for training from scratch on little data."""
        vit = self.vit(model)
        initialise_vit(vit)
        if not self.is_normalised:
            fold_normalisation(vit.patch_embed.first)


HAND_TASK = Task(HAND.backbone, SynthHandSet, HandTraining, HAND.is_normalised)


def task_of(estimates: Estimate) -> Task:
    """The training task for hands or bodies; the code that draws people is imported only when needed."""
    if estimates is HAND:
        return HAND_TASK
    from shared_tmu.training.body import BodyTraining
    from shared_tmu.training.body_data import SynthBodySet

    return Task(estimates.backbone, SynthBodySet, BodyTraining, estimates.is_normalised)
