"""LTMP, learned thresholds for merging and pruning: Bonnaerens and Dambre 2023, arXiv:2307.10780.

Sources that are more similar to their target than one threshold join it; of the tokens that are then left,
those that get less attention than another are pruned. So counts depend on the image.

* Reads keys, sizes, and rows of the attention map: importance is the mean attention from all tokens. A
  group has the importance of its most important token. Attention is proportional.
* Acts between attention and MLP. Any number of tokens can be removed, as long as one is left. A schedule
  gives the thresholds, `threshold:0.9/0.002x12`; without a second number nothing is pruned. With a mask a
  block removes as many tokens as it would without.
* Learned: both thresholds of every block, under the task's loss and one on FLOPs, in the paper in 1 epoch
  from 0.9 and 0. `Thresholds.learned_schedule` turns them into a schedule, which is kept in the file: `--r
  learned`. Other than in the original, training follows
  inference exactly: only tokens that are left are split into sources and targets, and only they are counted
  in the mean attention.
* Merged tokens get their group's feature back, a pruned one that of the token most similar to it. Without
  unmerging, a patched model takes one image per batch, because heads would read padding as tokens.
* Time over that of the slicing floor: +79 % (+78 to +81); HaMeR-Thin, threshold:0.9473, 8 images, 2 thread(s)
  of AMD EPYC, from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ..blocks import halves
from ..blocks.parts import Block
from ..flops import TrunkShape
from ..method_parts.reductions import Merge
from ..method_parts.relaxed import Learned, Relaxed, best_targets, silent_attention, through
from ..method_parts.seen import Seen
from ..plans.matching import halves as split
from ..plans.matching import match_similar, normalise, without_autocast
from ..plans.ragged import plan_groups
from ..schedule import Schedule

TAU = 0.1
START = 0.9, 0.0


@torch.no_grad()
def plan_ltmp(seen: Seen, r: int) -> Merge:
    """Sources above the first threshold join their match; tokens with less attention than the second go."""
    return plan_by(seen, seen.attention_received())


@torch.no_grad()
def plan_by(seen: Seen, importance: Tensor) -> Merge:
    """`plan_ltmp` for a given importance of the tokens, `[B, N]`."""
    merge_above, prune_below = (*seen.thresholds, 0.0)[:2]
    prefix, (batch, count), metric = seen.num_prefix_tokens, seen.shape, seen.metric
    importance = importance.clone()
    importance[:, :prefix] = torch.inf
    position = torch.arange(count, device=seen.device).expand(batch, -1)
    live = torch.ones_like(position, dtype=torch.bool) if seen.live is None else seen.live
    similarity, target = match_similar(metric, prefix, live=seen.live)
    joins = similarity > merge_above
    leader, importance_of = _join(position, prefix, joins, target, importance)
    leads = (leader == position) & live
    goes = _spare_one(leads & ~(importance_of > prune_below), leads, importance_of, prefix)
    if seen.mask is not None:  # as many, others first
        lowered, target = match_similar(metric, prefix, seen.mask, seen.live)
        joins = _highest(lowered, joins.sum(1))
        leader, importance_of = _join(position, prefix, joins, target, importance)
        leads = (leader == position) & live
        spared = seen.protected
        assert spared is not None
        may_go = leads & (position >= prefix)
        rank = importance_of + 2.0 * spared  # importance is at most 1
        goes = _highest((-rank).masked_fill(~may_go, -torch.inf), goes.sum(1)) & may_go
    stays = leads & ~goes
    leader = leader.where(stays.gather(1, leader) & live, -1)
    with without_autocast(metric.device):
        unit = normalise(metric)
        may_lend = stays & (position >= prefix)
        copies = (unit @ unit.mT).masked_fill(~may_lend.unsqueeze(1), -torch.inf).argmax(-1)
    _, targets = split(position, prefix)
    is_target = torch.zeros_like(live).scatter(1, targets, True)
    return Merge(plan_groups(leader, copies, position + count * is_target))


def _join(
    position: Tensor, prefix: int, joins: Tensor, target: Tensor, importance: Tensor
) -> tuple[Tensor, Tensor]:
    """The leader of each token, and the importance of each leader's group, both `[B, N]`."""
    sources, targets = split(position, prefix)
    leader = position.scatter(1, sources, targets.gather(1, target).where(joins, sources))
    return leader, importance.scatter_reduce(1, leader, importance, "amax")


def _highest(score: Tensor, counts: Tensor) -> Tensor:
    """The highest scores of each row, `[B, N]` bool, as many as `counts` `[B]` says."""
    order = score.sort(dim=1, descending=True, stable=True).indices
    number = torch.arange(score.shape[1], device=score.device).expand_as(order)
    rank = torch.empty_like(order).scatter(1, order, number)
    return rank < counts.unsqueeze(1)


def _spare_one(goes: Tensor, leads: Tensor, importance: Tensor, prefix: int) -> Tensor:
    """`goes` without the most important token after the prefix, so that not all of them are pruned."""
    if goes.shape[1] == prefix:
        return goes
    best = importance[:, prefix:].masked_fill(~leads[:, prefix:], -torch.inf).argmax(1, keepdim=True) + prefix
    return goes.scatter(1, best, False)


