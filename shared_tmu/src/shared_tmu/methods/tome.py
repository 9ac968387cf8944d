"""Token Merging (ToMe), Bolya et al. 2023, arXiv:2210.09461; inside a regressor, with unmerging, TMU."""

from __future__ import annotations

from torch import Tensor

from ..kernels import merging
from ..kernels.choice import uses_triton
from ..matching import match_similar, plan_pairs
from ..plan import MergePlan


def plan_most_similar(metric: Tensor, r: int, num_prefix_tokens: int) -> MergePlan:
    """The r sources most similar to their best target join it: `[B, N, D]` to N - r slots."""
    if uses_triton(metric):
        return merging.plan_most_similar(metric, r, num_prefix_tokens)
    similarity, target = match_similar(metric, num_prefix_tokens)
    return plan_pairs(similarity, target, r, metric.shape[1], num_prefix_tokens)
