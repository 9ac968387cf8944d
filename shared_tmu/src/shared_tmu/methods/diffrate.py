"""DiffRate: prune, then merge, by one order of importance. Chen et al. 2023, arXiv:2305.17997.

Tokens are sorted by importance. The least important ones are pruned; the next ones join the most similar of
those that stay. How many go in each block, and how many of them are pruned, is what it learns.

* Reads tokens, sizes, and rows of the attention map: importance is the attention of the class token, or,
  where task tokens are the prefix, of these; without a prefix, which the paper does not have, of all
  tokens.
* Acts between attention and MLP. Any number of tokens can be removed, as long as one is left. Attention is
  proportional. A merged token adds its size times its similarity; means are plain.
* Of r tokens 3/8 are pruned, as in the paper's counts for DeiT-S at 2.9 GFLOPs, unless the option `pruned`
  or a learned file says otherwise. Untrained, r comes from the schedule; `Schedule.keeping(counts, 197)`
  reads published counts, which include the class token.
* Learned: the counts of every block, by softmax over 48 candidates for each of both steps, under the task's
  loss and one on FLOPs, with frozen weights, in the paper in 3 epochs. `Rates.learned_schedule` turns the
  counts into a schedule, which is kept in the file (`--r learned`), and keeps the shares that are pruned,
  which serve other schedules as well.
* Merged tokens get their group's feature back, a pruned one that of the kept token most similar to it.
* A size that negative similarities make 0 or less, for which the original has no number, counts as 1e-6.
* Time over that of the slicing floor: +37 % (+32 to +39); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD
  EPYC, from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from ..blocks import halves
from ..blocks.parts import Block
from ..dtypes import sum_dtype
from ..flops import TrunkShape, Work, cost_of
from ..limits import Limit
from ..method_parts.reductions import Planned
from ..method_parts.relaxed import Learned, Relaxed, best_targets, silent_attention, through
from ..method_parts.seen import Seen
from ..plans.matching import match_sets
from ..plans.ops import merge, take
from ..plans.plan import MergePlan
from ..schedule import Schedule, all_but_one

PRUNED = 0.375
CANDIDATES = 48
_LARGEST = 2.0**40
SMALLEST = 1e-6
"""The least size, which silences a token in proportional attention."""


@dataclass(frozen=True, eq=False)
class PrunedMerge(Planned):
    """Plain means of groups, some tokens dropped; sizes add up by their weights.

    Attributes:
        plan: which tokens go where.
        weights: factor on each token's size, `[B, N]`: 1, or its similarity to the token that it joins.
    """

    weights: Tensor

    def reduce(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor]:
        """`[B, N, C]` to `[B, M, C]`, and sizes."""
        mean, _ = merge(x, self.plan)
        source = self.plan.source_map
        added = (self.weights if size is None else size * self.weights).where(source >= 0, 0.0)
        total = added.new_zeros(added.shape[0], self.plan.num_slots)
        return mean, total.scatter_add(1, source.clamp_min(0), added).clamp_min(SMALLEST)


def plan_diffrate(seen: Seen, r: int, pruned: Annotated[float, Limit(0, 1)] | None = None) -> PrunedMerge:
    """Prune some of the r least important tokens, the least important of them; the others merge.

    Args:
        seen: the block.
        r: tokens to remove.
        pruned: share of them that is pruned, rounded; None as learned.
    """
    prefix = seen.num_prefix_tokens
    if pruned is None:
        share = seen.read_learned(Rates).pruned[seen.layer].detach().float()
    else:
        share = torch.full((), pruned, device=seen.device)
    received = seen.attention_received(slice(0, prefix) if prefix else slice(None))
    num_pruned = (share * r).round().long()
    return prune_then_merge(seen, order_by(received[:, prefix:], seen), r, num_pruned)


@torch.no_grad()
def order_by(importance: Tensor, seen: Seen) -> Tensor:
    """Positions of all tokens `[B, N]`: prefix, protected ones, others, the latter two by importance `[B,
    N - T]`."""
    prefix, batch = seen.num_prefix_tokens, seen.shape[0]
    order = importance.sort(dim=1, descending=True, stable=True).indices
    if seen.protected is not None:
        flags = seen.protected[:, prefix:].gather(1, order).to(torch.uint8)
        order = order.gather(1, flags.sort(dim=1, descending=True, stable=True).indices)
    first = torch.arange(prefix, device=order.device).expand(batch, -1)
    return torch.cat([first, order + prefix], dim=1)


def prune_then_merge(seen: Seen, order: Tensor, r: int, num_pruned: Tensor | int) -> PrunedMerge:
    """Remove the last r tokens of an order `[B, N]`, of which the last `num_pruned` are dropped."""
    (batch, num_tokens), prefix, x = seen.shape, seen.num_prefix_tokens, seen.x
    num_slots = num_tokens - r
    targets, sources = order[:, prefix:num_slots], order[:, num_slots:]
    _, best = match_sets(x.detach(), sources, targets, seen.mask)  # [B, R]
    is_merged = torch.arange(r, device=x.device).expand(batch, -1) < r - num_pruned
    slots = torch.arange(num_slots, device=x.device).expand(batch, -1)
    copies = torch.empty_like(order).scatter(1, order[:, :num_slots], slots)
    copies = copies.scatter(1, sources, best + prefix)
    source = copies.scatter(1, sources, (best + prefix).where(is_merged, -1))
    plan = MergePlan(source, num_slots, validate=False, copy_map=copies)
    rows, onto = take(x, sources), take(x, targets.gather(1, best))
    dtype = sum_dtype(x)
    similarity = nn.functional.cosine_similarity(rows.to(dtype), onto.to(dtype), dim=-1)
    weights = torch.ones(batch, num_tokens, dtype=dtype, device=x.device)
    return PrunedMerge(plan, weights.scatter(1, sources, similarity))


def choose_kept(logits: Tensor, candidates: Tensor, num_prefix_tokens: int = 1) -> Tensor:
    """The number of tokens to keep: the mean candidate, rounded up, and the prefix; with the mean's gradient.

    Args:
        logits: `[K]`.
        candidates: numbers of patch tokens, `[K]`.
        num_prefix_tokens: T.
    """
    mean = (logits.softmax(-1) * candidates).sum(-1)
    return through(mean.ceil(), mean) + num_prefix_tokens


def keep_chances(logits: Tensor, candidates: Tensor, positions: Tensor) -> Tensor:
    """How likely the token at each position of the order is kept, `[N]`; positions start after the prefix."""
    return (logits.softmax(-1) * (candidates > positions.unsqueeze(1))).sum(-1)


def mask_by(logits: Tensor, candidates: Tensor, num_tokens: int, left: int, prefix: int) -> Tensor:
    """1 for kept tokens and for those removed before, 0 for the others, `[N]`, with the chances' gradient."""
    position = torch.arange(num_tokens, device=logits.device)
    kept = choose_kept(logits, candidates, prefix)
    chances = keep_chances(logits, candidates, position - prefix)
    return through(1 - ((position >= kept) & (position < left)).to(chances.dtype), chances)


