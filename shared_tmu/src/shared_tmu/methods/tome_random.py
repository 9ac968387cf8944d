"""Random bipartite matching, an ablation of ToMe: Bolya et al. 2023, arXiv:2210.09461.

Random tokens are the sources, all others are targets, and every source joins the target most similar to it.
Against `random`, which also draws the targets, it shows what ranking the pairs is worth. No training.

* Reads keys, averaged over heads, and sizes. The original knows neither prefix tokens nor sizes; here the
  prefix is left out, means are weighted by size, and attention is proportional, as for `tome`.
* Acts between attention and MLP. Any number of tokens can be removed, as long as one target is left.
* The original draws a permutation per image from the global random generator. Here a hash decides, so that a
  result depends neither on what ran before nor on the other images; it is the same for every image.
* The grid comes back by copies.
* Time over that of the slicing floor: +12 % (+8 to +15); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD EPYC,
  from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..method_parts.reductions import Merge
from ..method_parts.seen import Seen
from ..plans.matching import join_best, match_sets
from ..plans.plan import MergePlan
from ..plans.sorting import sort_stably
from .random_pairs import Seed, hash_integers


def plan_tome_random(seen: Seen, r: int, seed: Seed = 0) -> Merge:
    """r random tokens join the most similar one of the others.

    The draw depends on the seed, the number of tokens and the number of prefix tokens. Protected tokens are
    drawn as sources last.

    Args:
        seen: the block.
        r: tokens to remove.
        seed: any integer from 0 to 2**31 - 1.
    """
    (batch, num_tokens), prefix = seen.shape, seen.num_prefix_tokens
    position = torch.arange(prefix, num_tokens, device=seen.device)
    draw = hash_integers(hash_integers(position + 4096 * num_tokens) + seed).expand(batch, -1)
    if seen.protected is not None:
        draw = draw + seen.protected[:, prefix:] * 2**31
    order = sort_stably(draw, dim=1)[1] + prefix
    return Merge(join_drawn(seen.metric, order[:, :r], order[:, r:], prefix, seen.mask))


def join_drawn(
    metric: Tensor,
    sources: Tensor,
    targets: Tensor,
    num_prefix_tokens: int = 0,
    protected: Tensor | None = None,
) -> MergePlan:
    """Join every source to the target most similar to it. The new order is: prefix, targets.

    Args:
        metric: `[B, N, D]`.
        sources: their positions, `[B, r]` int64.
        targets: those of all others after the prefix, `[B, N - T - r]` int64.
        num_prefix_tokens: T.
        protected: `[B, N]` bool or float, see `match_sets`.
    """
    score, target = match_sets(metric, sources, targets, protected)
    return join_best(score, target, sources.shape[1], sources, targets, num_prefix_tokens)
