"""ATC, agglomerative token clustering: Haurum et al. 2024, arXiv:2409.11923.

The two nearest clusters merge, again and again, until as many are left as the schedule says; the distance of
two tokens is 1 - cosine. It needs no training.

* Reads keys, averaged over heads, and sizes. Means are weighted by size, attention is proportional; without
  proportional attention, means are not weighted either, as in the original.
* Acts between attention and MLP. Any number of tokens can be removed, as long as one cluster is left.
* The distance of two clusters is the mean over their pairs of tokens (`average`), the largest (`complete`) or
  the smallest (`single`). The paper's choice varies by data set; average is the default. It reduces in blocks
  3, 6 and 9 of 0 to 11, to shares of the first number of tokens (`Schedule.keeping`), or in every block.
* The grid comes back by copies.
* Time over that of the slicing floor: +155 % (+153 to +156); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD
  EPYC, from `assets/hamer_methods.jsonl`.

Clusters are found on the CPU by SciPy (`shared_tmu[cluster]`), one image after the other, which is the
weakness of the method: on a GPU every block waits for it, so it cannot be captured in a CUDA graph.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, library

from ..errors import MissingDependencyError
from ..method_parts.reductions import Merge, Route
from ..method_parts.seen import Seen
from ..plans.matching import APART, lower, normalise
from ..plans.ops import merge
from ..plans.plan import MergePlan

Linkage = Literal["average", "complete", "single"]


class Unweighted(Merge):
    """Every slot that comes in counts once."""

    def reduce(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """`ops.merge` without sizes; these are given up."""
        return merge(x, self.plan)[0], None

    def follow(
        self, x: Tensor, size: Tensor | None, before: Route | None
    ) -> tuple[Tensor, Tensor | None, Route]:
        """As for any reduction."""
        return super(Merge, self).follow(x, size, before)


def plan_atc(seen: Seen, r: int, linkage: Linkage = "average") -> Merge:
    """Cluster the tokens after the prefix until r fewer are left.

    Slots are in the order in which their clusters appear. Protected tokens are farther from all others than
    those are from each other.

    Args:
        seen: the block.
        r: tokens to remove.
        linkage: distance of two clusters.
    """
    (batch, num_tokens), prefix = seen.shape, seen.num_prefix_tokens
    mask = None if seen.mask is None else seen.mask[:, prefix:]
    labels = _cluster(seen.metric[:, prefix:].detach(), mask, num_tokens - prefix - r, linkage)
    first = torch.arange(prefix, device=labels.device).expand(batch, -1)
    plan = MergePlan(torch.cat([first, labels + prefix], dim=1), num_tokens - r, validate=False)
    return Merge(plan) if seen.proportional else Unweighted(plan)


@library.custom_op("shared_tmu::cluster", mutates_args=())
def _cluster(metric: Tensor, mask: Tensor | None, num_clusters: int, linkage: str) -> Tensor:
    """An operator, so that compiled graphs see through the call: `[B, N, D]` to labels `[B, N]` int64."""
    labels = [
        cluster_image(
            metric[image].double().cpu(),
            None if mask is None else mask[image].cpu(),
            num_clusters,
            linkage,
        )
        for image in range(metric.shape[0])
    ]
    found = torch.stack(labels) if labels else torch.zeros(0, metric.shape[1], dtype=torch.int64)
    return found.to(metric.device)


@_cluster.register_fake
def _(metric: Tensor, mask: Tensor | None, num_clusters: int, linkage: str) -> Tensor:
    return metric.new_empty(metric.shape[:2], dtype=torch.int64)


def cluster_image(metric: Tensor, mask: Tensor | None, num_clusters: int, linkage: str = "average") -> Tensor:
    """The cluster of every token of an image, numbered by first appearance, `[N]` int64.

    Args:
        metric: `[N, D]`, float64.
        mask: tokens to protect, `[N]` bool or float, see `plans.matching.lower`.
        num_clusters: how many are left, 1 to N.
        linkage: distance of two clusters.

    Raises:
        MissingDependencyError: SciPy is not installed.
    """
    count = metric.shape[0]
    if num_clusters >= count:
        return torch.arange(count)
    unit = normalise(metric)
    cosine = unit @ unit.T
    if mask is not None:
        cosine = lower(cosine[None], mask[None], mask[None])[0]
    distance = 1 - cosine
    row, column = torch.triu_indices(count, count, 1)
    pairs = distance[row, column].nan_to_num(3 * APART, 3 * APART, 3 * APART)
    # members of every cluster; a pair of clusters becomes the next one
    clusters: list[list[int] | None] = [[token] for token in range(count)]
    for first, second in _merges(pairs, linkage)[: count - num_clusters]:
        clusters.append([*(clusters[first] or ()), *(clusters[second] or ())])
        clusters[first] = clusters[second] = None
    label = torch.zeros(count, dtype=torch.int64)
    for number, members in enumerate(sorted((sorted(c) for c in clusters if c), key=lambda c: c[0])):
        label[members] = number
    return label


def _merges(pairs: Tensor, linkage: str) -> list[tuple[int, int]]:
    """Which two clusters merge, step by step, from the distances of all pairs of tokens."""
    try:
        from scipy.cluster.hierarchy import linkage as link
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "method 'atc' clusters with SciPy, which is not installed: pip install 'shared_tmu[cluster]'."
        ) from error
    return [(int(a), int(b)) for a, b in link(pairs.numpy(), linkage)[:, :2]]
