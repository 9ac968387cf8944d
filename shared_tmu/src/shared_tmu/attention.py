"""Attention in which a token that stands for s tokens counts s times."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .kernels.size_channel import attend_by_channel, prefers_channel
from .ops import sum_dtype


def proportional_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    size: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Softmax attention with `log(size)` of every key added to its logits.

    By a mask; on GPUs, where measured to be faster, by `kernels.size_channel`, which flash attention takes.

    Args:
        q, k, v: `[B, H, N, D]`.
        size: original tokens per key, `[B, N]`; None, as before the first merge, uses no mask at all. Nobody
            attends to a key of size 0, which is padding.
        scale: factor on the logits before `log(size)`; None is D ** -0.5.
        dropout: probability that an attention weight is dropped.

    Returns:
        `[B, H, N, D]`.

    Source: ToMe, Bolya et al. 2023, equation 1, arXiv:2210.09461.
    """
    if size is not None and prefers_channel(q, scale):
        return attend_by_channel(q, k, v, size, scale, dropout)
    bias = None if size is None else _key_bias(size, q)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout, scale=scale)


def _key_bias(size: Tensor, q: Tensor) -> Tensor:
    """What is added to the logits, `[B, 1, 1, N]`: on a CPU in float32 even where queries are not."""
    bias = size.to(sum_dtype(q)).log().view(size.shape[0], 1, 1, size.shape[1])
    return bias if bias.device.type == "cpu" else bias.to(q.dtype)
