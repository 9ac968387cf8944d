"""CrossGET: complete-graph matching guided by cross tokens. Shi et al. 2023, arXiv:2305.17455.

Any token may merge with any other. Tokens are ranked by their best similarity, and each looks only at
tokens of later rank, so that no pair counts twice; unimportant tokens with a good match merge first.

* Reads keys, averaged over heads, and sizes. Attention is proportional.
* Acts between attention and MLP. At most half of the tokens after the prefix are removed.
* Importance is the similarity of a key to a query. In the paper, for models of images and text, this is the
  query of a learned cross token, the last of the sequence, which a loss aligns between both. Mesh
  regressors have one modality: here the query itself is learned, one per block, and the sequence stays as
  it is. A query shorter than 1 counts with its length, so that 0 says nothing.
* Untrained, queries are 0: all tokens are equally important, which needs no training.
* A token and the one that it joins are weighted by the softmax of their importance, which is how the
  queries learn.
* Slots keep the order of tokens. Of equal similarities the first ranks higher (the original leaves this
  open).
* The grid comes back by copies.
* Time over that of the slicing floor: +20 % (+15 to +24); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD
  EPYC, from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..blocks.parts import Block
from ..dtypes import sum_dtype
from ..method_parts.reductions import Planned
from ..method_parts.relaxed import Learned, head_width
from ..method_parts.seen import Seen
from ..plans.matching import lower, normalise, without_autocast
from ..plans.plan import MergePlan


@dataclass(frozen=True, eq=False)
class Guided(Planned):
    """A mean weighted by size and importance; sizes add up.

    Attributes:
        plan: which tokens go where.
        factor: factor on each token's size in the sum, `[B, N]`.
    """

    factor: Tensor

    def reduce(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor]:
        """`[B, N, C]` to `[B, M, C]`, and sizes."""
        dtype, slot = sum_dtype(x), self.plan.source_map
        ones = torch.ones(slot.shape, dtype=dtype, device=x.device)
        size = ones if size is None else size.to(dtype)
        total = size.new_zeros(slot.shape[0], self.plan.num_slots).scatter_add(1, slot, size)
        rows = x.to(dtype) * (size * self.factor / total.gather(1, slot)).unsqueeze(2)
        start = rows.new_zeros(x.shape[0], self.plan.num_slots, x.shape[2])
        return start.scatter_add(1, slot.unsqueeze(2).expand_as(rows), rows).to(x.dtype), total


def plan_crossget(seen: Seen, r: int) -> Guided:
    """The r tokens with the best match for their importance join the token most similar to them."""
    is_free = torch.arange(seen.shape[1], device=seen.device) >= seen.num_prefix_tokens
    query = seen.read_learned(CrossQueries).queries[seen.layer]
    importance = seen.read_learned(CrossQueries).score(seen.metric, query)
    return plan_graph(seen.metric, importance, r, is_free.expand(seen.shape), seen.mask)


def plan_graph(
    metric: Tensor, importance: Tensor, r: int, is_free: Tensor, mask: Tensor | None = None
) -> Guided:
    """Match on the complete graph.

    Args:
        metric: `[B, N, D]`.
        importance: `[B, N]`, with gradients.
        r: tokens to remove, at most half of those that are free.
        is_free: tokens that may merge, `[B, N]` bool.
        mask: further tokens to protect, see `match_similar`.
    """
    source, target = match_graph(metric, importance, r, is_free, mask)  # 2 x [B, r]
    batch, count = importance.shape
    position = torch.arange(count, device=metric.device).expand(batch, -1)
    leader = position.scatter(1, source, target)
    slot = (leader == position).long().cumsum(1) - 1
    plan = MergePlan(slot.gather(1, leader), count - r, validate=False)
    pair = torch.stack([importance.gather(1, source), importance.gather(1, target)], 2)
    weight = 2 * pair.softmax(2)  # [B, r, 2]
    factor = torch.ones_like(importance).scatter(1, source, weight[..., 0])
    return Guided(plan, factor.scatter_add(1, target, weight[..., 1] - 1))


@torch.no_grad()
def match_graph(
    metric: Tensor, importance: Tensor, r: int, is_free: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The r tokens that merge, in the order of their scores, and the tokens that they join, 2 x `[B, r]`."""
    with without_autocast(metric.device):
        unit = normalise(metric)
        similarity = unit @ unit.mT
    similarity = (similarity + similarity.mT) / 2  # rounded the same both ways, for ties
    if mask is not None:
        similarity = lower(similarity, mask, mask)
    closed = ~(is_free.unsqueeze(2) & is_free.unsqueeze(1))
    itself = torch.eye(metric.shape[1], dtype=torch.bool, device=metric.device)
    similarity = similarity.masked_fill(closed | itself, -torch.inf)
    order = similarity.amax(2).sort(dim=1, descending=True, stable=True).indices
    number = torch.arange(order.shape[1], device=order.device).expand_as(order)
    rank = torch.empty_like(order).scatter(1, order, number)
    is_later = rank.unsqueeze(1) > rank.unsqueeze(2)
    score = importance - similarity.masked_fill(~is_later, -torch.inf).amax(2)
    score = score.nan_to_num(nan=torch.finfo(score.dtype).max, posinf=torch.inf, neginf=-torch.inf)
    score = score.masked_fill(~is_free, torch.inf)
    source = score.sort(dim=1, stable=True).indices[:, :r]
    is_source = torch.zeros_like(is_free).scatter(1, source, True)
    rows = similarity.gather(1, source.unsqueeze(2).expand(-1, -1, similarity.shape[2]))
    return source, rows.masked_fill((is_source | ~is_free).unsqueeze(1), -torch.inf).argmax(2)


class CrossQueries(Learned):
    """The query to which keys are compared in every block, `[L, D]`.

    Args:
        depth: blocks.
        width: D.
    """

    lr = 1e-2

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.zeros(depth, width))

    @staticmethod
    def score(metric: Tensor, query: Tensor) -> Tensor:
        """Importance `[B, N]`: the cosine of each key `[B, N, D]` and the query `[D]`, see the module."""
        query = query.to(metric.dtype)
        length = (query.square().sum() + 1e-24).sqrt().clamp_min(1)
        return (normalise(metric) * (query / length)).sum(-1)


def learn_crossget(blocks: Sequence[Block]) -> CrossQueries:
    """Queries that say nothing yet."""
    return CrossQueries(len(blocks), head_width(blocks[0]))
