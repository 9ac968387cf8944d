"""What the merged model is compared with, for each kind of model: the truth, or itself without merging."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from shared_tmu.programs.estimates import Estimate
from shared_tmu.training.losses import aligned_error_mm, hand_losses

OBJECTIVES = ("truth", "unmerged")
_PER_METRE = 10.0  # as in `hand_losses`


class Objective(ABC):
    """Losses of a model's output from the tokens of its ViT.

    Args:
        model: frozen.
        estimates: what it estimates.
    """

    def __init__(self, model: nn.Module, estimates: Estimate) -> None:
        self.model: Any = model
        self.estimates = estimates

    def read(self, tokens: Tensor) -> Mapping[str, Any]:
        """The model's output from tokens `[B, N, C]`."""
        output: Mapping[str, Any] = self.model.predict(tokens)
        return output

    @abstractmethod
    def truth_losses(self, tokens: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The losses with which the model itself was trained."""

    @abstractmethod
    def true_vertices(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The true mesh `[B, V, 3]`, metres."""

    def own_losses(self, tokens: Tensor, unmerged: Tensor) -> dict[str, Tensor]:
        """Distances of the mesh and of the joints, tenths of metres, and of tokens, as a share of their own
        square, from those without merging."""
        found, wanted = self.read(tokens), self.read(unmerged)
        distances = {
            name: _PER_METRE * (read(found) - read(wanted).detach()).abs().sum(-1).mean()
            for name, read in (("vertices", self.estimates.vertices), ("joints", self.estimates.joints))
        }
        missed = (tokens - unmerged).square().mean() / unmerged.square().mean()
        return {**distances, "tokens": missed}

    def errors_mm(self, tokens: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Aligned vertex errors, `[B]`, mm."""
        found = self.estimates.vertices(self.read(tokens))
        return aligned_error_mm(found.float(), self.true_vertices(batch))


class HandObjective(Objective):
    """Of hand models."""

    def truth_losses(self, tokens: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Objective`."""
        return hand_losses(self.read(tokens), batch, self.model.mano)

    def true_vertices(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See `Objective`."""
        names = ("global_orient", "hand_pose", "betas")
        vertices: Tensor = self.model.mano(**{name: batch[name] for name in names}).vertices
        return vertices
