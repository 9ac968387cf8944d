"""PiToMe: protect informative tokens, merge redundant ones. Tran et al. 2024, arXiv:2405.16148.

A token's energy says how crowded its neighbourhood is: the mean over all tokens of ELU(cosine - margin). The
tokens are ranked by energy, the most redundant first. It needs no training.

* `split`: of the first 2 r ranks, even ones are sources and odd ones targets; every source joins the target
  most similar to it, and all other tokens stay. `bsm`: even ranks against odd ones, the r best pairs merge,
  as in ToMe.
* Reads keys, averaged over heads, and sizes. Means are weighted by size; attention is not proportional, as in
  the original code.
* Acts between attention and MLP. At most half of the tokens after the prefix are removed.
* Margin 0.75 - 0.75 l / L in block l of L; the first half of the blocks (rounded up) uses `bsm`, the others
  `split`, as the original does for ViT and DeiT (for MAE the other way round: `splits_first`). Shares of
  0.9 to 0.95 are published. A class token counts neither for shares nor for energies.
* `text` is the original's version for text encoders: energy by a Gaussian kernel, ranks 0 to r - 1 are
  sources and the r ranks after them targets.
* The grid comes back by copies.
* Time over that of the slicing floor: +11 % (+10 to +19); HaMeR-Thin, 8x16, 8 images, 2 thread(s) of AMD
  EPYC, from `assets/hamer_methods.jsonl`.

It computes the similarities of all pairs, four times as many as ToMe.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from ..limits import Limit
from ..method_parts.reductions import Merge
from ..method_parts.seen import Seen
from ..plans.matching import MAX_SCORES, join_best, match_sets, normalise, without_autocast
from ..plans.sorting import sort_stably

Variant = Literal["split", "bsm", "text"]
Margin = Annotated[float, Limit(-1, 0.99)]
Alpha = Annotated[float, Limit(0, 100)]


def plan_pitome(
    seen: Seen,
    r: int,
    variant: Variant | None = None,
    margin: Margin | None = None,
    alpha: Alpha = 1.0,
    splits_first: bool = False,
) -> Merge:
    """r of the most redundant tokens join similar ones.

    Protected tokens get the last ranks.

    Args:
        seen: the block.
        r: tokens to remove, at most half of those after the prefix.
        variant: `split`, `bsm` or `text` in every block; by the block if not said.
        margin: the same in every block; by the block if not said.
        alpha: parameter of the ELU.
        splits_first: `split` in the first half of the blocks and `bsm` in the others, as in the original for
            MAE models; does nothing if a variant is set.
    """
    metric, prefix, share = seen.metric, seen.num_prefix_tokens, seen.layer / seen.depth
    margin = 0.75 - 0.75 * share if margin is None else margin
    variant = variant or ("bsm" if (share < 0.5) is not splits_first else "split")
    energy = find_energy(metric[:, prefix:], margin, alpha, is_gaussian=variant == "text")
    order = sort_stably(energy, dim=1, descending=True)[1] + prefix
    if seen.protected is not None:
        flags = seen.protected.gather(1, order).to(torch.uint8)
        order = order.gather(1, sort_stably(flags, dim=1)[1])
    if variant == "bsm":
        sources, targets = order[:, ::2], order[:, 1::2]
        score, target = match_sets(metric, sources, targets, seen.mask)
        return Merge(join_best(score, target, r, sources, targets, prefix))
    most, rest = order[:, : 2 * r], order[:, 2 * r :]
    sources, targets = (most[:, :r], most[:, r:]) if variant == "text" else (most[:, ::2], most[:, 1::2])
    score, target = match_sets(metric, sources, targets, seen.mask)
    targets = torch.cat([rest, targets], dim=1)
    return Merge(join_best(score, target + rest.shape[1], r, sources, targets, prefix))


@torch.no_grad()
def find_energy(metric: Tensor, margin: float, alpha: float = 1.0, is_gaussian: bool = False) -> Tensor:
    """How crowded every token's neighbourhood is, itself included, `[B, N, D]` to `[B, N]`.

    Args:
        metric: keys, averaged over heads.
        margin: cosines above it count as near.
        alpha: parameter of the ELU.
        is_gaussian: use a Gaussian kernel of width 1 - margin around cosine 1 instead of the ELU.
    """
    with without_autocast(metric.device):
        unit = normalise(metric)
        parts = []
        step = max(1, MAX_SCORES // max(1, unit.shape[0] * unit.shape[1]))
        for first in range(0, max(unit.shape[1], 1), step):
            cosine = unit[:, first : first + step] @ unit.mT
            if is_gaussian:
                width = 1 - margin
                near = ((1 - cosine) / width).square().mul(-0.5).exp() / (width * math.sqrt(2 * math.pi))
            else:
                near = torch.nn.functional.elu(cosine - margin, alpha)
            parts.append(near.mean(dim=2))
    return torch.cat(parts, dim=1)
