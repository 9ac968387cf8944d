"""Proportional attention by a mask: plain torch, for every device and dtype."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..dtypes import sum_dtype


def attend_by_mask(
    q: Tensor, k: Tensor, v: Tensor, size: Tensor, scale: float | None = None, dropout: float = 0.0
) -> Tensor:
    """`shared_tmu.blocks.attention.proportional_attention` for sizes `[B, N]`, with their logarithms in a
    mask.

    Args:
        q, k, v: `[B, H, N, D]`.
        size: original tokens per key, `[B, N]`.
        scale: factor on the logits before `log(size)`; None is D ** -0.5.
        dropout: probability that an attention weight is dropped.

    Returns:
        `[B, H, N, D]`.
    """
    bias = key_bias(size, q)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, scale=scale)


def key_bias(size: Tensor, q: Tensor) -> Tensor:
    """The term that is added to the logits, `[B, 1, 1, N]`; on a CPU in float32, even if queries are not."""
    bias = size.to(sum_dtype(q)).log().view(size.shape[0], 1, 1, size.shape[1])
    return bias if bias.device.type == "cpu" else bias.to(q.dtype)
