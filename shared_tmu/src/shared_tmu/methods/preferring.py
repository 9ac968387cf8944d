"""ToMe with a score that prefers background by itself, without a mask or training; ours.

A pair's score is its similarity, minus how important its two tokens are. Importance is a token's rank in its
image, 0 to 1, so that its scale does not matter. Two rows, of what says that a token is important:

* `tome-received`: the attention that it receives, mean over heads and every fifth query (`every`). Reads
  keys, sizes, and these rows of the attention map, which are computed a second time.
* `tome-centre`: how near it is to the centre of the image. Reads keys, sizes and the grid. The crops of mesh
  regressors are centred on their subject; on other images it means little.
* Time over that of the slicing floor: tome-received +14 % (+13 to +17), tome-centre +15 % (+13 to +16);
  HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD EPYC, from `assets/hamer_methods.jsonl`.

Measured with HaMeR-Thin and all queries on 100 renders (`eval.py --method tome,tome-received,tome-centre
--r off,8x16 --limit 100`), PA-MPVPE mm: `tome` 12.18, `tome-received` 11.33, `tome-centre` 10.99, without
merging 11.12; the paired 95 % intervals against `tome` are -1.60..-0.22 and -1.93..-0.59. WiLoR-Thin on 60:
14.11, 13.17, 13.31, without merging 12.85. HaMeR-Thin at 10x16 on 60: 14.34, 13.09, 13.44. A weight of 0.2
was better than 0.05 and 1. The norm of a token's key gains less at 8x16 (11.65) and loses at 10x16 (14.61),
that of the token itself loses (14.38 at 8x16); both were left out.

Of the queries few are enough. HaMeR-Thin, 200 renders (`--method tome-received:every=1,tome-received`), 8x16
and 10x16: all queries 11.38 and 13.18 mm; every fifth 11.49 and 13.37, intervals -0.11..+0.34 and
-0.40..+0.80; every eighth 11.55 and 13.71. Every fourth, 11.62 (+0.05..+0.45), sees only three of the twelve
columns of the grid: take a number that does not divide its width.

Both act between attention and MLP. At most half of the tokens after the prefix are removed. Everything but
the order of the pairs is ToMe's: the target is still the most similar one, means are weighted by size,
attention is proportional, the grid comes back by copies.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from ..limits import Limit
from ..method_parts.reductions import Merge
from ..method_parts.seen import Seen
from ..plans.matching import halves, match_similar, plan_pairs
from ..plans.plan import MergePlan
from ..plans.sorting import sort_stably
from .tomesd import require_grid

Weight = Annotated[float, Limit(0, 1)]
Every = Annotated[int, Limit(1, 64)]
WEIGHT = 0.2
EVERY = 5


def plan_received(seen: Seen, r: int, weight: Weight = WEIGHT, every: Every = EVERY) -> Merge:
    """The r most similar pairs join, those that receive little attention first.

    Args:
        seen: the block.
        r: tokens to remove.
        weight: weight of the mean rank of the two, relative to their cosine.
        every: of the queries one in so many is counted; 1 counts all.
    """
    received = seen.attention_received(slice(None, None, every))
    return _plan(seen, r, weight, received[:, seen.num_prefix_tokens :])


def plan_centre(seen: Seen, r: int, weight: Weight = WEIGHT) -> Merge:
    """The r most similar pairs join, those far from the centre first.

    Args:
        seen: with the grid of its patches.
        r: tokens to remove.
        weight: weight of the mean rank of the two, relative to their cosine.

    Raises:
        MethodError: the grid is not known, or is not that of the tokens.
    """
    return _plan(seen, r, weight, find_nearness(seen))


@torch.no_grad()
def _plan(seen: Seen, r: int, weight: float, importance: Tensor) -> Merge:
    prefix = seen.num_prefix_tokens
    similarity, target = match_similar(seen.metric, prefix, seen.mask)
    rank = sort_stably(sort_stably(importance, dim=1)[1], dim=1)[1].to(similarity.dtype) / importance.shape[1]
    of_sources, of_targets = halves(torch.nn.functional.pad(rank, (prefix, 0)), prefix)
    score = similarity - weight * (of_sources + of_targets.gather(1, target)) / 2
    return Merge(plan_pairs(score, target, r, seen.shape[1], prefix))


def find_nearness(seen: Seen) -> Tensor:
    """How near each token after the prefix is to the centre of the grid, `[B, n]`; a group is the mean of its
    patches. Rows and columns count alike, from -0.5 at one edge to 0.5 at the other."""
    (batch, num_tokens), prefix, route = seen.shape, seen.num_prefix_tokens, seen.route
    count = (num_tokens if route is None else route.num_tokens) - prefix
    rows, columns = require_grid(seen.grid, count, seen.method)
    patch = torch.arange(count, device=seen.device)
    down, right = (patch // columns + 0.5) / rows - 0.5, (patch % columns + 0.5) / columns - 0.5
    near = -(down.square() + right.square()).expand(batch, -1)
    if not isinstance(route, MergePlan):
        return near
    slots = route.source_map[:, prefix:] - prefix
    empty = near.new_zeros(batch, num_tokens - prefix)
    return empty.scatter_add(1, slots, near) / empty.scatter_add(1, slots, torch.ones_like(near))
