"""Merges tokens, adds up sizes, composes source maps; the torch versions are `shared_tmu.merge` and
`MergePlan.then`.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=("num_tokens", "num_slots", "num_original"))
def merge_kernel(
    x,  # [B, N, C]
    source_map,  # [B, N] int64; -1: in no slot
    size,  # [B, N] float32, or None: ones
    before,  # [B, N0] int64, or None: the map from the first tokens to these N; -1: to none
    out,  # [B, M, C], out
    size_out,  # [B, M] float32, out
    after,  # [B, N0] int64, or None: the map from the first tokens to the M slots, out
    num_tokens,
    num_slots,
    num_original,
    C: tl.constexpr,
    HAS_SIZE: tl.constexpr,
    HAS_BEFORE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """One program per image and slot.

    The mean is the first member plus, for each other member, its share times its difference from the first: a
    single token, and equal tokens, stay exactly unchanged. Terms are added in the order of the tokens, so
    that every run gives the same bits. A slot without members becomes zeros of size 0.
    """
    slot, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    source_map += image * num_tokens
    if HAS_SIZE:
        size += image * num_tokens
    x += image * num_tokens * C
    out += (image * num_slots + slot) * C

    total, leader = 0.0, num_tokens
    for first in range(0, num_tokens, BLOCK_N):
        n = first + tl.arange(0, BLOCK_N)
        is_member = tl.load(source_map + n, mask=n < num_tokens, other=-2) == slot
        if HAS_SIZE:
            total += tl.sum(tl.load(size + n, mask=is_member, other=0.0))
        else:
            total += tl.sum(is_member.to(tl.float32))
        leader = tl.minimum(leader, tl.min(tl.where(is_member, n, num_tokens)))
    tl.store(size_out + image * num_slots + slot, total)

    for first_channel in range(0, C, BLOCK_C):
        c = first_channel + tl.arange(0, BLOCK_C)
        lead = tl.load(x + leader * C + c, mask=(c < C) & (leader < num_tokens), other=0.0).to(tl.float32)
        mean = lead
        for first in range(0, num_tokens, BLOCK_N):
            n = first + tl.arange(0, BLOCK_N)
            is_member = tl.load(source_map + n, mask=n < num_tokens, other=-2) == slot
            token = tl.min(tl.where(is_member & (n > leader), n, num_tokens))
            while token < num_tokens:
                weight = tl.load(size + token) if HAS_SIZE else 1.0
                other = tl.load(x + token * C + c, mask=c < C, other=0.0).to(tl.float32)
                mean += tl.div_rn(weight, total) * (other - lead)
                token = tl.min(tl.where(is_member & (n > token), n, num_tokens))
        tl.store(out + c, mean.to(out.dtype.element_ty), mask=c < C)

    if HAS_BEFORE:
        before += image * num_original
        after += image * num_original
        _compose(before, source_map, after, slot, num_slots, num_original, BLOCK_N)


@triton.jit
def _compose(before, source_map, after, slot, num_slots, num_original, BLOCK_N: tl.constexpr):
    """Compose every `num_slots`-th piece of a map with the map that follows."""
    for first in range(slot * BLOCK_N, num_original, num_slots * BLOCK_N):
        n = first + tl.arange(0, BLOCK_N)
        token = tl.load(before + n, mask=n < num_original, other=-1)
        slots = tl.load(source_map + token, mask=token >= 0, other=-1)
        tl.store(after + n, slots, mask=n < num_original)
