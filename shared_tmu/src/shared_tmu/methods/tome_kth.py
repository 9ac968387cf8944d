"""k-th bipartite matching, an ablation of ToMe: Bolya et al. 2023, arXiv:2210.09461.

Every k-th token is a target, and all others join the target most similar to them. It needs no training.

* Reads keys, averaged over heads, and sizes. The original knows neither prefix tokens nor sizes; here the
  prefix is left out, means are weighted by size, and attention is proportional, as for `tome`.
* Acts between attention and MLP. At most all but every k-th of the tokens after the prefix are removed.
* k is 3: with 2 it is nearly ToMe's own split. The original joins all sources at once, to N // k tokens; here
  the r most similar ones join, so that schedules work as usual. The largest r gives the original.
* The original cuts off the last N mod k tokens. Here they are sources like the others, so that nothing is
  lost; `cuts_tail` prunes them first.
* The grid comes back by copies; tokens that were cut off copy the target most similar to them.
* Time over that of the slicing floor: +8 % (+7 to +12); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD EPYC,
  from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

from typing import Annotated

import torch

from ..limits import Limit
from ..method_parts.reductions import Merge
from ..method_parts.seen import Seen
from ..plans.matching import join_best, match_sets
from ..plans.plan import MergePlan

K = 3
Every = Annotated[int, Limit(2, 4096)]


def plan_kth(seen: Seen, r: int, k: Every = K, cuts_tail: bool = False) -> Merge:
    """The r tokens most similar to a k-th one join it.

    Args:
        seen: the block.
        r: tokens to remove, at most the number of sources.
        k: tokens k, 2 k, 3 k, ... after the prefix are targets.
        cuts_tail: prune the tokens after the last target, before any other token is merged.
    """
    prefix, (_, count) = seen.num_prefix_tokens, seen.shape
    position = torch.arange(prefix, count, device=seen.device)
    is_target = (position - prefix) % k == k - 1
    order = is_target.to(torch.uint8).argsort(stable=True) + prefix  # sources first, both in their order
    num_targets, tail = len(position) // k, len(position) % k
    sources, targets = order[: len(position) - num_targets], order[len(position) - num_targets :]
    score, target = match_sets(seen.metric, sources, targets, seen.mask)
    if not cuts_tail or not tail:
        return Merge(join_best(score, target, r, sources, targets, prefix))
    score[:, -tail:] = torch.inf
    plan = join_best(score, target, r, sources, targets, prefix)
    source_map = plan.source_map.clone()
    is_cut = source_map[:, -tail:] >= prefix + len(sources) - r
    source_map[:, -tail:] = source_map[:, -tail:].where(~is_cut, -1)
    return Merge(MergePlan(source_map, plan.num_slots, validate=False, copy_map=plan.source_map))


def limit_kth(num_tokens: int, num_prefix_tokens: int, k: Every = K) -> int:
    """All but every k-th of the tokens after the prefix."""
    free = max(num_tokens - num_prefix_tokens, 0)
    return free - free // k if free >= k else 0
