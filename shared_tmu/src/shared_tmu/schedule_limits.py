"""Tells where a schedule does less than it asks: the limit of a method, a mask that is read too late."""

from __future__ import annotations

import logging
from functools import lru_cache

from .schedule import Limit, Schedule, count_removed, removed_by_share

_log = logging.getLogger(__name__)


@lru_cache(maxsize=256)
def say_where_limited(
    schedule: Schedule,
    depth: int,
    num_tokens: int,
    num_prefix_tokens: int,
    method: str,
    limit: Limit,
    shares_all: bool = False,
    removes: bool = True,
) -> None:
    """Log, once per process for each schedule and trunk, how the method's limit changes the counts.

    `removes`: False for methods whose blocks give all tokens back, so that each begins with all of them.
    """
    if schedule.reads_thresholds:
        return
    counts = [num_tokens] * (depth + 1)
    if removes:
        counts = schedule.token_counts(depth, num_tokens, num_prefix_tokens, limit, shares_all=shares_all)
    free = [count - num_prefix_tokens for count in counts]
    asks = schedule.per_layer(depth)
    asked = [
        ask if isinstance(ask, int) else removed_by_share(ask, counts[layer] if shares_all else free[layer])
        for layer, ask in enumerate(asks)
    ]
    removed = [
        count_removed(ask, counts[layer], num_prefix_tokens, limit, shares_all)
        for layer, ask in enumerate(asks)
    ]
    limited = [layer for layer in range(depth) if removed[layer] < asked[layer]]
    if limited:
        first = limited[0]
        _log.warning(
            "schedule '%s' asks layer %d to remove %d tokens, but of the %d that may be removed there "
            "method %r can remove at most %d (limited in %d of %d layers; tokens per layer: %s).",
            schedule,
            first,
            asked[first],
            free[first],
            method,
            removed[first],
            len(limited),
            depth,
            " ".join(map(str, counts)),
        )


@lru_cache(maxsize=256)
def say_where_unread(schedule: Schedule, depth: int, block: int) -> None:
    """Log, once per process for each schedule, that nothing merges from the block on that reads the mask."""
    if not any(schedule.per_layer(depth)[block:]):
        _log.warning(
            "the mask is read at block %d, but schedule '%s' merges in no block from there on: it has no "
            "effect.",
            block,
            schedule,
        )
