"""Ways of merging that are there to be compared with: a sparse unmerge, and protecting the wrong tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import PlanError
from .ops import unmerge
from .plan import MergePlan


def unmerge_sparse(x: Tensor, plan: MergePlan) -> Tensor:
    """Give every slot back to the first of its tokens alone; all others are zero. `[B, M, C]` to `[B, N, C]`.

    Pruned tokens are zero, whatever they would copy.

    A stand-in for unmerging where a head needs the whole grid: what merging leaves is at its place, once, and
    nothing is copied.

    Raises:
        PlanError: as `unmerge`.
    """
    number = torch.arange(plan.num_tokens, device=x.device).expand(plan.batch_size, -1)  # [B, N]
    source = plan.source_map
    slot = source.where(source >= 0, plan.num_slots) if plan.prunes else source  # nobody's, in one more slot
    first = number.new_full((plan.batch_size, plan.num_slots + plan.prunes), plan.num_tokens)
    first = first.scatter_reduce(1, slot, number, "amin")  # [B, M]
    is_first = (first.gather(1, slot) == number) & (slot < plan.num_slots)
    return unmerge(x, plan).masked_fill(~is_first.unsqueeze(2), 0)


def last_to_front(x: Tensor, count: int) -> Tensor:
    """Put the last `count` of the tokens `[B, N, C]` in front of the others."""
    return x.roll(count, dims=1)


def front_to_last(x: Tensor, count: int) -> Tensor:
    """Undo `last_to_front`, also after merging."""
    return x.roll(-count, dims=1)


def plan_front_to_last(plan: MergePlan, count: int) -> MergePlan:
    """The plan made for the tokens that `last_to_front` gave, for the tokens and slots in their own order.

    Raises:
        PlanError: the plan is padded: its slots have no common end.
    """
    if plan.is_padded:
        raise PlanError(
            "protect = 'last' with a method that keeps different numbers of tokens per image: use 'first'."
        )

    def turn(slots: Tensor) -> Tensor:
        slots = slots.roll(-count, dims=1)
        return ((slots - count) % plan.num_slots).where(slots >= 0, slots)

    copies = turn(plan.copy_map) if plan.prunes else None
    return MergePlan(turn(plan.source_map), plan.num_slots, validate=False, copy_map=copies)
