"""The schedules that a search tries: from hardly any merging to a tenth of the tokens, early and late."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from shared_tmu.methods import count_tokens
from shared_tmu.schedule import Schedule

_SHARES_OF_DEPTH = (1 / 8, 1 / 4, 1 / 2, 5 / 8, 3 / 4, 1)
_STEPS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 40, 48, 64)
_LEAST_LEFT = 0.1
"""Of the patch tokens, at the end."""
_LEAST_GONE = 0.15


def make_ladder(method: str, depth: int, num_tokens: int, prefix: int) -> dict[Schedule, tuple[int, ...]]:
    """Schedules, each with the tokens before the first block and after each, by falling cost.

    `r` in the first k blocks, and `2 r` in the first half of these and `r` in the second, for several k.
    Schedules of which the method cuts something off are left out, as are those with the counts of another.

    Args:
        method: row of `METHODS`.
        depth: blocks.
        num_tokens: tokens that enter them, prefix included.
        prefix: tokens that never merge.
    """
    patches = num_tokens - prefix
    found: dict[tuple[int, ...], Schedule] = {}
    for share in _SHARES_OF_DEPTH:
        layers = max(1, round(share * depth))
        half = layers // 2
        for r in _STEPS:
            asked = [[r] * layers]
            if half >= 2 and share <= 3 / 4:
                asked.append([2 * r] * half + [r] * (layers - half))
            for listed in asked:
                gone = sum(listed)
                if not _LEAST_GONE * patches <= gone <= (1 - _LEAST_LEFT) * patches:
                    continue
                schedule = Schedule.parse(listed)
                counts = tuple(count_tokens(method, schedule, depth, num_tokens, prefix))
                if counts[-1] == num_tokens - gone:
                    found.setdefault(counts, schedule)
    return {found[counts]: counts for counts in sorted(found, key=lambda counts: (-cost_of(counts), counts))}


def cost_of(counts: Sequence[int]) -> float:
    """Roughly the work: tokens summed over the blocks, attention before merging and MLP after."""
    return float(sum(before + 2 * after for before, after in pairwise(counts)))


def is_as_strong(counts: Sequence[int], than: Sequence[int]) -> bool:
    """Whether at no place more tokens are left, so that more cannot be expected of the result."""
    return len(counts) == len(than) and all(a <= b for a, b in zip(counts, than, strict=True))


def thin_out(ladder: dict[Schedule, tuple[int, ...]], most: int) -> dict[Schedule, tuple[int, ...]]:
    """At most so many of its schedules, evenly over it; the cheapest one stays."""
    if len(ladder) <= most:
        return ladder
    items = list(ladder.items())
    step = len(items) / most
    return dict(items[len(items) - 1 - int(i * step)] for i in reversed(range(most)))
