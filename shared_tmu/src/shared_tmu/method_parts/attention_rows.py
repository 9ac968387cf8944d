"""Values that methods compute from queries and keys: the metric, and the attention that tokens receive."""

from __future__ import annotations

import torch
from torch import Tensor

from ..dtypes import sum_dtype
from ..plans.matching import MAX_SCORES, without_autocast


@torch.no_grad()
def mean_keys(keys: Tensor) -> Tensor:
    """The metric: keys `[B, H, N, D]` averaged over heads, `[B, N, D]`, in float32 (float64 for float64)."""
    return keys.mean(dim=1, dtype=sum_dtype(keys))


@torch.no_grad()
def mean_rows(
    q: Tensor,
    k: Tensor,
    scale: float,
    weights: Tensor | None,
    live: Tensor | None,
    pairs: Tensor | None = None,
) -> Tensor:
    """Mean over heads and queries of `softmax(q k + log(weights))`, `[B, N]`.

    Args:
        q: queries, `[B, H, R, D]`.
        k: keys, `[B, H, N, D]`.
        scale: factor on the logits.
        weights: sizes of the keys, `[B, N]`, or None.
        live: which queries count, `[B, R]` bool, or None for all.
        pairs: another term of the logits, `[B or 1, H or 1, R, N]`, or None.
    """
    dtype = sum_dtype(q)
    keys = k.to(dtype).mT * scale
    bias = None if weights is None else weights.to(dtype).log()[:, None, None]
    total = keys.new_zeros(k.shape[0], k.shape[2])
    step = max(1, MAX_SCORES // max(1, k.shape[0] * k.shape[1] * k.shape[2]))
    for first in range(0, q.shape[2], step):
        part = slice(first, first + step)
        with without_autocast(q.device):
            logits = q[:, :, part].to(dtype) @ keys  # [B, H, R, N]
        if pairs is not None:
            logits = logits + pairs[:, :, part].to(dtype)
        shares = (logits if bias is None else logits + bias).softmax(-1).mean(1)
        total = total + (shares if live is None else shares * live[:, part].unsqueeze(2)).sum(1)
    counted = q.shape[2] if live is None else live.sum(1, keepdim=True)
    return total / counted
