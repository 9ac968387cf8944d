"""Masks of tokens to protect."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import PlanError


def fit_mask(mask: Tensor, batch_size: int, num_tokens: int, num_prefix_tokens: int) -> Tensor:
    """A mask of tokens to protect, as `[B, N]` bool.

    Args:
        mask: bool, for all N tokens or for those after the prefix; `[N]`, `[1, N]` or `[B, N]`.
        batch_size: B.
        num_tokens: N.
        num_prefix_tokens: T.

    Raises:
        PlanError: it is not bool, or fits neither.
    """
    if mask.dtype != torch.bool:
        raise PlanError(f"a mask of tokens to protect is bool, this one is {mask.dtype}: compare it first.")
    wide = mask.unsqueeze(0) if mask.ndim == 1 else mask
    if wide.ndim == 2 and wide.shape[1] == num_tokens - num_prefix_tokens:
        wide = torch.nn.functional.pad(wide, (num_prefix_tokens, 0))
    if wide.ndim != 2 or wide.shape[0] not in (1, batch_size) or wide.shape[1] != num_tokens:
        raise PlanError(
            f"a mask of tokens to protect is [B, N] = {[batch_size, num_tokens]}, or that without the "
            f"{num_prefix_tokens} prefix tokens, this one is {list(mask.shape)}."
        )
    return wide.expand(batch_size, -1)