class Rates(Learned):
    """What DiffRate learns: the share of removed tokens that is pruned in every block, and, while it is
    trained, logits for the numbers to keep.

    Args:
        depth: blocks.
    """

    relaxes = True
    lr = 0.05
    flops_weight = (
        100.0  # 5 for GFLOPs in the paper; DeiT-S, its smallest but one, has 4.6, and 5 * 4.6^2 is 106
    )
    scaffold = frozenset(("logits",))

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.pruned = nn.Parameter(torch.full((depth,), PRUNED), requires_grad=False)
        self.logits: nn.Parameter | None = None

    def begin(self, schedule: Schedule, num_tokens: int, num_prefix_tokens: int) -> None:
        """Logits from which the schedule's counts follow, spread over neighbouring candidates."""
        counts = schedule.token_counts(len(self.pruned), num_tokens, num_prefix_tokens, all_but_one)
        kept = torch.tensor(counts, dtype=torch.float32) - num_prefix_tokens
        merge_to, before = kept[1:], kept[:-1]
        prune_to = before - (before - merge_to) * self.pruned.detach().cpu()
        share = torch.arange(1, CANDIDATES + 1) / CANDIDATES * kept[0]
        width = kept[0] * 2 / CANDIDATES
        start = -(((torch.stack([prune_to, merge_to], 1).unsqueeze(2) - share) / width) ** 2) / 2
        self.logits = nn.Parameter(start.to(self.pruned.device))  # [L, 2, K]

    def candidates(self, num_patches: int) -> Tensor:
        """Numbers of patch tokens that may be kept, `[K]`."""
        assert self.logits is not None
        steps = torch.arange(1, CANDIDATES + 1, device=self.logits.device, dtype=self.logits.dtype)
        return steps / CANDIDATES * num_patches

    def relax(self, block: Block, relaxed: Relaxed, layer: int, r: Any) -> None:
        """See `Learned`; tokens are silenced by masks, whose gradient is the chance to be kept."""
        assert self.logits is not None
        prefix, num_tokens = relaxed.num_prefix_tokens, relaxed.tokens.shape[1]
        entering = relaxed.mask.mean()
        x, weights = silent_attention(block, relaxed.tokens, relaxed.sizes, relaxed.mask, 1e-6)
        relaxed.tokens = x
        relaxed.reorder(_order_of(weights, relaxed))
        x, candidates = relaxed.tokens, self.candidates(num_tokens - prefix)
        prune, combine = (
            mask_by(logits, candidates, num_tokens, relaxed.left, prefix) for logits in self.logits[layer]
        )
        before = relaxed.mask
        relaxed.mask = before * prune * combine
        stays = relaxed.mask.detach() > 0.5
        is_patch = torch.arange(num_tokens, device=x.device) >= prefix
        similarity, target = best_targets(x, stays & is_patch)
        merges = (before.detach() > 0.5) & (prune.detach() > 0.5) & ~stays
        relaxed.tokens = _mean_with(x, merges, target)
        joins = (relaxed.sizes * similarity.clamp_max(1)).where(merges, 0.0)
        relaxed.sizes = relaxed.sizes.scatter_add(1, target, joins).clamp_min(SMALLEST)
        relaxed.hand_over(relaxed.mask.where(before.detach() > 0.5, 0.0), target)
        relaxed.left = int(stays[0].sum())
        relaxed.shares = (*relaxed.shares, (entering, relaxed.mask.mean()))
        relaxed.tokens = halves.mlp_half(block, relaxed.tokens)

    def learned_schedule(self, schedule: Schedule, shape: TrunkShape) -> Schedule | None:
        """The counts, and in `pruned` the shares that belong to them.

        All removed numbers are scaled by one factor, so that the FLOPs are at most those of the given
        schedule, and next to them.
        """
        if self.logits is None:
            return None
        patches = shape.num_tokens - shape.num_prefix_tokens
        with torch.no_grad():
            kept = (self.logits.softmax(-1) * self.candidates(patches)).sum(-1).double().cpu()  # [L, 2]
        gone = patches - kept.flatten().cummin(0).values.view_as(kept)
        counts = schedule.token_counts(len(kept), shape.num_tokens, shape.num_prefix_tokens, all_but_one)
        most = _count_flops(counts, shape)
        low, high = 0.0, 1.0
        while high < _LARGEST and _count_flops(_scale(gone[:, 1], high, shape), shape) > most:
            low, high = high, 2 * high
        for _ in range(50):
            middle = (low + high) / 2
            is_enough = _count_flops(_scale(gone[:, 1], middle, shape), shape) <= most
            low, high = (low, middle) if is_enough else (middle, high)
        left = torch.tensor(_scale(gone[:, 1], high, shape))
        removed = left[:-1] - left[1:]
        asked = (gone - torch.cat([gone.new_zeros(1), gone[:-1, 1]]).unsqueeze(1)).clamp_min(0)
        shares = (asked[:, 0] / asked[:, 1].clamp_min(1e-6)).clamp(0, 1).where(removed > 0, PRUNED)
        self.pruned.data.copy_(shares)
        return Schedule.parse(removed.tolist())


