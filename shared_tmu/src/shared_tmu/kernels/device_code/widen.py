"""Widens queries, keys and values for flash attention; the torch version is `kernels.size_channel.widen`."""

from __future__ import annotations

import triton
import triton.language as tl

SMALLEST = tl.constexpr(1.1754943508222875e-38)  # the smallest normal float32
LOG_OF_NONE = tl.constexpr(-1e4)  # for padding; as in `size_channel`


@triton.jit
def _copy_row(
    x,
    out,
    heads,
    stride_h,
    high,
    low,
    H: tl.constexpr,
    D: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One token, all heads: D channels, then `high`, `low` and zeros up to WIDE."""
    d = tl.arange(0, BLOCK)
    from_channel = (heads * stride_h)[:, None] + d[None, :]
    row = tl.load(x + from_channel, mask=(heads < H)[:, None] & (d < D)[None, :], other=0.0)
    row = tl.where((d == D)[None, :], high.to(row.dtype), row)
    row = tl.where((d == D + 1)[None, :], low.to(row.dtype), row)
    to_channel = (heads * WIDE)[:, None] + d[None, :]
    tl.store(out + to_channel, row, mask=(heads < H)[:, None] & (d < WIDE)[None, :])


@triton.jit(do_not_specialize=("num_tokens", "batch_size"))
def widen_kernel(
    q,  # [B, H, N, D], channels contiguous
    k,
    v,
    size,  # [B, N] float32
    out,  # [3, B, N, H, WIDE], out
    stride_qb,
    stride_qh,
    stride_qn,
    stride_kb,
    stride_kh,
    stride_kn,
    stride_vb,
    stride_vh,
    stride_vn,
    batch_size,
    num_tokens,
    query_channel,
    key_factor,
    H: tl.constexpr,
    D: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One program per token. New channels: `query_channel` twice; log(size) in two parts; zeros."""
    token = tl.program_id(0)
    image = tl.program_id(1).to(tl.int64)
    heads = tl.arange(0, BLOCK_H)
    number = tl.load(size + image * num_tokens + token)
    extra = tl.where(number > 0.0, tl.log(tl.maximum(number, SMALLEST)), LOG_OF_NONE) * key_factor
    high = extra.to(out.dtype.element_ty)
    low = extra - high.to(tl.float32)
    one, none = query_channel + 0.0 * extra, 0.0 * extra
    out += (image * num_tokens + token) * H * WIDE
    part = batch_size.to(tl.int64) * num_tokens * H * WIDE
    q += image * stride_qb + token * stride_qn
    k += image * stride_kb + token * stride_kn
    v += image * stride_vb + token * stride_vn
    _copy_row(q, out, heads, stride_qh, one, one, H, D, WIDE, BLOCK_D)
    _copy_row(k, out + part, heads, stride_kh, high, low, H, D, WIDE, BLOCK_D)
    _copy_row(v, out + 2 * part, heads, stride_vh, none, none, H, D, WIDE, BLOCK_D)
