"""FPET: one checkerboard half of the patches merges into the other. Kim et al. 2025, arXiv:2503.20282.

Every patch whose row and column are both even or both odd joins the most similar of the other patches.

* Reads keys, averaged over heads and without gradient, sizes, and the grid. Attention is proportional.
* Acts between attention and MLP, in the paper once, in block 6 of 0 to 11: `0x6+99x1`. At most half of the
  tokens after the prefix are removed, rounded up; asked for fewer, the most similar pairs merge. The original
  takes square grids only; here the rows and columns of the patches count, so 16x12 works. Blocks after the
  first merge, where no grid is left, take every second token.
* Learned: an adapter per block that refines the keys, with a residual: down to 32, ReLU, up, both matrices
  of 1 bit (their mean plus or minus 0.6745 deviations). Training chooses hard, with the gradient of a
  sigmoid around the middle of the two best similarities; in the paper together with LoRA or AdaptFormer.
* Untrained, the second matrix is 0, and the keys stay as they are.
* The grid comes back by copies. The order of slots is prefix, (odd, even) patches, (even, odd) patches.
* Time over that of the slicing floor: +13 % (+9 to +14); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD EPYC,
  from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..blocks.parts import Block
from ..method_parts.reductions import Merge, Planned
from ..method_parts.relaxed import LearnedLayers, head_width, through
from ..method_parts.seen import Grid, Seen
from ..plans.matching import join_best, match_sets
from ..plans.ops import merge
from ..plans.plan import MergePlan
from .tomesd import require_grid

HIDDEN = 32
SPREAD = 0.6744897501960817  # half of a normal distribution is within so many deviations


@dataclass(frozen=True, eq=False)
class Joined(Planned):
    """A mean weighted by size, whose choice of pairs has gradients.

    Attributes:
        plan: which tokens go where.
        choice: which source joins which target, `[B, A, T]`: 0 or 1, with the gradient of a sigmoid.
        sources, targets: positions of both, `[A]` and `[T]`.
    """

    choice: Tensor
    sources: Tensor
    targets: Tensor

    def reduce(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor]:
        """The values of `merge`; the choice's gradient comes from the paper's formula."""
        hard, total = merge(x, self.plan, size)
        weight = torch.ones(x.shape[:2], dtype=total.dtype, device=x.device) if size is None else size
        rows, weight = x.detach().to(total.dtype), weight.detach().to(total.dtype)
        of_a, of_b = weight[:, self.sources], weight[:, self.targets]
        soft_total = of_b + (self.choice * of_a.unsqueeze(2)).sum(1)
        sums = rows[:, self.targets] * of_b.unsqueeze(2)
        sums = sums + self.choice.mT @ (rows[:, self.sources] * of_a.unsqueeze(2))
        soft = sums / soft_total.unsqueeze(2)
        first = hard.shape[1] - len(self.targets)
        slots = torch.arange(first, hard.shape[1], device=x.device)
        hard = hard.index_add(1, slots, (soft - soft.detach()).to(hard.dtype))
        return hard, total.index_add(1, slots, soft_total - soft_total.detach())


def plan_fpet(seen: Seen, r: int) -> Merge | Joined:
    """Patches of one colour of the checkerboard join the most similar of the other colour.

    Raises:
        MethodError: nothing has merged yet, and the grid is not known, or is not that of the tokens.
    """
    prefix, count = seen.num_prefix_tokens, seen.shape[1]
    grid = require_grid(seen.grid, count - prefix, seen.method) if seen.route is None else None
    sources, targets = split_board(grid, count, prefix, seen.device)
    metric = seen.read_learned(Refinements).layers[seen.layer](seen.metric)
    score, target = match_sets(metric.detach(), sources, targets, seen.mask)
    plan = join_best(score, target, r, sources, targets, prefix)
    if not (torch.is_grad_enabled() and metric.requires_grad):
        return Merge(plan)
    return Joined(plan, soften(metric, plan, sources, targets), sources, targets)


def split_board(
    grid: Grid | None, num_tokens: int, prefix: int, device: torch.device, has_last: bool = False
) -> tuple[Tensor, Tensor]:
    """Positions of sources and targets, in the paper's order.

    Args:
        grid: rows and columns of the patches; None if tokens have merged, so that every second is a source.
        num_tokens: N.
        prefix: tokens at the front that are neither.
        device: of the positions.
        has_last: whether a distillation token, which is a target, follows the patches.
    """
    position = torch.arange(prefix, num_tokens, device=device)
    if grid is None:
        return position[0::2], position[1::2]
    rows, columns = grid
    board = position[: rows * columns].view(rows, columns)
    sources = torch.cat([board[0::2, 0::2].flatten(), board[1::2, 1::2].flatten()])
    targets = [board[1::2, 0::2].flatten(), board[0::2, 1::2].flatten(), position[rows * columns :]]
    return sources, torch.cat(targets)


def soften(metric: Tensor, plan: MergePlan, sources: Tensor, targets: Tensor) -> Tensor:
    """Which source joins which target, `[B, A, T]`: 0 or 1, with the gradient of a sigmoid."""
    unit = nn.functional.normalize(metric, dim=-1)
    scores = unit[:, sources] @ unit[:, targets].mT
    middle = scores.topk(min(2, len(targets)), dim=2).values.mean(2, keepdim=True)
    slot_of_source, slot_of_target = plan.source_map[:, sources], plan.source_map[:, targets]
    joins = slot_of_source.unsqueeze(2) == slot_of_target.unsqueeze(1)
    return through(joins.to(scores.dtype), torch.sigmoid(scores - middle))


class Refinement(nn.Module):
    """Keys with a learned residual, `[B, N, D]`.

    Args:
        width: D.
        hidden: numbers in between.
        is_binary: whether matrices have 1 bit.
    """

    def __init__(self, width: int, hidden: int = HIDDEN, is_binary: bool = True) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)
        nn.init.zeros_(self.up.weight)
        self.is_binary = is_binary

    def forward(self, metric: Tensor) -> Tensor:
        """The refined metric, in its dtype."""
        down, up = (
            (to_bits(part.weight) if self.is_binary else part.weight).to(metric.dtype)
            for part in (self.down, self.up)
        )
        return metric + nn.functional.linear(nn.functional.linear(metric, down).relu(), up)


def to_bits(weight: Tensor) -> Tensor:
    """Every number becomes the mean plus or minus 0.6745 deviations; gradients pass unchanged."""
    wide = weight.float()
    mean, spread = wide.mean(), wide.std()
    hard = torch.where(wide > mean, mean + SPREAD * spread, mean - SPREAD * spread)
    return through(hard, wide).to(weight.dtype)


class Refinements(LearnedLayers):
    """An adapter per block."""

    lr = 1e-3


def learn_fpet(blocks: Sequence[Block]) -> Refinements:
    """Adapters that change nothing yet."""
    return Refinements([Refinement(head_width(block)) for block in blocks])


def limit_fpet(num_tokens: int, num_prefix_tokens: int) -> int:
    """One colour of the checkerboard, half of the tokens after the prefix, rounded up."""
    free = num_tokens - num_prefix_tokens
    return (free + 1) // 2 if free >= 2 else 0
