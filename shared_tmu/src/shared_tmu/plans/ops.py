"""Merging and unmerging by a plan; `reference.py` has slow versions of both with Python loops."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..dtypes import sum_dtype
from ..errors import PlanError
from ..kernels.choice import uses_triton
from . import fused
from .plan import MergePlan, Moves


def merge(x: Tensor, plan: MergePlan, size: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Average the tokens that share a slot, weighted by how many tokens each already stands for.

    A slot that carries a single token gets an exact copy of it. Pruned tokens are not counted; slots that are
    padding become zeros of size 0.

    Args:
        x: tokens, `[B, N, C]`, any float dtype; sums are taken in float32 (float64 for float64).
        plan: which tokens share a slot; its source map is `[B, N]`.
        size: original tokens per token, `[B, N]`; None, or ones, before the first merge.

    Returns:
        Merged tokens `[B, M, C]` in the dtype of `x`, and their sizes `[B, M]` in the dtype of the sums; the
        total size is unchanged, except for pruned tokens.

    Raises:
        PlanError: `plan` was made for a different number of tokens or images, or `size` is not `[B, N]`.

    Source: ToMe, Bolya et al. 2023, section 3, arXiv:2210.09461. Bitwise repeatable on CPU, and on GPU in
        Triton; in torch on GPU up to summation order.
    """
    _require_tokens(x, plan, size)
    if uses_triton(x):
        return fused.merge(x, plan, size)
    if plan.prunes or plan.is_padded:
        return _merge_carried(x, plan, size)
    moves = plan.moves()
    rows = x.flatten(0, 1)  # [B * N, C]
    share, size_out = _share_out(moves, size, sum_dtype(x))
    out = _add_others(rows.index_select(0, moves.leaders), rows.index_select(0, moves.others), moves, share)
    shape = (plan.batch_size, plan.num_slots)
    return out.view(*shape, x.shape[2]), size_out.view(shape)


def merge_and_compose(
    x: Tensor, plan: MergePlan, size: Tensor | None, before: MergePlan | None
) -> tuple[Tensor, Tensor, MergePlan]:
    """`merge`, and the plan `before.then(plan)` from the first tokens on; in Triton in one launch.

    Args:
        x: tokens, `[B, N, C]`.
        plan: the plan from these N tokens to M slots.
        size: `[B, N]`, or None for ones.
        before: the plan from the first N0 tokens to these N; None before the first merge.

    Returns:
        Merged tokens `[B, M, C]`, their sizes `[B, M]`, and the plan from the first tokens to the M slots.

    Raises:
        PlanError: as in `merge` and `MergePlan.then`.
    """
    is_whole = before is not None and not (before.prunes or plan.prunes or plan.is_padded)
    if is_whole and uses_triton(x):
        _require_tokens(x, plan, size)
        return fused.merge_and_compose(x, plan, size, before)
    x, size = merge(x, plan, size)
    return x, size, plan if before is None else before.then(plan)


def _require_tokens(x: Tensor, plan: MergePlan, size: Tensor | None) -> None:
    if x.ndim != 3:
        raise PlanError(f"merge needs tokens [B, N, C], but this tensor is {list(x.shape)}.")
    plan.require_fit(x, plan.num_tokens)
    if size is not None and size.shape != x.shape[:2]:
        raise PlanError(f"sizes must be [B, N] = {list(x.shape[:2])}, but these are {list(size.shape)}.")


def _merge_carried(x: Tensor, plan: MergePlan, size: Tensor | None) -> tuple[Tensor, Tensor]:
    """`merge` for plans with pruned tokens and with slots that are padding.

    The mean is the first token of a slot plus the share of every other times its difference from the first.
    """
    dtype, (batch, tokens), slots = sum_dtype(x), x.shape[:2], plan.num_slots
    source = plan.source_map
    is_carried = source >= 0
    slot = source.where(is_carried, torch.full_like(source, slots))  # pruned tokens go to one extra slot
    weight = torch.ones(batch, tokens, dtype=dtype, device=x.device) if size is None else size.to(dtype)
    weight = weight.masked_fill(~is_carried, 0)
    size_out = weight.new_zeros(batch, slots + 1).scatter_add(1, slot, weight)
    share = weight / size_out.gather(1, slot).clamp_min(torch.finfo(dtype).tiny)  # [B, N]
    number = torch.arange(tokens, device=x.device).expand(batch, -1)
    leader = number.new_full((batch, slots + 1), tokens).scatter_reduce(1, slot, number, "amin")
    is_taken = leader[:, :slots] < tokens
    leader = leader.clamp_max(max(tokens - 1, 0))
    start = take(x, leader)  # [B, M + 1, C]
    steps = (x.to(dtype) - take(start, slot).to(dtype)) * share.unsqueeze(2)
    rows = slot.unsqueeze(2).expand_as(steps)
    mean = start.to(dtype).scatter_add(1, rows, steps)[:, :slots]
    out = mean.to(x.dtype).masked_fill(~is_taken.unsqueeze(2), 0)
    return out, size_out[:, :slots]


