"""Decides which tokens merge; the torch version is `shared_tmu.plans.matching`.

Scores are compared as int32 keys with the same order as the floats, with -0 equal to 0 and NaN above
everything, as in `torch.sort`: any numbers give a valid plan, since two keys can always be compared.

Token `first + 2 * i` of an image is its source, or target, number i.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOWEST = tl.constexpr(-(2**31))  # below the key of every float
HIGHEST = tl.constexpr(2**31 - 1)
SMALLEST_NORM = tl.constexpr(1e-12)  # as in torch.nn.functional.normalize
# differs in every layer: do not compile a kernel for each value
COUNTS = ("num_tokens", "num_sources", "num_targets", "r")


@triton.jit
def _to_key(score):
    bits = tl.where(score == 0.0, 0.0, score).to(tl.int32, bitcast=True)
    return tl.where(score != score, HIGHEST, bits ^ ((bits >> 31) & HIGHEST))


@triton.jit
def _to_score(key):
    return (key ^ ((key >> 31) & HIGHEST)).to(tl.float32, bitcast=True)


@triton.jit
def _load(rows, is_row, first, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """Channels from `first` on of some rows, `[R, BLOCK_D]`; zeros beyond the last channel."""
    d = first + tl.arange(0, BLOCK_D)
    inside = is_row[:, None] & (d < D)[None, :]
    return tl.load(rows[:, None] + d[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _norms(rows, is_row, D: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr):
    squares = tl.zeros([BLOCK_R], tl.float32)
    for first in range(0, D, BLOCK_D):
        part = _load(rows, is_row, first, D, BLOCK_D)
        squares += tl.sum(part * part, axis=1)
    return tl.maximum(tl.sqrt_rn(squares), SMALLEST_NORM)


@triton.jit
def _best_targets(
    metric,  # of one image, [N, D]
    i,  # [BLOCK_A]
    num_sources,
    num_targets,
    first_source,
    first_target,
    D: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """The highest key over all targets, and the first target with it; processes BLOCK_T targets at a time."""
    sources, is_source = metric + (first_source + 2 * i) * D, i < num_sources
    source_norm = _norms(sources, is_source, D, BLOCK_A, BLOCK_D)
    best = tl.full([BLOCK_A], LOWEST, tl.int32)
    best_target = tl.zeros([BLOCK_A], tl.int32)
    for first in range(0, num_targets, BLOCK_T):
        j = first + tl.arange(0, BLOCK_T)
        targets, is_target = metric + (first_target + 2 * j) * D, j < num_targets
        target_norm = _norms(targets, is_target, D, BLOCK_T, BLOCK_D)
        cosine = tl.zeros([BLOCK_A, BLOCK_T], tl.float32)
        for d in range(0, D, BLOCK_D):
            a = _load(sources, is_source, d, D, BLOCK_D) / source_norm[:, None]
            b = _load(targets, is_target, d, D, BLOCK_D) / target_norm[:, None]
            cosine = tl.dot(a, tl.trans(b), cosine, input_precision="tf32x3")
        key = tl.where(is_target[None, :], _to_key(cosine), LOWEST)
        top = tl.max(key, axis=1)
        top_target = tl.min(tl.where(key == top[:, None], j[None, :], num_targets), axis=1)
        best_target = tl.where(top > best, top_target, best_target)  # of equal keys, the earlier one wins
        best = tl.maximum(best, top)
    return best, best_target


@triton.jit
def _comes_before(key_j, j, key_i, i):
    """Whether source j ranks before source i: by score, then by position."""
    return (key_j > key_i) | ((key_j == key_i) & (j < i))


@triton.jit(do_not_specialize=("num_tokens", "num_sources", "num_targets"))
def match_kernel(
    metric,  # [B, N, D]
    score,  # [B, A] float32, out
    target,  # [B, A] int64, out
    num_tokens,
    num_sources,
    num_targets,
    first_source,
    first_target,
    D: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One program per image and BLOCK_A sources."""
    image = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BLOCK_A + tl.arange(0, BLOCK_A)
    metric += image * num_tokens * D
    key, j = _best_targets(
        metric, i, num_sources, num_targets, first_source, first_target, D, BLOCK_A, BLOCK_T, BLOCK_D
    )
    at = image * num_sources + i
    tl.store(score + at, _to_score(key), mask=i < num_sources)
    tl.store(target + at, j.to(tl.int64), mask=i < num_sources)


