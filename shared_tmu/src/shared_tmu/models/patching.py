"""What the model folders' `tmu.patch` share: find the ViT inside a model, and its task tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

import shared_tmu
from shared_tmu.errors import PatchError
from shared_tmu.methods import Method

TokenCounter = Callable[[nn.Module], int | None]


def patch_inside(
    model: nn.Module,
    part: str,
    schedule: Any,
    method: str | Method = "tome",
    *,
    num_prefix_tokens: int | None = None,
    count_published: TokenCounter | None = None,
    **options: Any,
) -> shared_tmu.PatchHandle:
    """Patch the ViT inside a model of ours or of a published repository.

    Args:
        model: has the ViT under the name `part`, or is the ViT; in `nn.DataParallel` or not.
        part: `"backbone"` or `"encoder"`.
        schedule: see `shared_tmu.patch`, also for `method` and `options`.
        method: row of `shared_tmu.METHODS`.
        num_prefix_tokens: how many task tokens stand in front of the patch tokens; None finds out.
        count_published: reads their number off a published ViT, None where it cannot; ours say so themselves.
        **options: further ones of `shared_tmu.patch`.

    Raises:
        PatchError: the number of task tokens cannot be found; else as `shared_tmu.patch`.
    """
    owner = unwrap(model)
    vit = unwrap(getattr(owner, part, owner))
    if num_prefix_tokens is None:
        num_prefix_tokens = _count(vit, count_published)
    return shared_tmu.patch(vit, schedule, method, num_prefix_tokens=num_prefix_tokens, **options)


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside parallel wrappers, which copy it at every call or only pass calls on."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    return unwrap(model.module) if isinstance(model, wrappers) else model


def _count(vit: nn.Module, count_published: TokenCounter | None) -> int:
    said = getattr(vit, "num_prefix_tokens", None)
    if isinstance(said, int):
        return said
    found = 0 if count_published is None else count_published(vit)
    if found is None:
        raise PatchError(
            f"{type(vit).__name__} does not say how many task tokens stand in front of its patch tokens, "
            "neither in num_prefix_tokens nor as the published class does: pass num_prefix_tokens."
        )
    return found
