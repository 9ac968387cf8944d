"""Uniform pooling: neighbours in the patch grid are averaged, whatever they show. A control.

What a method gains over it comes from its choice of tokens; `random` chooses badly on purpose, this one as
well as can be done without looking.

* Reads sizes and, where it is known, the grid (else tokens count as a row). Means are weighted by size,
  attention is proportional, so that `tome` differs in nothing but the choice.
* Acts between attention and MLP. Any number of tokens can be removed, as long as one is left.
* Tokens are ordered along a Z curve through the grid, in which pairs, squares of 2 x 2, and so on follow each
  other. Pairs merge first, spread evenly over the curve, then pairs of pairs.
* The grid comes back by copies.
* Time over that of the slicing floor: +24 % (+23 to +30); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD
  EPYC, from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..method_parts.reductions import Merge
from ..method_parts.seen import Grid, Seen
from ..plans.plan import MergePlan
from ..plans.sorting import sort_stably
from .tomesd import require_grid


@torch.no_grad()
def plan_pool(seen: Seen, r: int) -> Merge:
    """Average neighbours, until r fewer tokens are left.

    Protected tokens are left out of the curve. When all others have merged into one, they join it, those at
    the end of the curve first.

    Raises:
        MethodError: the grid is known, and is not that of the tokens.
    """
    (batch, num_tokens), prefix, route = seen.shape, seen.num_prefix_tokens, seen.route
    count = (num_tokens if route is None else route.num_tokens) - prefix
    device, images = seen.device, 1 if seen.protected is None else batch
    if isinstance(route, MergePlan):
        slot = route.source_map[:images, prefix:] - prefix  # [B, n]; of the first tokens
    else:
        slot = torch.arange(count, device=device).expand(images, -1)
    is_spared = torch.zeros(images, num_tokens - prefix, dtype=torch.bool, device=device)
    if seen.protected is not None:
        is_spared = seen.protected[:, prefix:]
    grid = None if seen.grid is None else require_grid(seen.grid, count, seen.method)
    leader = _lead(_place(count, grid, device), slot, is_spared, r)
    leads = torch.zeros_like(leader).scatter(1, leader, 1)
    new = (leads.cumsum(1) - 1).gather(1, leader) + prefix
    of_slots = new.new_zeros(images, num_tokens - prefix).scatter(1, slot, new)
    first = torch.arange(prefix, device=device).expand(images, -1)
    source = torch.cat([first, of_slots], dim=1).expand(batch, -1)
    return Merge(MergePlan(source.contiguous(), num_tokens - r, validate=False))


def _lead(place: Tensor, slot: Tensor, is_spared: Tensor, r: int) -> Tensor:
    """The position, in a sequence of its own per image, of the token that leads each token's group, `[B, n]`.

    Args:
        place: places of the tokens along the curve, `[n]`.
        slot: that now carries each, `[B, n]`.
        is_spared: which slots are protected, `[B, M]`.
        r: slots to remove.
    """
    count, spared = place.shape[0], is_spared.gather(1, slot)  # [B, n]
    # free tokens in the order of the curve, then protected ones
    position = sort_stably(place + count * spared, dim=1)[1].argsort(dim=1)
    free = (~spared).sum(1, keepdim=True)
    gone = free - (~is_spared).sum(1, keepdim=True)
    wanted = gone + r
    merges = wanted.minimum((free - 1).clamp_min(0))
    leader = fold(position, free, merges)
    # A protected slot is led by its first token; the last ones join the first token of all.
    first = position.new_full(is_spared.shape, count).scatter_reduce(1, slot, position, "amin")
    rank = first.masked_fill(~is_spared, -1).argsort(dim=1, descending=True).argsort(dim=1)
    first = first.masked_fill(is_spared & (rank < wanted - merges), 0)
    return leader.where(~spared, first.gather(1, slot))


def _place(count: int, grid: Grid | None, device: torch.device) -> Tensor:
    """Where each patch comes along a Z curve, `[n]`."""
    patch = torch.arange(count, device=device)
    if grid is None:
        return patch
    row, column, code = patch // grid[1], patch % grid[1], torch.zeros_like(patch)
    for bit in range(max(grid).bit_length()):
        code = code | ((row >> bit) & 1) << (2 * bit + 1) | ((column >> bit) & 1) << (2 * bit)
    return code.argsort().argsort()


def fold(position: Tensor, count: Tensor, merges: Tensor) -> Tensor:
    """Merge neighbours in a sequence, then neighbours of those, and so on, until enough have merged.

    Args:
        position: position of each token, `[B, n]`.
        count: tokens that take part, those at the first positions, `[B, 1]`.
        merges: how many, `[B, 1]`, fewer than `count`. More merges keep what fewer have merged.

    Returns:
        Position of the first token of each one's group, `[B, n]`.
    """
    leader, nodes, step = position, count, 2
    number = torch.arange(position.shape[1], device=position.device)
    while step < 2 * position.shape[1]:
        pairs = nodes // 2
        is_done = _spread(number, pairs) < merges.minimum(pairs)
        node = position // step
        joins = is_done.gather(1, node) & (node < pairs)
        leader = torch.where(joins, node * step, leader)
        merges, nodes, step = (merges - pairs).clamp_min(0), (nodes + 1) // 2, 2 * step
    return leader


def _spread(number: Tensor, pairs: Tensor) -> Tensor:
    """The turn of each of the first `pairs` numbers, `[B, n]`, such that the first few lie far apart."""
    turned, width = torch.zeros_like(number), number.shape[0].bit_length()
    for bit in range(width):
        turned = turned | ((number >> bit) & 1) << (width - 1 - bit)
    key = turned.where(number < pairs, 2**width)
    return key.argsort(dim=1, stable=True).argsort(dim=1)
