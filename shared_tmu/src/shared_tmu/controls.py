"""Ways of merging that are there to be compared with: a sparse unmerge, and protecting the wrong tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from .ops import unmerge
from .plan import MergePlan


def unmerge_sparse(x: Tensor, plan: MergePlan) -> Tensor:
    """Give every slot back to the first of its tokens alone; all others are zero. `[B, M, C]` to `[B, N, C]`.

    A stand-in for unmerging where a head needs the whole grid: what merging leaves is at its place, once, and
    nothing is copied.

    Raises:
        PlanError: as `unmerge`.
    """
    number = torch.arange(plan.num_tokens, device=x.device).expand(plan.batch_size, -1)  # [B, N]
    first = number.new_full((plan.batch_size, plan.num_slots), plan.num_tokens)
    first = first.scatter_reduce(1, plan.source_map, number, "amin")  # [B, M]
    is_first = first.gather(1, plan.source_map) == number
    return unmerge(x, plan).masked_fill(~is_first.unsqueeze(2), 0)


def last_to_front(x: Tensor, count: int) -> Tensor:
    """Put the last `count` of the tokens `[B, N, C]` in front of the others."""
    return x.roll(count, dims=1)


def front_to_last(x: Tensor, count: int) -> Tensor:
    """Undo `last_to_front`, also after merging."""
    return x.roll(-count, dims=1)


def plan_front_to_last(plan: MergePlan, count: int) -> MergePlan:
    """The plan made for the tokens that `last_to_front` gave, for the tokens and slots in their own order."""
    slots = (plan.source_map.roll(-count, dims=1) - count) % plan.num_slots
    return MergePlan(slots, plan.num_slots, validate=False)