def take(x: Tensor, positions: Tensor) -> Tensor:
    """Rows of tokens: `[B, N, C]`, or `[B, N]` for numbers, at positions `[B, M]` int64."""
    if x.ndim == 2:
        return x.gather(1, positions)
    return x.gather(1, positions.unsqueeze(2).expand(-1, -1, x.shape[2]))


def _share_out(moves: Moves, size: Tensor | None, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The share `[B * R]` of each of the others in its slot, and the sizes of all slots, `[B * M]`."""
    if size is None:
        of_others = torch.ones_like(moves.others, dtype=dtype)
        size_out = torch.ones_like(moves.leaders, dtype=dtype)
    else:
        size = size.to(dtype).flatten()
        of_others, size_out = size.index_select(0, moves.others), size.index_select(0, moves.leaders)
    size_out = size_out.index_add_(0, moves.slots, of_others)
    return of_others / size_out.index_select(0, moves.slots), size_out


def _add_others(leaders: Tensor, others: Tensor, moves: Moves, share: Tensor) -> Tensor:
    """Turn every leader into the mean of its slot.

    A leader's own share is 1 minus the others' shares, so mean = leader + sum of share * (other - leader):
    only slots that really merge are computed, and equal tokens merge without rounding.

    Args:
        leaders: `[B * M, C]`; changed in place.
        others: `[B * R, C]`.
        moves: which token joins which slot.
        share: share of each of the others in its slot, `[B * R]`, in the dtype of the sums.
    """
    slots = moves.slots
    start = leaders.index_select(0, slots).to(share.dtype)  # [B * R, C]: for each of the others, its leader
    steps = (others - start) * share.unsqueeze(1)
    if leaders.dtype == share.dtype:
        return leaders.index_add_(0, slots, steps)
    # The sum needs more precision than leaders have: one of the others in each slot, `chosen`, accumulates
    # it.

    number = torch.arange(slots.shape[0], device=slots.device)
    chosen = slots.new_empty(leaders.shape[0]).scatter_(0, slots, number).index_select(0, slots)  # [B * R]
    means = start.index_add_(0, chosen, steps).index_select(0, chosen)
    # several tokens write the same mean into a slot: only one of them may pass gradients back
    if means.requires_grad:
        means = means.where((chosen == number).unsqueeze(1), means.detach())
    return leaders.index_copy_(0, slots, means.to(leaders.dtype))


class Restorable(Protocol):
    """A reduction from tokens to slots and back that has no source map, such as `reductions.Chain`."""

    def restore(self, x: Tensor) -> Tensor:
        """Slots `[B, M, C]` to tokens `[B, N, C]`."""


def unmerge(x: Tensor, plan: MergePlan | Restorable) -> Tensor:
    """Copy every slot back to the tokens it carries: one gather, `[B, M, C]` to `[B, N, C]`.

    A pruned token gets the slot that the plan's copy map names; a `Chain` (of a method that mixes all tokens)
    restores by its own rule.

    Raises:
        PlanError: `plan` leaves a different number of tokens than `x` has, or was made for another batch
            size.
    """
    if not isinstance(plan, MergePlan):
        return plan.restore(x)
    if x.ndim != 3:
        raise PlanError(f"unmerge needs tokens [B, M, C], but this tensor is {list(x.shape)}.")
    plan.require_fit(x, plan.num_slots)
    rows = x.flatten(0, 1).index_select(0, plan.flat_map())  # one gather of B * N rows
    return rows.view(plan.batch_size, plan.num_tokens, x.shape[2])
