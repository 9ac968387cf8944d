"""ToFu, token fusion: prune in early blocks, merge in later ones. Kim et al. 2023, arXiv:2312.01026.

The matching is ToMe's. In early blocks, which react non-linearly to mixed inputs, the sources are dropped;
later their group becomes its mean, rescaled to the largest norm in the group (MLERP), because averaging
shrinks norms. It needs no training.

* Reads keys, averaged over heads. Sizes are not kept: means are not weighted, attention is not proportional.
* Acts between attention and MLP. At most half of the tokens after the prefix are removed.
* The paper's choice of the switching block could not be read; blocks 0 to L // 2 prune, as in public code
  (`prunes_until` sets another). A share that the schedule keeps counts the class token, as there.
* `tofu` follows the paper's rule. The only public toolbox code, PiToMe's, which OpenToMe took over, divides
  the mean by the norm that the target had before, instead of the mean's own norm; published numbers rest on
  it, so it is a row of its own, `tofu-pitome`.
* The grid comes back by copies; a dropped token copies the target that it was matched with.
* Time over that of the slicing floor: tofu +8 % (+7 to +11), tofu-pitome +1 % (-3 to +8); HaMeR-Thin, 8x16, 8
  images, 2 thread(s) of AMD EPYC, from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ..dtypes import sum_dtype
from ..limits import Limit
from ..method_parts.reductions import Planned, Prune
from ..method_parts.seen import Seen
from ..plans.matching import halves, plan_most_similar
from ..plans.ops import merge, take
from ..plans.plan import MergePlan

Layer = Annotated[int, Limit(-1, 4096)]


@dataclass(frozen=True, eq=False)
class Rescaled(Planned):
    """The mean of each group, rescaled to the largest norm in it; single tokens stay as they are.

    Attributes:
        plan: which tokens go where.
        targets: position of each slot's token that others join, `[B, M]` int64.
        by_target: divide the mean by the norm of that token, as PiToMe's code does, instead of its own.
    """

    targets: Tensor
    by_target: bool = False

    def reduce(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, None]:
        """`[B, N, C]` to `[B, M, C]`; sizes are not kept."""
        wide = x.to(sum_dtype(x))
        mean, members = merge(wide, self.plan)
        norm: Tensor = torch.linalg.vector_norm(wide, dim=2)  # [B, N]
        slots = self.plan.source_map
        largest = norm.new_zeros(members.shape).scatter_reduce(1, slots, norm, "amax")
        own = take(norm, self.targets) if self.by_target else torch.linalg.vector_norm(mean, dim=2)
        scale = (largest / own.clamp_min(torch.finfo(norm.dtype).tiny)).masked_fill(members < 2, 1)
        return (mean * scale.unsqueeze(2)).to(x.dtype), None


def plan_tofu(seen: Seen, r: int, prunes_until: Layer | None = None) -> Prune | Rescaled:
    """The r sources most similar to their best target are dropped, or join it.

    Args:
        seen: the block.
        r: tokens to remove.
        prunes_until: last block that prunes, -1 for none; L // 2 if not said.
    """
    return _plan(seen, r, prunes_until, by_target=False)


def plan_tofu_pitome(seen: Seen, r: int, prunes_until: Layer | None = None) -> Prune | Rescaled:
    """`plan_tofu` with the norm that PiToMe's code divides by."""
    return _plan(seen, r, prunes_until, by_target=True)


def _plan(seen: Seen, r: int, prunes_until: int | None, by_target: bool) -> Prune | Rescaled:
    prefix, last = seen.num_prefix_tokens, seen.depth // 2 if prunes_until is None else prunes_until
    plan = plan_most_similar(seen.metric, r, prefix, seen.mask)
    targets, is_source = find_targets(plan, prefix)
    if seen.layer > last:
        return Rescaled(plan, targets, by_target)
    pruned = plan.source_map.where(~is_source, -1)
    return Prune(MergePlan(pruned, plan.num_slots, validate=False, copy_map=plan.source_map), targets)


def find_targets(plan: MergePlan, num_prefix_tokens: int) -> tuple[Tensor, Tensor]:
    """The token of each slot that did not join another, `[B, M]`, and which tokens did join, `[B, N]` bool.

    Args:
        plan: of `plan_most_similar`: its last slots are the targets', in order.
        num_prefix_tokens: T.
    """
    slots, (batch, count) = plan.source_map, (plan.batch_size, plan.num_tokens)
    position = torch.arange(count, device=slots.device)
    sources, targets = halves(position.unsqueeze(0), num_prefix_tokens)
    first_target = plan.num_slots - targets.shape[1]
    is_source = torch.zeros_like(position, dtype=torch.bool).index_fill(0, sources[0], True)
    joins = is_source & (slots >= first_target)
    leads = slots.where(~joins, plan.num_slots)
    found = slots.new_zeros(batch, plan.num_slots + 1).scatter(1, leads, position.expand(batch, -1))
    return found[:, : plan.num_slots], joins
