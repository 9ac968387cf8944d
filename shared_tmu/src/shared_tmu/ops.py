"""Merging and unmerging by a plan; `reference.py` has both with Python loops."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import PlanError
from .plan import MergePlan


def merge(x: Tensor, plan: MergePlan, size: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Average the tokens that share a slot, weighted by how many tokens each already stands for.

    Args:
        x: tokens, `[B, N, C]`, any float dtype; sums are taken in float32 (float64 for float64).
        plan: which tokens share a slot; its source map is `[B, N]`.
        size: original tokens per token, `[B, N]`; None, or ones, before the first merge.

    Returns:
        Merged tokens `[B, M, C]` in the dtype of `x`, and their sizes `[B, M]` in the dtype of the sums; the
        total size is unchanged.

    Raises:
        PlanError: `plan` was made for a different number of tokens or images, or `size` is not `[B, N]`.

    Source: ToMe, Bolya et al. 2023, section 3, arXiv:2210.09461. Bitwise repeatable on CPU; on GPU up to
        summation order.
    """
    if x.ndim != 3:
        raise PlanError(f"merge takes tokens [B, N, C], this tensor is {list(x.shape)}.")
    plan.require_fit(x, plan.num_tokens)
    if size is not None and size.shape != x.shape[:2]:
        raise PlanError(f"sizes are [B, N] = {list(x.shape[:2])}, these are {list(size.shape)}.")
    dtype = sum_dtype(x)
    size = torch.ones(x.shape[:2], dtype=dtype, device=x.device) if size is None else size.to(dtype)
    slots = plan.source_map  # [B, N]
    size_out = size.new_zeros(x.shape[0], plan.num_slots).scatter_add(1, slots, size)  # [B, M]
    total = size.new_zeros(x.shape[0], plan.num_slots, x.shape[2])
    total = total.scatter_add(1, slots.unsqueeze(-1).expand_as(x), x * size.unsqueeze(-1))  # [B, M, C]
    return (total / size_out.unsqueeze(-1)).to(x.dtype), size_out


def unmerge(x: Tensor, plan: MergePlan) -> Tensor:
    """Copy every slot back to the tokens it carries: one gather, `[B, M, C]` to `[B, N, C]`.

    Raises:
        PlanError: `plan` leaves a different number of tokens than `x` has, or was made for another batch
            size.
    """
    if x.ndim != 3:
        raise PlanError(f"unmerge takes tokens [B, M, C], this tensor is {list(x.shape)}.")
    plan.require_fit(x, plan.num_slots)
    return x.gather(1, plan.source_map.unsqueeze(-1).expand(-1, -1, x.shape[2]))


def sum_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which sums and similarities of `x` are taken: float32, or float64 where `x` is."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
