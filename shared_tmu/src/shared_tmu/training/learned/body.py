"""Losses of body models, from the tokens of their ViT."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from shared_tmu.programs.estimates import Estimate
from shared_tmu.training.body import body_losses, found_person, labelled_person, loss_subset, true_body
from shared_tmu.training.learned.objective import Objective


class BodyObjective(Objective):
    """Of SMPLest-X."""

    def __init__(self, model: nn.Module, estimates: Estimate) -> None:
        super().__init__(model, estimates)
        self.subset = loss_subset(self.model.smplx_layer)

    def truth_losses(self, tokens: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Objective`."""
        decoded, given = self.model.decoder(tokens), dict(batch)
        with torch.no_grad():
            truth = labelled_person(given, self.subset)
        camera = self.model.body_params(decoded)["cam_trans"]
        return body_losses(found_person(decoded, self.subset), camera, given, truth)

    def true_vertices(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See `Objective`."""
        return true_body(dict(batch), self.model.smplx_layer).vertices
