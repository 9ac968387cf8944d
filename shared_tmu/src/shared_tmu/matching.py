"""Bipartite matching: half of the tokens look for a partner in the other half, the best r join theirs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from .ops import sum_dtype
from .plan import MergePlan


def halves(x: Tensor, num_prefix_tokens: int) -> tuple[Tensor, Tensor]:
    """The sources and the targets among the tokens after the prefix, as views along dimension 1.

    Sources are every second token, starting right after the prefix as if it were not there. After a single
    prefix token the targets start instead: ToMe counts its halves from the class token, which is neither.
    """
    first = num_prefix_tokens
    even, odd = x[:, first::2], x[:, first + 1 :: 2]
    return (odd, even) if num_prefix_tokens == 1 else (even, odd)


@torch.no_grad()
def match_similar(metric: Tensor, num_prefix_tokens: int = 0) -> tuple[Tensor, Tensor]:
    """The most similar target of every source, by cosine, in float32 whatever lower dtype the metric has.

    Args:
        metric: `[B, N, D]`; scaling a row changes nothing.
        num_prefix_tokens: tokens at the front that take no part.

    Returns:
        Similarity and number of the target, each `[B, A]` for A sources; among equals, the target that comes
        first.
    """
    with _without_autocast(metric.device):
        unit = F.normalize(metric.to(sum_dtype(metric)), dim=-1)
        sources, targets = halves(unit, num_prefix_tokens)
        best = (sources @ targets.transpose(1, 2)).max(dim=-1)  # over [B, A, T]
    return best.values, best.indices


@torch.no_grad()
def plan_pairs(
    score: Tensor, target: Tensor, r: int, num_tokens: int, num_prefix_tokens: int = 0
) -> MergePlan:
    """Merge the r sources of highest score into their targets.

    The new order is: prefix, sources that stay, targets. Sources that stay are in descending order of score;
    with one or two prefix tokens, ToMe's class and distillation token, in the order they had. It matters
    because every second token of the result is a source of the next layer. Equal scores count as descending
    by position.

    Args:
        score: how much each source wants to merge, `[B, A]`.
        target: number of its target, `[B, A]` int64, counted among the targets.
        r: sources to merge, at most A.
        num_tokens: N, prefix included.
        num_prefix_tokens: T tokens at the front that keep the first T slots.
    """
    batch, num_sources = score.shape
    order = score.argsort(dim=1, descending=True, stable=True)  # [B, A]
    merged, kept = order[:, :r], order[:, r:]
    if num_prefix_tokens in (1, 2):
        kept = kept.sort(dim=1).values
    first_target = num_prefix_tokens + num_sources - r
    slots = torch.arange(num_tokens - r, device=score.device)
    of_kept = slots[num_prefix_tokens:first_target].expand(batch, -1)
    of_merged = first_target + target.gather(1, merged)
    of_sources = torch.empty_like(order).scatter_(
        1, torch.cat([merged, kept], dim=1), torch.cat([of_merged, of_kept], dim=1)
    )
    source_map = torch.empty(batch, num_tokens, dtype=torch.int64, device=score.device)
    source_map[:, :num_prefix_tokens] = slots[:num_prefix_tokens]
    sources, targets = halves(source_map, num_prefix_tokens)
    sources.copy_(of_sources)
    targets.copy_(slots[first_target:].expand(batch, -1))
    return MergePlan(source_map, num_tokens - r, validate=False)


def _without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Autocast would take the similarities in half precision; outside of it nothing is switched off."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
