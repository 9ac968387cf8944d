"""Token Merge with Unmerge for SMPLest-X: ours, or the published repository's own model."""

from typing import Any

from torch import nn

import shared_tmu
from shared_tmu.methods import Method
from shared_tmu.models.patching import patch_inside

__all__ = ["patch"]


def patch(
    model: nn.Module, schedule: Any, method: str | Method = "tome", **options: Any
) -> shared_tmu.PatchHandle:
    """Make SMPLest-X's ViT merge tokens, until the handle is removed or its `with` block ends.

    The 80 task tokens before the patch tokens are never merged.

    Args:
        model: SMPLest-X, in `nn.DataParallel` or not, or only its ViT.
        schedule: tokens to remove per layer, e.g. `"5x20"`; see `shared_tmu.Schedule.parse`.
        method: row of `shared_tmu.METHODS`.
        **options: `unmerge`, `proportional`, `protect`, `record`, as in `shared_tmu.patch`;
            `num_prefix_tokens`, if the ViT does not tell its number of task tokens.

            Raises:
            PatchError: the number of task tokens cannot be found; otherwise, like ScheduleError and
                MethodError, as in `shared_tmu.patch`.
    """
    return patch_inside(model, "encoder", schedule, method, count_published=_count_task_tokens, **options)


def _count_task_tokens(vit: nn.Module) -> int | None:
    """The published class has its task tokens as a parameter `[1, T, C]`."""
    tokens = getattr(vit, "task_tokens", None)
    return tokens.shape[1] if isinstance(tokens, nn.Parameter) and tokens.ndim == 3 else None