class Thresholds(Learned):
    """The thresholds of every block: tokens merge above a similarity, and are pruned below an importance.

    Args:
        depth: blocks.
    """

    relaxes = True
    lr = 2e-3
    lr_factors: Mapping[str, float] = MappingProxyType({"prune_below": 1e-3})
    flops_weight = 10.0

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.merge_above = nn.Parameter(torch.full((depth,), START[0]))
        self.prune_below = nn.Parameter(torch.full((depth,), START[1]))

    def begin(self, schedule: Schedule, num_tokens: int, num_prefix_tokens: int) -> None:
        """Start from the thresholds of a schedule that has some, else from the paper's."""
        if not schedule.reads_thresholds:
            return
        for layer, asked in enumerate(schedule.per_layer(len(self.merge_above))):
            pair = (*asked, 0.0)[:2] if isinstance(asked, tuple) else (1.01, 0.0)
            self.merge_above.data[layer], self.prune_below.data[layer] = pair

    def relax(self, block: Block, relaxed: Relaxed, layer: int, r: Any) -> None:
        """See `Learned`; masks step at the thresholds, with the gradient of a sigmoid."""
        prefix, before = relaxed.num_prefix_tokens, relaxed.mask
        alive = before.detach() > 0.5
        entering = before.mean()
        k = halves.project_qkv(block, block.norm1(relaxed.tokens))[1]
        x, weights = silent_attention(block, relaxed.tokens, relaxed.sizes * before, eps=1e-5)
        rows = weights.mean(1) * alive.unsqueeze(2)
        importance = rows.sum(1) / alive.sum(1, keepdim=True)
        metric = k.mean(1).detach()
        is_target = split_live(alive, prefix)
        stays, target = mask_merging(metric, is_target, alive, self.merge_above[layer], prefix)
        x, sizes, importance = merge_by(x, relaxed.sizes, importance, 1 - stays, target)
        is_patch = torch.arange(alive.shape[1], device=x.device) >= prefix
        kept = step_above(importance, self.prune_below[layer])
        kept = kept.where(is_patch & (stays.detach() > 0.5), 1.0)
        relaxed.tokens, relaxed.sizes, relaxed.mask = x, sizes, before * stays * kept
        relaxed.hand_over(stays, target)
        left = relaxed.mask.detach() > 0.5
        _, nearest = best_targets(metric, left & is_patch)
        relaxed.hand_over(kept, nearest)
        relaxed.shares = (*relaxed.shares, (entering, relaxed.mask.mean()))
        relaxed.tokens = halves.mlp_half(block, relaxed.tokens)

    def learned_schedule(self, schedule: Schedule, shape: TrunkShape) -> Schedule | None:
        """The thresholds, as a schedule; negative ones are 0."""
        pairs = zip(self.merge_above.tolist(), self.prune_below.tolist(), strict=True)
        terms = (f"{max(merge, 0):.4f}/{max(prune, 0):.6f}x1" for merge, prune in pairs)
        return Schedule.parse("threshold:" + "+".join(terms))


def mask_merging(
    metric: Tensor, is_target: Tensor, alive: Tensor, threshold: Tensor, prefix: int
) -> tuple[Tensor, Tensor]:
    """1 for tokens that do not merge, 0 for sources above the threshold, with gradients, `[B, N]`; and the
    target of every token.
    """
    is_patch = torch.arange(alive.shape[1], device=metric.device) >= prefix
    is_source = alive & ~is_target & is_patch
    similarity, target = best_targets(metric, is_target)
    merges = is_source & (similarity > threshold)
    # as in the original, only tokens that do merge pass a gradient on
    soft = torch.sigmoid((similarity - threshold) / TAU).where(merges, 0.0)
    return 1 - through(merges.to(metric.dtype), soft), target


def split_live(alive: Tensor, prefix: int) -> Tensor:
    """Which of the tokens that are left are targets, `[B, N]` bool: every second one after the prefix."""
    is_patch = torch.arange(alive.shape[1], device=alive.device) >= prefix
    counted = alive & is_patch
    number = counted.long().cumsum(1) - 1
    return counted & (number % 2 == (0 if prefix == 1 else 1))


def step_above(value: Tensor, threshold: Tensor, tau: float = TAU) -> Tensor:
    """1 where a value is above a threshold, else 0, with the gradient of a sigmoid."""
    return through((value > threshold).to(value.dtype), torch.sigmoid((value - threshold) / tau))


def merge_by(
    x: Tensor, sizes: Tensor, importance: Tensor, joins: Tensor, target: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Means weighted by size of tokens with those that join them, `[B, N, C]`; their sizes and importance."""
    added = joins * sizes
    total = sizes.scatter_add(1, target, added)
    sums = x * sizes.unsqueeze(2)
    sums = sums.scatter_add(1, target.unsqueeze(2).expand_as(x), x * added.unsqueeze(2))
    of_joined = importance.where(joins.detach() > 0.5, 0.0)
    return sums / total.unsqueeze(2), total, importance.scatter_reduce(1, target, of_joined, "amax")


def learn_ltmp(blocks: Sequence[Block]) -> Thresholds:
    """The paper's first thresholds for every block."""
    return Thresholds(len(blocks))
