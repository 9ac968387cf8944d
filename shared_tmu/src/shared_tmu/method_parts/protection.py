"""Masks of tokens to protect, and the two rules by which background merges first.

| rule | mask | what it does |
|---|---|---|
| first | bool | a protected token merges only if too few others are left |
| weighed | float | the similarity of a pair is lowered by the larger of its tokens' weights |

By the second rule a pair of equal tokens of the subject merges before a pair of background tokens that have
little in common. A weight counts at most `plans.matching.MOST`, which keeps tokens apart as long as there are
others. Methods that compare no similarities protect the tokens of at least half of the weight that certain
ones have, by the first rule.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from ..errors import PlanError

Given = TypeVar("Given")
WEIGHT = 0.25
"""The amount by which the similarity of a pair is lowered if one of its tokens certainly shows the subject;
equal tokens have a similarity of 1.
"""


def weigh(shares: Tensor, weight: float | None) -> Tensor:
    """A mask for one of the rules.

    Args:
        shares: confidence that tokens show the subject, `[B, N]`, 0 to 1, or bool.
        weight: weight of certain tokens, for the rule `weighed`; None for the rule `first`.
    """
    if weight is None:
        return shares if shares.dtype == torch.bool else shares > 0.5
    return shares.to(torch.float32 if shares.dtype == torch.bool else shares.dtype) * weight


def to_flags(mask: Tensor, certain: float = WEIGHT) -> Tensor:
    """Convert a mask for either rule to one for the rule `first`, `[B, N]` bool.

    Args:
        mask: `[B, N]`, bool or weights.
        certain: weight of tokens that surely show the subject; those of at least half of it are protected.
    """
    return mask if mask.dtype == torch.bool else (mask >= certain / 2) & (mask > 0)


def sound(mask: Given) -> Given:
    """A mask as it is given, if its weights are numbers of at least 0; what is no tensor passes.

    It reads the weights, so it waits for a GPU. In a graph, which has no numbers yet, they pass.

    Raises:
        PlanError: some weights are negative, or no numbers.
    """
    if not isinstance(mask, Tensor) or not mask.is_floating_point() or torch.compiler.is_compiling():
        return mask
    if mask.is_cuda and torch.cuda.is_current_stream_capturing():
        return mask
    if not bool((mask >= 0).all()):
        wrong = mask[~(mask >= 0)]
        raise PlanError(
            f"the weights in a mask of tokens to protect must be at least 0, but {wrong.numel()} of "
            f"{mask.numel()} are not (the first is {wrong[0].item():g}). A mask to be added to attention is "
            "turned into one by mask == 0."
        )
    return mask


def fit_mask(mask: Tensor, batch_size: int, num_tokens: int, num_prefix_tokens: int) -> Tensor:
    """A mask of tokens to protect, as `[B, N]`.

    Args:
        mask: bool, or weights of at least 0, for all N tokens or for those after the prefix; `[N]`, `[1, N]`
            or `[B, N]`.
        batch_size: B.
        num_tokens: N.
        num_prefix_tokens: T.

    Raises:
        PlanError: it is no tensor, or its dtype or shape is wrong; or, on the CPU, its weights (see `sound`).
    """
    if not isinstance(mask, Tensor):
        raise PlanError(
            f"a mask of tokens to protect must be a tensor, not a {type(mask).__name__}: use torch.tensor."
        )
    if mask.dtype != torch.bool and not mask.is_floating_point():
        raise PlanError(
            "a mask of tokens to protect must be bool, or float with weights, but this one is "
            f"{mask.dtype}: convert it, for instance by a comparison."
        )
    if mask.is_floating_point():  # infinite ones times 0, in a method that mixes tokens, are no numbers
        mask = mask.clamp_max(torch.finfo(mask.dtype).max ** 0.75)
    wide = mask.unsqueeze(0) if mask.ndim == 1 else mask
    if wide.ndim == 2 and wide.shape[1] == num_tokens - num_prefix_tokens:
        wide = torch.nn.functional.pad(wide, (num_prefix_tokens, 0))
    if wide.ndim != 2 or wide.shape[0] not in (1, batch_size) or wide.shape[1] != num_tokens:
        raise PlanError(
            f"a mask of tokens to protect must be [B, N] = {[batch_size, num_tokens]}, or the same without "
            f"the {num_prefix_tokens} prefix tokens, but this one is {list(mask.shape)}."
        )
    return (wide if wide.is_cuda else sound(wide)).expand(batch_size, -1)
