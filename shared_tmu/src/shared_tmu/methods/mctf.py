"""MCTF, multi-criteria token fusion: Lee et al. 2024, arXiv:2403.10030.

Similar, unimportant and small tokens fuse first. Half of the r tokens are sources that join a target; then,
with the same scores, targets join some of the sources that are left, and take along what has joined them.

* Reads tokens (the residual stream is compared, not keys), sizes, and the whole attention map, so attention
  runs without a fused kernel. Attention is proportional.
* Acts inside attention: the map is computed from all tokens, then fused with them (one-step-ahead attention)
  instead of being computed again, and values come from the fused tokens. The original has two variants:
  `Inside(plan_mctf, reuses_map=False)` computes it again, `After(plan_mctf)` fuses after the MLP.
* Temperatures 1 (similarity), 20 (importance), 40 (size), both directions, means weighted by importance and
  size. At most half of the tokens after the prefix are removed, and at least 10 tokens are left. The original
  fuses 16 in all blocks but the first, or, as its fast setting, 0.35 of the tokens in blocks 3, 6 and 9 of 0
  to 11.
* Its published numbers come after 30 epochs of training with a consistency loss between two reduced branches;
  without training everything here still applies.
* The grid comes back by copies. (The original's own way ignores the second direction.)
* Time over that of the slicing floor: +21 % (+15 to +24); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD
  EPYC, from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from ..dtypes import sum_dtype
from ..limits import Limit
from ..method_parts.reductions import Planned
from ..method_parts.seen import Seen
from ..plans.matching import halves, lower, normalise, without_autocast
from ..plans.ops import merge, take
from ..plans.plan import MergePlan
from ..plans.sorting import sort_stably
from ..schedule import half

FEWEST = 10
"""Tokens that are left at least."""
LEAST = 1e-18
"""Attention that a token receives at least, for scores: products of two such shares are no 0 in float32."""

Tau = Annotated[float, Limit(0, 1e6)]
Pooling = Literal["info", "size", "mean", "max"]


@dataclass(frozen=True, eq=False)
class Pooled(Planned):
    """The mean of each group by weights of its own; sizes add up.

    Attributes:
        plan: which tokens go where.
        weights: weights of the tokens, `[B, N]`.
    """

    weights: Tensor
    takes_any_rows = True

    def reduce(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor]:
        """`[B, N, C]` to `[B, M, C]`, and sizes."""
        floor = torch.finfo(self.weights.dtype).tiny
        mean, _ = merge(x, self.plan, self.weights.clamp_min(floor))
        return mean, add_sizes(self.plan, size, sum_dtype(x))


class Largest(Planned):
    """The largest value of each group, channel by channel; sizes add up."""

    takes_any_rows = True

    def reduce(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor]:
        """`[B, N, C]` to `[B, M, C]`, and sizes."""
        rows = self.plan.source_map.unsqueeze(2).expand_as(x)
        start = x.new_full((x.shape[0], self.plan.num_slots, x.shape[2]), -torch.inf)
        return start.scatter_reduce(1, rows, x, "amax"), add_sizes(self.plan, size, sum_dtype(x))


def plan_mctf(
    seen: Seen,
    r: int,
    tau_sim: Tau = 1,
    tau_info: Tau = 20,
    tau_size: Tau = 40,
    goes_both_ways: bool = True,
    pooling: Pooling = "info",
) -> Pooled | Largest:
    """Fuse r tokens into similar ones, unimportant and small ones first.

    Args:
        seen: the block, with its attention map.
        r: tokens to remove, see `limit_mctf`.
        tau_sim: temperature of similarity, whose exponent is 1 / tau; 0 switches a criterion off.
        tau_info: temperature of unimportance, one over the attention received.
        tau_size: temperature of smallness, one over the size.
        goes_both_ways: whether half of the tokens go from the targets to the sources.
        pooling: weights of the mean: `info` (attention received times size), `size` or `mean` (equal); or
            `max`, the largest value.
    """
    received = seen.attention.mean((1, 2), dtype=sum_dtype(seen.x))  # [B, N]
    size = torch.ones_like(received) if seen.size is None else seen.size.to(received.dtype)
    taus = tau_sim, tau_info, tau_size
    score = score_pairs(seen.x.detach(), received.detach(), size, taus, seen.num_prefix_tokens)
    if seen.mask is not None:
        mask = seen.mask if seen.mask.dtype == torch.bool else seen.mask / 2  # cosines are halved, too
        score = lower(score, *halves(mask, seen.num_prefix_tokens))
    plan = fuse_both_ways(score, r, seen.shape[1], seen.num_prefix_tokens, goes_both_ways)
    if pooling == "max":
        return Largest(plan)
    if pooling == "info":
        return Pooled(plan, received * size / size.amax(1, keepdim=True))
    return Pooled(plan, size if pooling == "size" else torch.ones_like(size))


@torch.no_grad()
def score_pairs(
    x: Tensor, received: Tensor, size: Tensor, taus: tuple[float, float, float], num_prefix_tokens: int
) -> Tensor:
    """How much every source wants to fuse with every target, `[B, A, T]`, 0 to 1.

    Args:
        x: tokens, `[B, N, C]`.
        received: attention that each gets, `[B, N]`.
        size: `[B, N]`.
        taus: temperatures of similarity, unimportance and smallness.
        num_prefix_tokens: tokens at the front that are neither source nor target.
    """
    with without_autocast(x.device):
        a, b = halves(normalise(x), num_prefix_tokens)
        score = a @ b.mT
    score = ((score + 1) / 2) ** (1 / taus[0]) if taus[0] else torch.ones_like(score)
    # in half precision a token may receive none at all
    for criterion, tau in ((1 / received.clamp_min(LEAST), taus[1]), (1 / size, taus[2])):
        if tau:
            share = criterion / criterion.amax(1, keepdim=True)
            a, b = halves(share, num_prefix_tokens)
            score = score * (a.unsqueeze(2) * b.unsqueeze(1)) ** (1 / tau)
    return score


@torch.no_grad()
def fuse_both_ways(
    score: Tensor, r: int, num_tokens: int, num_prefix_tokens: int = 0, goes_both_ways: bool = True
) -> MergePlan:
    """Join half of r sources to targets, then the other half from the targets to sources that are left.

    The new order is: prefix, sources that stay (in the order they had with a class token, else in descending
    order of score), targets that stay, in descending order of their second score.

    Args:
        score: score of all pairs, `[B, A, T]`.
        r: tokens to remove.
        num_tokens: N, prefix included.
        num_prefix_tokens: tokens at the front.
        goes_both_ways: if not, all r are sources, and targets stay in order.
    """
    (batch, _, num_targets), prefix = score.shape, num_prefix_tokens
    first = r // 2 if goes_both_ways else r
    position = torch.arange(num_tokens, device=score.device).expand(batch, -1)
    even, odd = halves(position, prefix)
    best, target = score.max(dim=2)
    order = sort_stably(best, dim=1, descending=True)[1]
    joins, stays = order[:, :first], order[:, first:]
    if prefix in (1, 2):
        stays = stays.sort(dim=1).values
    left = torch.arange(num_targets, device=score.device).expand(batch, -1)
    lead_odd = odd
    if goes_both_ways:
        best_back, back = take(score, stays).max(dim=1)  # [B, T]
        order = sort_stably(best_back, dim=1, descending=True)[1]
        moves, left = order[:, : r - first], order[:, r - first :]
        lead_odd = odd.scatter(1, moves, even.gather(1, stays.gather(1, back.gather(1, moves))))
    lead_even = even.scatter(1, joins, lead_odd.gather(1, target.gather(1, joins)))
    leader = position.scatter(1, even, lead_even).scatter(1, odd, lead_odd)
    slots = torch.cat([position[:, :prefix], even.gather(1, stays), odd.gather(1, left)], dim=1)
    number = torch.zeros_like(position).scatter(1, slots, position[:, : num_tokens - r])
    return MergePlan(number.gather(1, leader), num_tokens - r, validate=False)


def add_sizes(plan: MergePlan, size: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Sizes of the slots, `[B, M]`, from those of the tokens; None for ones."""
    ones = torch.ones(plan.source_map.shape, dtype=dtype, device=plan.source_map.device)
    total = ones.new_zeros(plan.batch_size, plan.num_slots)
    return total.scatter_add(1, plan.source_map, ones if size is None else size.to(dtype))


def limit_mctf(num_tokens: int, num_prefix_tokens: int) -> int:
    """Half of the tokens after the prefix, and no fewer than 10 tokens are left."""
    return max(min(half(num_tokens, num_prefix_tokens), num_tokens - FEWEST), 0)
