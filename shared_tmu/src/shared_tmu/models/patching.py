"""What the model folders' `tmu.patch` share: finding the ViT inside a model, and its task tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

import shared_tmu
from shared_tmu.errors import PatchError
from shared_tmu.methods import Method
from shared_tmu.patching.prefix import read_prefix

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
        model: a model with the ViT as attribute `part`, or the ViT itself; may be inside `nn.DataParallel`.
        part: `"backbone"` or `"encoder"`.
        schedule: see `shared_tmu.patch`, also for `method` and `options`.
        method: row of `shared_tmu.METHODS`.
        num_prefix_tokens: number of task tokens before the patch tokens; None finds it.
        count_published: returns this number for a published ViT, or None if it cannot; our ViTs have it as
            attribute. If no such function is given, `shared_tmu.patch` finds the number.
        **options: further options of `shared_tmu.patch`.

        Raises:
        PatchError: the number of task tokens cannot be found; otherwise as in `shared_tmu.patch`.
    """
    owner = unwrap(model)
    vit = unwrap(getattr(owner, part, owner))
    if num_prefix_tokens is None:
        num_prefix_tokens = _count(vit, count_published)
    return shared_tmu.patch(vit, schedule, method, num_prefix_tokens=num_prefix_tokens, **options)


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside parallel wrappers, which copy it at every call or only forward calls."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    return unwrap(model.module) if isinstance(model, wrappers) else model


def _count(vit: nn.Module, count_published: TokenCounter | None) -> int | None:
    """The number of task tokens; None if `shared_tmu.patch` finds it."""
    if count_published is None or read_prefix(vit) is not None:
        return None
    found = count_published(vit)
    if found is None:
        raise PatchError(
            f"{type(vit).__name__} does not tell how many task tokens precede its patch tokens (it has no "
            "attribute num_prefix_tokens and is not the published class): pass num_prefix_tokens."
        )
    return found
