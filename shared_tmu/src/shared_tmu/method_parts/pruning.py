"""Pruning: tokens with the lowest scores are dropped; when the grid is restored they copy the most similar
kept one."""

from __future__ import annotations

import torch
from torch import Tensor

from ..dtypes import sum_dtype
from ..plans.matching import without_autocast
from ..plans.ops import take
from ..plans.plan import MergePlan
from .reductions import Prune
from .seen import Needs, Seen


@torch.no_grad()
def prune_lowest(score: Tensor, r: int, seen: Seen) -> Prune:
    """Drop the r tokens of lowest score; those that stay keep their order.

    A dropped token copies the kept one whose metric is most similar, by cosine; for methods that do not list
    keys, the kept one that is nearest in the sequence. Prefix tokens stay, and are never copied. Protected
    tokens are dropped last, independent of their scores.

    Args:
        score: scores of the tokens after the prefix, `[B, N - T]`, on any scale; of equal scores the last are
            dropped first.
        r: tokens to drop, fewer than N - T.
        seen: the block.
    """
    prefix, (batch, num_tokens) = seen.num_prefix_tokens, seen.shape
    order = score.sort(dim=1, descending=True, stable=True).indices  # [B, N - T]
    if seen.protected is not None:  # protected ones first, both kinds in the order of their scores
        flags = seen.protected[:, prefix:].gather(1, order).to(torch.uint8)
        order = order.gather(1, flags.sort(dim=1, descending=True, stable=True).indices)
    order = order + prefix
    num_kept = num_tokens - prefix - r
    patches, dropped = order[:, :num_kept].sort(dim=1).values, order[:, num_kept:]
    first = torch.arange(prefix, device=score.device).expand(batch, -1)
    kept = torch.cat([first, patches], dim=1)  # [B, M]
    slots = torch.arange(num_tokens - r, device=score.device).expand(batch, -1)
    copies = torch.zeros(batch, num_tokens, dtype=torch.int64, device=score.device).scatter_(1, kept, slots)
    copies = copies.scatter(1, dropped, _most_similar(seen, patches, dropped) + prefix)
    source = copies.scatter(1, dropped, torch.full_like(dropped, -1))
    plan = MergePlan(source, num_tokens - r, validate=False, copy_map=copies)
    return Prune(plan, kept)


def _most_similar(seen: Seen, kept: Tensor, dropped: Tensor) -> Tensor:
    """Which of the kept tokens `[B, K]` each dropped one `[B, R]` is most similar to, `[B, R]`.

    Without keys, the nearest one in the sequence, of two equally near ones the first.
    """
    if Needs.KEYS not in seen.needs:
        return (dropped.unsqueeze(2) - kept.unsqueeze(1)).abs().argmin(dim=2)
    metric = seen.metric
    with without_autocast(metric.device):
        unit = torch.nn.functional.normalize(metric.to(sum_dtype(metric)), dim=-1)
        return (take(unit, dropped) @ take(unit, kept).mT).argmax(dim=2)