@triton.jit(do_not_specialize=("num_sources",))
def rank_kernel(
    score,  # [B, A]
    rank,  # [B, A] int32, out
    num_sources,
    BLOCK_A: tl.constexpr,
    BLOCK_J: tl.constexpr,
):
    """Count how many sources of the image rank before each one: a selection without sorting."""
    image = tl.program_id(1).to(tl.int64)
    score += image * num_sources
    i = tl.program_id(0) * BLOCK_A + tl.arange(0, BLOCK_A)
    key_i = _to_key(tl.load(score + i, mask=i < num_sources, other=0.0))
    count = tl.zeros([BLOCK_A], tl.int32)
    for first in range(0, num_sources, BLOCK_J):
        j = first + tl.arange(0, BLOCK_J)
        key_j = _to_key(tl.load(score + j, mask=j < num_sources, other=0.0))
        ahead = _comes_before(key_j[None, :], j[None, :], key_i[:, None], i[:, None])
        count += tl.sum((ahead & (j < num_sources)[None, :]).to(tl.int32), axis=1)
    tl.store(rank + image * num_sources + i, count, mask=i < num_sources)


@triton.jit
def _store_prefix_and_targets(
    source_map,  # of one image, [N]
    part,
    num_parts,
    num_targets,
    first_target,
    first_target_slot,
    num_prefix_tokens,
    BLOCK: tl.constexpr,
):
    """Process every `num_parts`-th block, from block number `part` on."""
    for first in range(part * BLOCK, num_targets, num_parts * BLOCK):
        j = first + tl.arange(0, BLOCK)
        slot = (first_target_slot + j).to(tl.int64)
        tl.store(source_map + first_target + 2 * j, slot, mask=j < num_targets)
    for first in range(part * BLOCK, num_prefix_tokens, num_parts * BLOCK):
        n = first + tl.arange(0, BLOCK)
        tl.store(source_map + n, n.to(tl.int64), mask=n < num_prefix_tokens)


@triton.jit(do_not_specialize=COUNTS)
def map_kernel(
    rank,  # [B, A]
    target,  # [B, A] int64
    source_map,  # [B, N] int64, out
    num_tokens,
    num_sources,
    num_targets,
    r,
    first_source,
    first_target,
    num_prefix_tokens,
    IN_ORDER: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_J: tl.constexpr,
):
    """Convert ranks and targets to slots; with IN_ORDER, sources that do not merge keep their order."""
    image = tl.program_id(1).to(tl.int64)
    rank += image * num_sources
    source_map += image * num_tokens
    first_target_slot = num_prefix_tokens + num_sources - r
    i = tl.program_id(0) * BLOCK_A + tl.arange(0, BLOCK_A)
    is_source = i < num_sources
    own = tl.load(rank + i, mask=is_source, other=0)
    kept = own - r
    if IN_ORDER:
        kept = i
        for first in range(0, num_sources, BLOCK_J):
            j = first + tl.arange(0, BLOCK_J)
            gone = tl.load(rank + j, mask=j < num_sources, other=HIGHEST) < r
            kept -= tl.sum((gone[None, :] & (j[None, :] < i[:, None])).to(tl.int32), axis=1)
    joins = tl.load(target + image * num_sources + i, mask=is_source, other=0)
    slot = tl.where(own < r, first_target_slot + joins, (num_prefix_tokens + kept).to(tl.int64))
    tl.store(source_map + first_source + 2 * i, slot, mask=is_source)
    _store_prefix_and_targets(
        source_map,
        tl.program_id(0),
        tl.num_programs(0),
        num_targets,
        first_target,
        first_target_slot,
        num_prefix_tokens,
        BLOCK_A,
    )


@triton.jit(do_not_specialize=COUNTS)
def plan_kernel(
    metric,  # [B, N, D]
    source_map,  # [B, N] int64, out
    num_tokens,
    num_sources,
    num_targets,
    r,
    first_source,
    first_target,
    num_prefix_tokens,
    D: tl.constexpr,
    IN_ORDER: tl.constexpr,
    BLOCK_A: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Match, rank and map in one launch, one program per image, for at most BLOCK_A sources."""
    image = tl.program_id(0).to(tl.int64)
    metric += image * num_tokens * D
    source_map += image * num_tokens
    first_target_slot = num_prefix_tokens + num_sources - r
    i = tl.arange(0, BLOCK_A)
    is_source = i < num_sources
    key, joins = _best_targets(
        metric, i, num_sources, num_targets, first_source, first_target, D, BLOCK_A, BLOCK_T, BLOCK_D
    )
    key = tl.where(is_source, key, LOWEST)  # sources beyond the last rank after all others
    ahead = _comes_before(key[None, :], i[None, :], key[:, None], i[:, None])
    rank = tl.sum(ahead.to(tl.int32), axis=1)
    kept = rank - r
    if IN_ORDER:
        gone = (rank < r)[None, :] & (i[None, :] < i[:, None])
        kept = i - tl.sum(gone.to(tl.int32), axis=1)
    slot = tl.where(rank < r, first_target_slot + joins, num_prefix_tokens + kept)
    tl.store(source_map + first_source + 2 * i, slot.to(tl.int64), mask=is_source)
    _store_prefix_and_targets(
        source_map, 0, 1, num_targets, first_target, first_target_slot, num_prefix_tokens, BLOCK_A
    )
