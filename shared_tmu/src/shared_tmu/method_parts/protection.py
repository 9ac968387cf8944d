"""Masks of tokens to protect, and the two rules by which background goes first.

| rule | mask | what it does |
|---|---|---|
| first | bool | a protected token merges only if too few others are left |
| weighed | float | the similarity of a pair is lowered by the larger of its tokens' weights |

By the second rule a pair of equal tokens of the subject merges before a pair of background tokens that have
little in common. Methods that compare no similarities protect the tokens of at least half of `WEIGHT`, by the
first rule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import PlanError

WEIGHT = 0.25
"""By how much the similarity of a pair is lowered if one of its tokens surely shows the subject; equal tokens
have a similarity of 1."""


def weigh(shares: Tensor, weight: float | None) -> Tensor:
    """A mask for one of the rules.

    Args:
        shares: how sure it is that tokens show the subject, `[B, N]`, 0 to 1, or bool.
        weight: of those that surely do, by the rule `weighed`; None for the rule `first`.
    """
    if weight is None:
        return shares if shares.dtype == torch.bool else shares > 0.5
    return shares.to(torch.float32 if shares.dtype == torch.bool else shares.dtype) * weight


def to_flags(mask: Tensor) -> Tensor:
    """A mask by the rule `first`, `[B, N]` bool, of one by either."""
    return mask if mask.dtype == torch.bool else mask >= WEIGHT / 2


def fit_mask(mask: Tensor, batch_size: int, num_tokens: int, num_prefix_tokens: int) -> Tensor:
    """A mask of tokens to protect, as `[B, N]`.

    Args:
        mask: bool, or weights of at least 0, for all N tokens or for those after the prefix; `[N]`, `[1, N]`
            or `[B, N]`.
        batch_size: B.
        num_tokens: N.
        num_prefix_tokens: T.

    Raises:
        PlanError: it is neither, or fits neither.
    """
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise PlanError(
            f"a mask of tokens to protect is bool, or float with weights, this one is {mask.dtype}: compare "
            "it first."
        )
    wide = mask.unsqueeze(0) if mask.ndim == 1 else mask
    if wide.ndim == 2 and wide.shape[1] == num_tokens - num_prefix_tokens:
        wide = torch.nn.functional.pad(wide, (num_prefix_tokens, 0))
    if wide.ndim != 2 or wide.shape[0] not in (1, batch_size) or wide.shape[1] != num_tokens:
        raise PlanError(
            f"a mask of tokens to protect is [B, N] = {[batch_size, num_tokens]}, or that without the "
            f"{num_prefix_tokens} prefix tokens, this one is {list(mask.shape)}."
        )
    return wide.expand(batch_size, -1)
