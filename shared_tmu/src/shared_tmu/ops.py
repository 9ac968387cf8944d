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
    size = x.new_ones(x.shape[:2], dtype=sum_dtype(x)) if size is None else size.to(sum_dtype(x))
    batch, slots = x.shape[0], plan.flat_map()  # [B * N]
    size_out = size.new_zeros(batch * plan.num_slots).index_add(0, slots, size.flatten())  # [B * M]
    share = size.flatten() / size_out.index_select(
        0, slots
    )  # [B * N]; exactly 1 for a token alone in its slot
    weighted = x.flatten(0, 1) * share.unsqueeze(1)  # [B * N, C], in the dtype of the sums
    out = weighted.new_zeros(batch * plan.num_slots, x.shape[2]).index_add_(0, slots, weighted)
    return out.view(batch, plan.num_slots, x.shape[2]).to(x.dtype), size_out.view(batch, plan.num_slots)


def unmerge(x: Tensor, plan: MergePlan) -> Tensor:
    """Copy every slot back to the tokens it carries: one gather, `[B, M, C]` to `[B, N, C]`.

    Raises:
        PlanError: `plan` leaves a different number of tokens than `x` has, or was made for another batch
            size.
    """
    if x.ndim != 3:
        raise PlanError(f"unmerge takes tokens [B, M, C], this tensor is {list(x.shape)}.")
    plan.require_fit(x, plan.num_slots)
    rows = x.flatten(0, 1).index_select(0, plan.flat_map())  # one gather of B * N rows
    return rows.view(plan.batch_size, plan.num_tokens, x.shape[2])


def sum_dtype(x: Tensor) -> torch.dtype:
    """The dtype in which sums and similarities of `x` are taken: float32, or float64 where `x` is."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
