"""Merging along a quadtree of the patch grid: which tokens can merge depends on the grid and the mask alone.

In ToMe every token looks for its partner among half of all others, and those that stay are ordered by score.
So when the picture changes in its last bits, other pairs merge, the next block splits the tokens otherwise,
and predictions jump. Here the grid is halved again and again, by columns and rows in turn, as in a quadtree
(Finkel and Bentley 1974), and only neighbouring halves can merge. Features decide no more than which cells
become coarse first, and another decision stays within its cell. There is no paper; it needs no training.

* Reads keys, averaged over heads, sizes, and the grid. Means are weighted by size, attention is
  proportional.
* Acts between attention and MLP. Any number of tokens can be removed, as long as one is left.
* Each token has one candidate: the first token of the smallest cell that holds an earlier token as well. The
  r of lowest cost join theirs; the cost is `step` times the level of the cell, less the cosine similarity.
* Protected tokens have a tree of their own, whose turn comes when all others have merged into one. Of masks
  with weights there is one tree, and the larger of the weights of two cells is added to the cost.
* The grid comes back by copies.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..method_parts.reductions import Merge
from ..method_parts.seen import Grid, Seen
from ..plans.matching import normalise
from ..plans.ops import take
from ..plans.plan import MergePlan
from ..plans.sorting import sort_stably
from .tomesd import require_grid
from .window import least_of

STEP = 0.1
"""By how much two cells have to be more alike than two of half their size, to merge before them."""


@torch.no_grad()
def plan_quadtree(seen: Seen, r: int, step: float = STEP) -> Merge:
    """The r tokens of lowest cost join the first token of their cell.

    The new order is: prefix, then along a Z curve through the grid, protected tokens last.

    Args:
        seen: with the grid of its patches.
        r: tokens to remove, fewer than those after the prefix.
        step: see `STEP`; if it is large, all pairs merge before any pair of pairs.

    Raises:
        MethodError: the grid is not known, or is not that of the tokens.
    """
    (batch, num_tokens), prefix = seen.shape, seen.num_prefix_tokens
    count = num_tokens - prefix
    code, bits = find_codes(seen)
    mask = None if seen.mask is None else seen.mask[:, prefix:]
    if mask is not None and mask.dtype == torch.bool:  # as one more bit at the front: two trees
        code = code + (mask.to(torch.int64) << bits)
    code, order = sort_stably(code, dim=1)  # [B, n]
    level, parent = find_parents(code, bits + 1)
    unit = take(normalise(seen.metric), order + prefix)
    alike = (unit * take(unit, parent)).sum(2).nan_to_num(nan=-1.0)
    turn = (code >> bits) + (level > bits)  # others, protected ones, the join of both
    cost = level * step - alike + turn * (2.0 + (bits + 2) * step)
    if mask is not None and mask.is_floating_point():
        weight = mask.gather(1, order)
        cost = cost + weight.maximum(weight.gather(1, parent))
    number = torch.arange(count, device=seen.device).expand(batch, -1)
    cost = cost.masked_fill(parent == number, torch.inf)
    rank = torch.empty_like(number).scatter(1, sort_stably(cost, dim=1)[1], number)
    goes = rank < r
    leader = parent.where(goes, number)
    for _ in range((bits + 1).bit_length()):  # a parent may go as well, to one of a higher level
        leader = leader.gather(1, leader)
    slots = ((~goes).cumsum(1) - 1).gather(1, leader) + prefix
    first = torch.arange(prefix, device=seen.device).expand(batch, -1)
    source = torch.cat([first, torch.empty_like(slots).scatter(1, order, slots)], dim=1)
    return Merge(MergePlan(source, num_tokens - r, validate=False))


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


def find_parents(code: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The level of the smallest cell that each code shares with a lower one, and the lowest code in it.

    Args:
        code: rising, `[B, n]` int64 of at most so many bits.
        bits: levels there are.

    Returns:
        Levels from 1 on and positions, each `[B, n]` int64. The first code is its own parent, at level
        bits + 1.
    """
    number = torch.arange(code.shape[1], device=code.device)
    differs = code ^ code.roll(1, dims=1)
    levels = torch.arange(bits + 1, device=code.device)
    begins = (differs.unsqueeze(2) >> levels > 0) | (number == 0)[:, None]  # [B, n, levels]: a cell does here
    first = (number[:, None] * begins).cummax(1).values  # [B, n, levels]: of the cell
    level = begins.sum(2)
    return level, first.gather(2, level.clamp_max(bits).unsqueeze(2)).squeeze(2)
