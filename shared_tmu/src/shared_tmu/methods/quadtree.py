"""Merging along a quadtree of the patch grid: similar tokens merge, but near ones before far ones.

In ToMe every second token looks for its partner among all others alike, and those that stay are ordered by
score. So when the picture changes in its last bits, other pairs merge, the next block divides the tokens
differently, and predictions jump. Here the order of tokens is that of the grid, and the grid is halved again
and again, by columns and rows in turn, as in a quadtree (Finkel and Bentley 1974): the larger the smallest
cell that two tokens share, the more alike they have to be. Then few decisions depend on small differences.
There is no paper; it needs no training.

* Reads keys, averaged over heads, sizes, and the grid. Means are weighted by size, attention is
  proportional.
* Acts between attention and MLP. Any number of tokens can be removed, as long as one is left.
* A token may join any that comes before it on a Z curve through the grid. The cost is `step` for each level
  of the cell that they share, `reach` at most, less their cosine similarity, plus the larger weight of the
  mask. The r tokens of lowest cost join.
* Without weights, protected tokens join each other when all others have merged into one.
* The grid comes back by copies.
* Time over that of the slicing floor: +25 % (+24 to +29); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD
  EPYC, from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from ..limits import Limit
from ..method_parts.reductions import Merge
from ..method_parts.seen import Grid, Seen
from ..plans.matching import APART, MAX_SCORES, normalise, without_autocast
from ..plans.plan import MergePlan
from ..plans.sorting import sort_stably
from .tomesd import require_grid
from .window import least_of

STEP = 0.1
"""By how much two cells have to be more alike than two of half their size, to merge before them."""
REACH = 0.4
"""The most that distance counts: from squares of 4 x 4 patches on, similarity alone decides."""

Cost = Annotated[float, Limit(0, 1e6)]


@torch.no_grad()
def plan_quadtree(seen: Seen, r: int, step: Cost = STEP, reach: Cost = REACH) -> Merge:
    """The r tokens of lowest cost join one that comes before them.

    Args:
        seen: with the grid of its patches.
        r: tokens to remove, fewer than those after the prefix.
        step: see `STEP`.
        reach: see `REACH`.

    Raises:
        MethodError: the grid is not known, or is not that of the tokens.
    """
    (batch, num_tokens), prefix = seen.shape, seen.num_prefix_tokens
    count = num_tokens - prefix
    code, bits = find_codes(seen)
    unit = normalise(seen.metric)[:, prefix:]
    mask = None if seen.mask is None else seen.mask[:, prefix:]
    levels = min(bits, math.ceil(min(reach / step, bits))) if step > 0 else 0

    def find(some: slice) -> tuple[Tensor, Tensor]:
        cost = (_apart(code[some], levels) * step).clamp_max(reach)  # [b, n, n]
        cost = cost - (unit[some] @ unit[some].mT).nan_to_num(nan=-1.0)
        if mask is not None:
            cost = cost + _dearer(mask[some], 2 * APART + 2 * reach)
        comes_after = code[some].unsqueeze(1) >= code[some].unsqueeze(2)
        best = cost.masked_fill(comes_after, torch.inf).min(dim=2)
        return best.values, best.indices

    with without_autocast(seen.device):
        images = max(1, MAX_SCORES // max(1, count * count))
        if images >= batch:
            cost, target = find(slice(None))
        else:
            parts = [find(slice(first, first + images)) for first in range(0, batch, images)]
            cost, target = (torch.cat(of_parts) for of_parts in zip(*parts, strict=True))  # [B, n]
    number = torch.arange(count, device=seen.device).expand(batch, -1)
    rank = torch.empty_like(number).scatter(1, sort_stably(cost, dim=1)[1], number)
    goes = rank < r
    leader = target.where(goes, number)
    for _ in range(count.bit_length()):  # a target may go as well, to one before it
        leader = leader.gather(1, leader)
    slots = ((~goes).cumsum(1) - 1).gather(1, leader) + prefix
    kept = torch.arange(prefix, device=seen.device).expand(batch, -1)
    return Merge(MergePlan(torch.cat([kept, slots], dim=1), num_tokens - r, validate=False))


def _apart(code: Tensor, levels: int) -> Tensor:
    """The level of the smallest cell that two codes share, `[B, n, n]`; that or more if it is `levels`."""
    differs = code.unsqueeze(2) ^ code.unsqueeze(1)
    level = torch.zeros_like(differs, dtype=torch.uint8)
    for bit in range(levels):
        level = level + (differs >= 2**bit)
    return level


def _dearer(mask: Tensor, large: float) -> Tensor:
    """What a mask `[B, n]` adds to the costs of pairs, `[B, n, n]`: the larger weight, but at most `large`;
    or, of flags, so much that protected tokens come after all others, and pairs of a protected token and
    another one last."""
    one, other = mask.unsqueeze(2), mask.unsqueeze(1)
    if mask.dtype == torch.bool:
        return ((one | other).to(torch.float32) + (one ^ other)) * large
    return one.maximum(other).clamp_max(large)


def find_codes(seen: Seen) -> tuple[Tensor, int]:
    """The place of every token after the prefix on a Z curve, `[B, n]` int64, and how many bits it has.

    It is that of its first patch on the curve. The bits of column and row alternate, so that codes which
    agree but for their last k bits are in one cell of level k.

    Raises:
        MethodError: the grid is not known, or is not that of the tokens.
    """
    count = (seen.shape[1] if seen.route is None else seen.route.num_tokens) - seen.num_prefix_tokens
    code, bits = z_curve(require_grid(seen.grid, count, seen.method), seen.device)
    return least_of(seen, code), bits


def z_curve(grid: Grid, device: torch.device) -> tuple[Tensor, int]:
    """Codes of the patches of a grid, `[P]` int64, row by row, and how many bits they have."""
    rows, columns = grid
    patch = torch.arange(rows * columns, device=device)
    row, column, code = patch // columns, patch % columns, torch.zeros_like(patch)
    width = (max(grid) - 1).bit_length()
    for bit in range(width):
        code = code | ((row >> bit) & 1) << (2 * bit + 1) | ((column >> bit) & 1) << (2 * bit)
    return code, 2 * width
