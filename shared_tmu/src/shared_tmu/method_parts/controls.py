"""Controls for experiments: a sparse unmerge, and protecting the last tokens instead of the first."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import PlanError
from ..plans.ops import unmerge
from ..plans.plan import MergePlan
from .reductions import Route, join


def unmerge_sparse(x: Tensor, plan: MergePlan) -> Tensor:
    """Give every slot back only to the first of its tokens; all others are zero. `[B, M, C]` to `[B, N, C]`.

    Pruned tokens are zero. This replaces unmerging if a head needs the full grid: each remaining feature
    appears once, at the place of its first token, and nothing is copied.

    Raises:
        PlanError: as `unmerge`.
    """
    number = torch.arange(plan.num_tokens, device=x.device).expand(plan.batch_size, -1)  # [B, N]
    source = plan.source_map
    # tokens without a slot, in one additional slot
    slot = source.where(source >= 0, plan.num_slots) if plan.prunes else source
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


def turned(route: Route, count: int) -> Route:
    """Translate the route of tokens reordered by `last_to_front` to the original order of tokens and slots.

    Raises:
        PlanError: the plan is padded, so the ends of its images' slots differ.
    """
    if isinstance(route, MergePlan) and route.is_padded:
        raise PlanError(
            "protect = 'last' does not work with a method that keeps different numbers of tokens per "
            "image: use 'first'."
        )
    first = _turn(route.batch_size, route.num_tokens, count, route)
    last = _turn(route.batch_size, route.num_slots, -count, route)
    return join(join(first, route), last)


def _turn(batch_size: int, count: int, by: int, route: Route) -> MergePlan:
    """`roll` as a plan that merges nothing."""
    part = route if isinstance(route, MergePlan) else route.parts[0]
    device = part.source_map.device if isinstance(part, MergePlan) else part.matrix.device
    slots = (torch.arange(count, device=device) + by) % max(count, 1)
    return MergePlan(slots.expand(batch_size, -1), count, validate=False)
