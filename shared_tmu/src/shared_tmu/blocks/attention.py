"""Proportional attention: a token that stands for s tokens counts s times."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels.attention_choice import prefers_channel
from ..kernels.size_channel import attend_by_channel
from ..kernels.size_mask import attend_by_mask, key_bias


def proportional_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    size: Tensor | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
    bias: Tensor | None = None,
) -> Tensor:
    """Softmax attention with `log(size)` of every key added to its logits.

    The term is added as a mask or, on GPUs if this was measured to be faster, as an extra channel
    (`kernels.size_channel`), so that flash attention can be used.

    Args:
        q, k, v: `[B, H, N, D]`.
        size: original tokens per key, `[B, N]`; None (as before the first merge) uses no mask. Keys of size 0
            are padding and get no attention.
        scale: factor on the logits before `log(size)`; None is D ** -0.5.
        dropout: probability that an attention weight is dropped.
        bias: term of the logits besides, `[B or 1, H or 1, N, N]`; None for none.

    Returns:
        `[B, H, N, D]`.

    Source: ToMe, Bolya et al. 2023, equation 1, arXiv:2210.09461.
    """
    if bias is not None:
        mask = (bias if size is None else bias + key_bias(size, q)).to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
    if size is None:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scale)
    attend = attend_by_channel if prefers_channel(q, scale) else attend_by_mask
    return attend(q, k, v, size, scale, dropout)


def attention_weights(
    q: Tensor,
    k: Tensor,
    size: Tensor | None = None,
    scale: float | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """The attention weights of `proportional_attention`, `[B, H, N, N]`, for methods that read them."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    # in float16 the products may exceed its largest number, 65504, before they are scaled
    logits = (q * scale) @ k.mT if q.dtype == torch.float16 else q @ k.mT * scale
    for term in (bias, None if size is None else key_bias(size, q)):
        logits = logits if term is None else logits + term
    return logits.softmax(-1).to(q.dtype)
