"""Token Merging (ToMe), Bolya et al. 2023, arXiv:2210.09461; with unmerging, in a regressor, it is TMU."""

from __future__ import annotations

from ..method_parts.reductions import Merge
from ..method_parts.seen import Seen
from ..plans.matching import plan_most_similar


def plan_tome(seen: Seen, r: int) -> Merge:
    """The r sources most similar to their best target join it; every second token is a source."""
    return Merge(plan_most_similar(seen.metric, r, seen.num_prefix_tokens, seen.mask))
