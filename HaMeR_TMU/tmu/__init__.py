"""Token Merge with Unmerge for HaMeR: ours, or the published repository's own model."""

from typing import Any

from torch import nn

import shared_tmu
from shared_tmu.methods import Method
from shared_tmu.models.patching import patch_inside

__all__ = ["patch"]


def patch(
    model: nn.Module, schedule: Any, method: str | Method = "tome", **options: Any
) -> shared_tmu.PatchHandle:
    """Make HaMeR's ViT merge tokens, until the handle is removed or its `with` block ends.

    Args:
        model: HaMeR, in `nn.DataParallel` or not, or only its ViT.
        schedule: tokens to remove per layer, e.g. `"5x20"`; see `shared_tmu.Schedule.parse`.
        method: row of `shared_tmu.METHODS`.
        **options: `unmerge`, `proportional`, `record`, as in `shared_tmu.patch`.

    Raises:
        PatchError, ScheduleError, MethodError: as in `shared_tmu.patch`.
    """
    return patch_inside(model, "backbone", schedule, method, **options)
