"""Merging and planning in Triton, with the signatures of `matching` and `ops`, and gradients for training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..kernels import ops
from .plan import MergePlan


@torch.no_grad()
def match_similar(metric: Tensor, num_prefix_tokens: int = 0) -> tuple[Tensor, Tensor]:
    """See `matching.match_similar`; here the similarities are never all in memory at once."""
    score, target = ops.match_similar(metric, num_prefix_tokens)
    return score, target


@torch.no_grad()
def plan_pairs(
    score: Tensor, target: Tensor, r: int, num_tokens: int, num_prefix_tokens: int = 0
) -> MergePlan:
    """See `matching.plan_pairs`; for float32 scores."""
    source_map = ops.plan_pairs(score, target, r, num_tokens, num_prefix_tokens)
    return MergePlan(source_map, num_tokens - r, validate=False)


@torch.no_grad()
def plan_most_similar(metric: Tensor, r: int, num_prefix_tokens: int) -> MergePlan:
    """See `matching.plan_most_similar`: both of the above, in one launch for up to 256 tokens."""
    source_map = ops.plan_most_similar(metric, r, num_prefix_tokens)
    return MergePlan(source_map, metric.shape[1] - r, validate=False)


def merge(x: Tensor, plan: MergePlan, size: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """See `shared_tmu.merge`; bitwise repeatable on GPUs too."""
    out, size_out, _ = _merge(x, plan.source_map, plan.num_slots, size, None)
    return out, size_out


def merge_and_compose(
    x: Tensor, plan: MergePlan, size: Tensor | None, before: MergePlan | None
) -> tuple[Tensor, Tensor, MergePlan]:
    """`merge` and `before.then(plan)` in one launch.

    Args:
        x: tokens, `[B, N, C]`.
        plan: the plan from these N tokens to M slots.
        size: `[B, N]`, or None for ones.
        before: the plan from the first N0 tokens to these N; None before the first merge.

    Returns:
        Merged tokens `[B, M, C]`, their sizes `[B, M]` float32, and the plan from the first tokens to the M
        slots.
    """
    if before is None:
        return *merge(x, plan, size), plan
    out, size_out, after = _merge(x, plan.source_map, plan.num_slots, size, before.source_map)
    return out, size_out, MergePlan(after, plan.num_slots, validate=False)


def _merge(
    x: Tensor, source_map: Tensor, num_slots: int, size: Tensor | None, before: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    needs_grad = x.requires_grad or (size is not None and size.requires_grad)
    call: Any = _Merge.apply if needs_grad and torch.is_grad_enabled() else ops.merge
    out, size_out, after = call(x, source_map, num_slots, size, before)
    return out, size_out, after


class _Merge(torch.autograd.Function):
    """The kernel in the forward pass; a gather in the backward pass, since merging is a weighted sum."""

    @staticmethod
    def forward(
        x: Tensor, source_map: Tensor, num_slots: int, size: Tensor | None, before: Tensor | None
    ) -> Any:
        return ops.merge(x, source_map, num_slots, size, before)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, source_map, _, size, _ = inputs
        out, size_out, after = output
        ctx.save_for_backward(x, source_map, size, out, size_out)
        ctx.mark_non_differentiable(after)

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor, grad_size_out: Tensor, _: Any) -> Any:
        x, source_map, size, out, size_out = ctx.saved_tensors
        is_carried = source_map >= 0
        slots = source_map.clamp_min(0)
        rows = slots.unsqueeze(2).expand_as(x)
        grad = grad_out.gather(1, rows).float()  # [B, N, C]
        total = size_out.gather(1, slots)  # [B, N]
        share = is_carried * (1.0 if size is None else size.float()) / total
        grad_x = (grad * share.unsqueeze(2)).to(x.dtype) if ctx.needs_input_grad[0] else None
        grad_size = None
        if size is not None and ctx.needs_input_grad[3]:
            away = x.float() - out.gather(1, rows).float()  # difference of a token from the mean of its slot
            grad_size = (grad * away).sum(2) / total + grad_size_out.gather(1, slots)
            grad_size = (is_carried * grad_size).to(size.dtype)
        return grad_x, None, None, grad_size, None
