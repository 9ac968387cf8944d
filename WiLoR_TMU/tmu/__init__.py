"""Token Merge with Unmerge for WiLoR: ours, or the published repository's own model."""

from typing import Any, Literal

from torch import Tensor, nn

import shared_tmu
from shared_tmu.methods import Method
from shared_tmu.models.patching import patch_inside

__all__ = ["patch"]


def patch(
    model: nn.Module,
    schedule: Any,
    method: str | Method = "tome",
    *,
    unmerge: bool | Literal["sparse"] = True,
    **options: Any,
) -> shared_tmu.PatchHandle:
    """Make WiLoR's ViT merge tokens, until the handle is removed or its `with` block ends.

    The 18 task tokens before the patch tokens are never merged.

    Args:
        model: WiLoR, in `nn.DataParallel` or not, or only its ViT.
        schedule: tokens to remove per layer, e.g. `"5x20"`; see `shared_tmu.Schedule.parse`.
        method: row of `shared_tmu.METHODS`.
        unmerge: False, merge-only, gives the sparse grid ("sparse" in `shared_tmu.patch`): WiLoR's refinement
            reads a full 16 x 12 map, so each slot is put at the place of its first token, and the places of
            the other tokens are zero before the last norm. True copies each slot to all its tokens.
        **options: `proportional`, `protect`, `record`, as in `shared_tmu.patch`; `num_prefix_tokens`, if the
            ViT does not tell its number of task tokens.

        Raises:
        PatchError: the number of task tokens cannot be found; otherwise, like ScheduleError and MethodError,
            as in `shared_tmu.patch`.
    """
    return patch_inside(
        model,
        "backbone",
        schedule,
        method,
        count_published=_count_task_tokens,
        unmerge=unmerge or "sparse",
        **options,
    )


def _count_task_tokens(vit: nn.Module) -> int | None:
    """The published class embeds 6 numbers of each joint's mean rotation, then a shape and a camera."""
    pose = getattr(vit, "init_hand_pose", None)
    if not isinstance(pose, Tensor) or not all(
        hasattr(vit, f"{name}_emb") for name in ("pose", "shape", "cam")
    ):
        return None
    return pose.shape[-1] // 6 + 2
