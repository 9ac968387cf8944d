"""DTEM, decoupled token embedding for merging: Lee and Hong 2024, OpenReview pVPyCgXv57.

ToMe, with a metric of its own: a linear layer per block reads the normed input of attention (without a
gradient into the model). It is trained through a relaxed merge, in which each source spreads over several
targets.

* Reads the normed input and sizes. Means are weighted by size; attention is proportional.
* Acts between attention and MLP. At most half of the tokens after the prefix are removed.
* The metric has the width of one head, twice that from 1024 channels on. The paper trains 30 epochs with 16
  tokens per block of 12, learning rate 1e-4, temperatures 0.1, and the 3 best targets of each source.
* Untrained, the layer is the mean of the heads' key projections, so that it is ToMe (for blocks that
  normalise keys, ToMe without that). A random layer, as in the paper before training, would be of no use.
* In training every second token is a source as well, but the tokens are sorted by size after every block,
  and sizes near 0 silence the sources that have merged.
* The grid comes back by copies; in training, by the mixture that the relaxed merge has made.
* Time over that of the slicing floor: +3 % (-2 to +9); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD EPYC,
  from `assets/hamer_methods.jsonl`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..blocks import halves
from ..blocks.parts import Block
from ..method_parts.reductions import Merge
from ..method_parts.relaxed import LearnedLayers, Relaxed, silent_attention, through
from ..method_parts.seen import Seen
from ..plans.matching import plan_most_similar

WIDE = 1024
TAU, TOP = 0.1, 3


def plan_dtem(seen: Seen, r: int) -> Merge:
    """The r sources most similar to their best target by the learned metric join it."""
    metric = seen.read_learned(Projections).layers[seen.layer](seen.normed.detach())
    return Merge(plan_most_similar(metric.detach(), r, seen.num_prefix_tokens, seen.mask))


class Projections(LearnedLayers):
    """One linear layer per block, `[C]` to `[D]`, from the normed tokens to the metric."""

    relaxes = True
    lr = 1e-3

    def relax(self, block: Block, relaxed: Relaxed, layer: int, r: Any) -> None:
        """See `Learned`."""
        metric = self.layers[layer](block.norm1(relaxed.tokens).detach())
        relaxed.tokens, _ = silent_attention(block, relaxed.tokens, relaxed.sizes)
        if r:
            relax_merge(relaxed, metric, r)
        relaxed.tokens = halves.mlp_half(block, relaxed.tokens)


def relax_merge(
    relaxed: Relaxed, metric: Tensor, r: int, taus: tuple[float, float] = (TAU, TAU), top: int = TOP
) -> Tensor:
    """Merge r of the tokens that are left by a relaxed choice of edges, then sort by size.

    Args:
        relaxed: the tokens; no token is removed, but `left` falls.
        metric: `[B, N, D]`.
        r: tokens to merge.
        taus: temperatures of similarities, and of the choice of edges.
        top: targets of each source.

    Returns:
        Shares of the sources in the targets, `[B, A, T]`.
    """
    x, size, prefix, left = relaxed.tokens, relaxed.sizes, relaxed.num_prefix_tokens, relaxed.left
    r = min(r, max(left - prefix, 0) // 2)
    position = torch.arange(prefix, left, device=x.device)
    a, b = position[0::2], position[1::2]
    unit = nn.functional.normalize(metric, dim=-1)
    shares = choose_edges(unit[:, a] @ unit[:, b].mT, r, taus, top)
    size_a, size_b = size[:, a], size[:, b]
    mass = shares * size_a.unsqueeze(2)  # [B, A, T]
    grown = size_b + mass.sum(1)
    merged = (size_b.unsqueeze(2) * x[:, b] + mass.mT @ x[:, a]) / grown.unsqueeze(2)
    given = shares.sum(2)
    rest = size_a * (1 - through(given.clamp(0, 1), given))
    relaxed.tokens = x.index_copy(1, b, merged)
    relaxed.sizes = size.index_copy(1, a, rest).index_copy(1, b, grown)
    step = torch.eye(x.shape[1], dtype=x.dtype, device=x.device).expand(x.shape[0], -1, -1)
    rows = step[:, a].index_add(2, b, shares) * 1.0
    own = torch.zeros_like(rows).index_add(2, a, torch.diag_embed(given))
    relaxed.route = relaxed.route @ step.index_copy(1, a, rows - own)
    both = torch.cat([a, b])
    # many sizes are equal: this is the order in which the original leaves them on a CPU
    order = both[relaxed.sizes[:, both].sort(dim=1, descending=True).indices]
    all_positions = torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
    relaxed.reorder(torch.cat([all_positions[:, :prefix], order, all_positions[:, left:]], dim=1))
    relaxed.left = left - r
    return shares


def choose_edges(scores: Tensor, r: int, taus: tuple[float, float] = (TAU, TAU), top: int = TOP) -> Tensor:
    """A relaxed choice of the r best edges `[B, A, T]`, in which each row is used about once.

    Rows that add up to more than 1 are scaled down, without a gradient through the sum.
    """
    best = scores.topk(min(top, scores.shape[2]), dim=2)
    z = torch.full_like(scores, -torch.inf).scatter(2, best.indices, best.values / taus[0])
    chosen = torch.zeros_like(scores)
    for _ in range(r):
        share = (z / taus[1]).flatten(1).softmax(1).view_as(z)
        chosen = chosen + share
        z = z + (1 - share.sum(2, keepdim=True)).clamp_min(torch.finfo(z.dtype).tiny).log()
    return chosen / chosen.sum(2, keepdim=True).clamp_min(1).detach()


def learn_dtem(blocks: Sequence[Block]) -> Projections:
    """Layers that give each block's keys, averaged over heads."""
    return Projections([_mean_key_layer(block.attn) for block in blocks])


def _mean_key_layer(attn: Block) -> nn.Linear:
    weight, bias = attn.qkv.weight, attn.qkv.bias
    channels, heads = weight.shape[1], attn.num_heads
    of_keys = weight.detach().unflatten(0, (3, heads, -1))[1].mean(0)  # [D, C]
    width = of_keys.shape[0]
    layer = nn.Linear(channels, width * 2 if channels >= WIDE else width)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[:width] = of_keys
        if bias is not None:
            layer.bias[:width] = bias.detach().unflatten(0, (3, heads, -1))[1].mean(0)
    return layer