def _scale(gone: Tensor, factor: float, shape: TrunkShape) -> list[int]:
    """Tokens before the first block and after each, if `factor` times `gone` `[L]` of the first patches are
    gone after it."""
    most = shape.num_tokens - shape.num_prefix_tokens - 1
    numbers = (gone * factor).round().clamp(0, most).long().tolist()
    return [shape.num_tokens, *(shape.num_tokens - number for number in numbers)]


def _count_flops(counts: Sequence[int], shape: TrunkShape) -> int:
    """FLOPs of all blocks, for tokens before the first and after each."""
    return sum(cost_of(Work.of(n, m), n, m, shape).flops for n, m in pairwise(counts))


def _order_of(weights: Tensor, relaxed: Relaxed) -> Tensor:
    """Prefix, tokens that are left by descending importance, removed ones: `[B, N]`."""
    prefix, is_left = relaxed.num_prefix_tokens, relaxed.mask.detach() > 0.5
    rows = weights.detach().mean(1)
    if prefix:
        received = rows[:, :prefix].mean(1)
    else:
        received = (rows * is_left.unsqueeze(2)).sum(1) / is_left.sum(1, keepdim=True)
    rank = received.where(is_left, -1.0)
    rank[:, :prefix] = torch.inf
    return rank.sort(dim=1, descending=True, stable=True).indices


def _mean_with(x: Tensor, merges: Tensor, target: Tensor) -> Tensor:
    """Plain means of tokens with those that merge into them; others keep their features."""
    flag = merges.to(x.dtype)
    count = torch.ones_like(flag).scatter_add(1, target, flag)
    added = x.scatter_add(1, target.unsqueeze(2).expand_as(x), x * flag.unsqueeze(2))
    return added / count.unsqueeze(2)


def learn_diffrate(blocks: Sequence[Block]) -> Rates:
    """The published shares for every block."""
    return Rates(len(blocks))
