"""Token Merge with Unmerge for SMPLest-X: ours, or the published repository's own model."""

from typing import Any

from torch import nn

import shared_tmu
from shared_tmu.errors import PatchError
from shared_tmu.methods import Method

__all__ = ["patch"]


def patch(
    model: nn.Module,
    schedule: Any,
    method: str | Method = "tome",
    *,
    num_prefix_tokens: int | None = None,
    **options: Any,
) -> shared_tmu.PatchHandle:
    """Make SMPLest-X's ViT merge tokens, until the handle is removed or its `with` block left.

    The task tokens in front of the patch tokens are never merged.

    Args:
        model: SMPLest-X, in `nn.DataParallel` or not, or its ViT alone.
        schedule: tokens to remove per layer, e.g. `"5x20"`; see `shared_tmu.Schedule.parse`.
        method: row of `shared_tmu.METHODS`.
        num_prefix_tokens: how many task tokens there are; None finds out from the ViT.
        **options: `unmerge`, `proportional`, `record`, as in `shared_tmu.patch`.

    Raises:
        PatchError: the number of task tokens cannot be found; else, like ScheduleError and MethodError, as
            `shared_tmu.patch`.
    """
    vit = _unwrap(getattr(_unwrap(model), "encoder", _unwrap(model)))
    if num_prefix_tokens is None:
        num_prefix_tokens = _count_task_tokens(vit)
    return shared_tmu.patch(vit, schedule, method, num_prefix_tokens=num_prefix_tokens, **options)


def _unwrap(model: nn.Module) -> nn.Module:
    """The model inside parallel wrappers, which copy it at every call or only pass calls on."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    return _unwrap(model.module) if isinstance(model, wrappers) else model


def _count_task_tokens(vit: nn.Module) -> int:
    """Ours says so in `num_prefix_tokens`; the published class has the tokens as a parameter `[1, T, C]`."""
    said = getattr(vit, "num_prefix_tokens", None)
    if isinstance(said, int):
        return said
    tokens = getattr(vit, "task_tokens", None)
    if isinstance(tokens, nn.Parameter) and tokens.ndim == 3:
        return tokens.shape[1]
    raise PatchError(
        f"{type(vit).__name__} does not say how many task tokens stand in front of its patch tokens (no "
        "num_prefix_tokens, no task_tokens): pass num_prefix_tokens, 80 for the published SMPLest-X."
    )
