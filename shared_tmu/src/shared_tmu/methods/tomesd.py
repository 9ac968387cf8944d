"""Token Merging for Stable Diffusion: Bolya and Hoffman 2023, arXiv:2303.17604.

One token in every cell of the patch grid is a destination, all others are sources; attention runs on the
merged tokens, and its result is given back to all tokens immediately. There are no sizes and no proportional
attention. Only attention runs on fewer tokens, which is the default of the original. It needs no training.

It reads the tokens that enter the block, and the grid, and acts around attention; `Around(plan, part="MLP")`
acts around the MLP. Cells of 2 x 2 and a random token of each are the original's defaults; it merges half of
the tokens, `0.5` as a schedule. At most 3/4 of the tokens after the prefix are removed, all but one of every
four; of grids that cells do not divide, the original can remove a few more.

Time over that of the slicing floor: +47 % (+34 to +48); HaMeR-Thin, 144x32, 8 images, 2 thread(s) of AMD
EPYC, from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import MethodError
from ..method_parts.reductions import Merge
from ..method_parts.seen import Grid, Seen
from ..plans.matching import join_best, match_sets
from .random_pairs import hash_integers

CELL = (2, 2)


def plan_tomesd(seen: Seen, r: int, cell: Grid = CELL, is_random: bool = True) -> Merge:
    """The r sources most similar to a destination join it, compared by the tokens that enter the block.

    The partition is the same for every image. The original draws it from a random generator; here a hash of
    the layer and the cell decides, so that a result does not depend on what ran before.

    Args:
        seen: with the grid of its patches.
        r: tokens to remove, at most what `limit_tomesd` says.
        cell: rows and columns of a cell.
        is_random: whether the destination is a random token of the cell, or its first.

    Raises:
        MethodError: the grid is not known, is not that of the tokens, or has no whole cell.
    """
    prefix, count = seen.num_prefix_tokens, seen.shape[1] - seen.num_prefix_tokens
    grid = require_grid(seen.grid, count, seen.method)
    is_target = find_destinations(grid, cell, seen.layer if is_random else None, seen.device)
    num_targets = (grid[0] // cell[0]) * (grid[1] // cell[1])
    if num_targets == 0:
        raise MethodError(
            f"method {seen.method!r} needs at least one whole cell of {cell[0]} x {cell[1]} patches, but the "
            f"grid is {grid[0]} x {grid[1]}: choose a smaller cell, such as tomesd:cell=1x2."
        )
    order = is_target.to(torch.uint8).argsort(stable=True) + prefix  # sources first, both in their order
    sources, targets = order[: count - num_targets], order[count - num_targets :]
    score, target = match_sets(seen.x, sources, targets, seen.mask)
    return Merge(join_best(score, target, r, sources, targets, prefix))


def limit_tomesd(num_tokens: int, num_prefix_tokens: int, cell: Grid = CELL) -> int:
    """All but one of as many tokens after the prefix as a cell has, whatever the grid."""
    free, area = max(num_tokens - num_prefix_tokens, 0), cell[0] * cell[1]
    return free - free // area if free >= area else 0


def require_grid(grid: Grid | None, count: int, method: str) -> Grid:
    """The grid of so many patches.

    Raises:
        MethodError: it is not known, or another one.
    """
    if grid is None:
        raise MethodError(
            f"method {method!r} needs the grid of the {count} patches: pass grid=(rows, columns)."
        )
    if grid[0] * grid[1] != count:
        raise MethodError(
            f"method {method!r} was given a grid of {grid[0]} x {grid[1]} for {count} patches: pass the "
            "grid=(rows, columns) of these pictures."
        )
    return grid


def find_destinations(grid: Grid, cell: Grid, layer: int | None, device: torch.device) -> Tensor:
    """Which patches are destinations, `[P]` bool: one of every whole cell; strips beyond them have none.

    Args:
        grid: rows and columns of patches.
        cell: rows and columns of a cell.
        layer: decides which token of a cell; None for the first.
        device: device of the result.
    """
    rows, columns = grid[0] // cell[0], grid[1] // cell[1]
    number = torch.arange(rows * columns, device=device)
    drawn = torch.zeros_like(number)
    if layer is not None:
        drawn = hash_integers(hash_integers(number + 65536 * layer) + 1) % (cell[0] * cell[1])
    row = number // max(columns, 1) * cell[0] + drawn // cell[1]
    column = number % max(columns, 1) * cell[1] + drawn % cell[1]
    flags = torch.zeros(grid[0] * grid[1], dtype=torch.bool, device=device)
    return flags.index_fill(0, row * grid[1] + column, True)
