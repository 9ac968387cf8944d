"""Merging within windows of the patch grid: ToMe's matching among neighbours only.

OpenToMe has such a variant (without a paper; ALGM, arXiv:2406.09936, also merges locally first); this one is
ours. The grid is cut into windows, and a source looks for its target in its own window. Groups never
cross a border while a window has pairs left, so that they stay compact. It needs no training.

* Reads keys, averaged over heads, sizes, and the grid. Means are weighted by size, attention is proportional.
* Acts between attention and MLP. At most half of the tokens after the prefix are removed.
* Windows of 4 x 4 patches; those at the right and lower edge may be smaller. In each window every second
  token is a source. The r most similar pairs of the whole image merge, not as many in each window, so
  uniform areas merge first.
* The grid comes back by copies.
* Time over that of the slicing floor: +9 % (+6 to +18); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD EPYC,
  from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..method_parts.reductions import Merge
from ..method_parts.seen import Grid, Seen
from ..plans.matching import APART, join_best, match_sets, normalise
from ..plans.ops import take
from ..plans.plan import MergePlan
from ..plans.sorting import sort_stably
from .tomesd import require_grid

WINDOW = (4, 4)


def plan_window(seen: Seen, r: int, window: Grid = WINDOW) -> Merge:
    """The r sources most similar to a target of their window join it; other windows' targets come after.

    Args:
        seen: with the grid of its patches.
        r: tokens to remove, at most half of those after the prefix.
        window: rows and columns of a window.

    Raises:
        MethodError: the grid is not known, or is not that of the tokens.
    """
    prefix, metric = seen.num_prefix_tokens, seen.metric
    home = find_windows(seen, window)  # [B, n]
    order = sort_stably(home, dim=1)[1] + prefix
    # Rows of one length, whose products are 4 larger within a window: a window is a direction of its own.
    unit = normalise(metric)
    number = torch.arange(count_windows(seen.grid, window), device=seen.device)
    own = torch.nn.functional.pad((home.unsqueeze(2) == number).to(unit.dtype), (0, 0, prefix, 0))
    compared = torch.cat([unit, APART**0.5 * own], dim=2)
    sources, targets = order[:, ::2], order[:, 1::2]
    mask = seen.mask if seen.mask is None or seen.mask.dtype == torch.bool else seen.mask / (1 + APART)
    score, target = match_sets(compared, sources, targets, mask)
    return Merge(join_best(score, target, r, sources, targets, prefix))


def count_windows(grid: Grid | None, window: Grid) -> int:
    """Windows of a grid."""
    assert grid is not None
    return -(-grid[0] // window[0]) * -(-grid[1] // window[1])


def find_windows(seen: Seen, window: Grid) -> Tensor:
    """The window of every token after the prefix, `[B, n]` int64: that of its first patch."""
    count = (seen.shape[1] if seen.route is None else seen.route.num_tokens) - seen.num_prefix_tokens
    rows, columns = require_grid(seen.grid, count, seen.method)
    patch = torch.arange(rows * columns, device=seen.device)
    across = -(-columns // window[1])
    home = patch // columns // window[0] * across + patch % columns // window[1]
    return take(home.expand(seen.shape[0], -1), least_of(seen, patch))


def least_of(seen: Seen, values: Tensor) -> Tensor:
    """The least of the values of the patches that each token after the prefix stands for, `[B, n]`.

    Args:
        seen: the block.
        values: one for each patch, `[P]` int64.
    """
    (batch, num_tokens), prefix, route = seen.shape, seen.num_prefix_tokens, seen.route
    each = values.expand(batch, -1)
    if not isinstance(route, MergePlan):
        return each
    slots = route.source_map[:, prefix:] - prefix
    least = slots.new_full((batch, num_tokens - prefix), torch.iinfo(slots.dtype).max)
    return least.scatter_reduce(1, slots, each, "amin")
