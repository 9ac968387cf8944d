"""Proportional attention without a mask, so that fused kernels that accept none (flash attention) can be
used.

softmax(s * q k + log(size)) equals softmax(s * q' k') if q' has additional channels with a constant c, and k'
has log(size) / (s * c) in them. Four details keep this accurate and fast:

* c is a power of two near 1 / s: exact in every dtype, and the key channel keeps the magnitude of log(size);
* the key channel is split into two, its value rounded to the dtype and the rest: log(4096) = 8.3 has an error
  of up to 0.016 in one bfloat16 number (as in a bfloat16 mask), and of less than 0.0001 in two;
* a key of size 0, which is padding, gets -10000 as logarithm: below all logits in every dtype, and finite;
* heads are widened to a multiple of 8, which flash kernels need; values get the same width, and the result is
  cut back.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from . import ops
from .choice import uses_triton

LOG_OF_NONE = -1e4  # float16 can represent it, and all other logits are larger


def attend_by_channel(
    q: Tensor, k: Tensor, v: Tensor, size: Tensor, scale: float | None = None, dropout: float = 0.0
) -> Tensor:
    """`shared_tmu.blocks.attention.proportional_attention` for sizes `[B, N]`, without a mask.

    Equal to the explicit softmax up to rounding in its dtype; gradients also flow to `size`.

    Args:
        q, k, v: `[B, H, N, D]`.
        size: original tokens per key, `[B, N]`.
        scale: positive factor on the logits before `log(size)`; None is D ** -0.5.
        dropout: probability that an attention weight is dropped.

    Returns:
        `[B, H, N, D]`.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    wide = widen(q, k, v, size, scale)
    out = F.scaled_dot_product_attention(*wide, dropout_p=dropout, scale=scale)
    return out[..., : q.shape[-1]]


def widen(q: Tensor, k: Tensor, v: Tensor, size: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each `[B, H, N, W]` with W >= D + 2, that need no mask."""
    width = (q.shape[-1] + 2 + 7) // 8 * 8
    constant = 2.0 ** min(max(-round(math.log2(scale)), -14), 14)  # the range of float16 is 2**-14 to 2**15
    factor = 1.0 / (scale * constant)
    needs_grad = torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v, size))
    if not needs_grad and uses_triton(q):
        wide_q, wide_k, wide_v = ops.widen(q, k, v, size, width, constant, factor).unbind(0)
        return wide_q, wide_k, wide_v
    spare = width - q.shape[-1]
    exact = _log(size.to(torch.promote_types(q.dtype, torch.float32))) * factor  # [B, N]
    high = exact.to(q.dtype)
    low = (exact - high.to(exact.dtype)).to(q.dtype)
    of_query = F.pad(q.new_full((2,), constant), (0, spare - 2)).expand(*q.shape[:3], spare)
    of_key = F.pad(torch.stack([high, low], dim=2), (0, spare - 2))  # [B, N, W - D]
    wide_q = torch.cat([q, of_query], dim=3)
    wide_k = torch.cat([k, of_key.unsqueeze(1).expand(*k.shape[:3], spare)], dim=3)
    return wide_q, wide_k, F.pad(v, (0, spare))


def _log(size: Tensor) -> Tensor:
    """The logarithm of sizes, with a finite number for size 0."""
    return size.clamp_min(torch.finfo(size.dtype).tiny).log().where(size > 0, LOG_OF_NONE)
