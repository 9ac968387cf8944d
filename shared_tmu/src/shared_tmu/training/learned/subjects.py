"""The objective for each kind of model."""

from __future__ import annotations

from torch import nn

from shared_tmu.programs.estimates import HAND, Estimate
from shared_tmu.training.learned.objective import HandObjective, Objective


def objective_of(model: nn.Module, estimates: Estimate) -> Objective:
    """The one for this kind of model; what people need is imported only for them."""
    if estimates is HAND:
        return HandObjective(model, estimates)
    from shared_tmu.training.learned.body import BodyObjective

    return BodyObjective(model, estimates)
