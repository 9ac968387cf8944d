"""Launches the Triton kernels, after allocating their results. Needs Triton; `ops.py` loads this module on
first use.

Block sizes fit 48 KB of shared memory and the registers of compute capability 8.0 and 9.0 without spilling;
tests pass smaller ones, so that a few tokens take many blocks.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from .device_code.merge import merge_kernel
from .device_code.plan import map_kernel, match_kernel, plan_kernel, rank_kernel
from .device_code.widen import widen_kernel


@dataclass(frozen=True)
class Blocks:
    """Numbers of elements that a program handles at a time; powers of two, those for matching at least 16.

    Attributes:
        image_sources: up to this number of sources, one program plans a whole image in one launch.
        sources, targets, channels: tile of the similarity matrix otherwise; `channels` per product in all
            cases.
        ranked: sources per program, and per step, in ranking.
        tokens: tokens per step in the search for the members of a slot.
        merged_channels: channels per step in merging.
    """

    image_sources: int = 128
    sources: int = 64
    targets: int = 32
    channels: int = 16
    ranked: int = 128
    tokens: int = 1024
    merged_channels: int = 2048


BLOCKS = Blocks()


def match_similar(metric: Tensor, num_prefix_tokens: int, blocks: Blocks = BLOCKS) -> tuple[Tensor, Tensor]:
    """`matching.match_similar`: `[B, N, D]` to similarity (float32) and target (int64), each `[B, A]`."""
    metric = metric.contiguous()
    split = _Split.of(metric.shape[1], num_prefix_tokens)
    batch = metric.shape[0]
    score = metric.new_empty(batch, split.num_sources, dtype=torch.float32)
    target = metric.new_empty(batch, split.num_sources, dtype=torch.int64)
    if score.numel():
        with _on_device_of(metric):
            match_kernel[(triton.cdiv(split.num_sources, blocks.sources), batch)](
                metric,
                score,
                target,
                metric.shape[1],
                split.num_sources,
                split.num_targets,
                split.first_source,
                split.first_target,
                D=metric.shape[2],
                BLOCK_A=blocks.sources,
                BLOCK_T=blocks.targets,
                BLOCK_D=blocks.channels,
                num_warps=4,
            )
    return score, target


def plan_pairs(
    score: Tensor, target: Tensor, r: int, num_tokens: int, num_prefix_tokens: int, blocks: Blocks = BLOCKS
) -> Tensor:
    """`matching.plan_pairs`: float32 scores and int64 targets `[B, A]` to a source map `[B, N]`."""
    score, target = score.contiguous(), target.contiguous()
    split = _Split.of(num_tokens, num_prefix_tokens)
    batch = score.shape[0]
    rank = torch.empty_like(score, dtype=torch.int32)
    source_map = score.new_empty(batch, num_tokens, dtype=torch.int64)
    if source_map.numel():
        grid = (max(1, triton.cdiv(split.num_sources, blocks.ranked)), batch)
        sizes = {"BLOCK_A": blocks.ranked, "BLOCK_J": blocks.ranked, "num_warps": 8}
        with _on_device_of(score):
            rank_kernel[grid](score, rank, split.num_sources, **sizes)
            map_kernel[grid](
                rank,
                target,
                source_map,
                num_tokens,
                split.num_sources,
                split.num_targets,
                r,
                split.first_source,
                split.first_target,
                num_prefix_tokens,
                IN_ORDER=num_prefix_tokens in (1, 2),
                **sizes,
            )
    return source_map


def plan_most_similar(metric: Tensor, r: int, num_prefix_tokens: int, blocks: Blocks = BLOCKS) -> Tensor:
    """`matching.plan_most_similar`: a metric `[B, N, D]` to a source map `[B, N]`.

    One launch if a program holds all sources of an image, else three.
    """
    split = _Split.of(metric.shape[1], num_prefix_tokens)
    batch, num_tokens = metric.shape[:2]
    if split.num_sources > blocks.image_sources:
        score, target = match_similar(metric, num_prefix_tokens, blocks)
        return plan_pairs(score, target, r, num_tokens, num_prefix_tokens, blocks)
    metric = metric.contiguous()
    source_map = metric.new_empty(batch, num_tokens, dtype=torch.int64)
    if source_map.numel():
        rows = max(16, triton.next_power_of_2(split.num_sources))
        with _on_device_of(metric):
            plan_kernel[(batch,)](
                metric,
                source_map,
                num_tokens,
                split.num_sources,
                split.num_targets,
                r,
                split.first_source,
                split.first_target,
                num_prefix_tokens,
                D=metric.shape[2],
                IN_ORDER=num_prefix_tokens in (1, 2),
                BLOCK_A=rows,
                BLOCK_T=blocks.targets,
                BLOCK_D=blocks.channels,
                num_warps=8 if rows > 64 else 4,
            )
    return source_map


def merge(
    x: Tensor,
    source_map: Tensor,
    num_slots: int,
    size: Tensor | None,
    before: Tensor | None,
    blocks: Blocks = BLOCKS,
) -> tuple[Tensor, Tensor, Tensor]:
    """`ops.merge` and `MergePlan.then` at once.

    Args:
        x: tokens, `[B, N, C]`, float32, float16 or bfloat16.
        source_map: `[B, N]` int64, into `num_slots` slots.
        num_slots: M.
        size: `[B, N]`, or None for ones.
        before: map `[B, N0]` from the first tokens to these N, or None.

    Returns:
        Merged tokens `[B, M, C]`, their sizes `[B, M]` float32, and the map `[B, N0]` from the first tokens
        to the M slots (empty without `before`).
    """
    x, source_map = x.contiguous(), source_map.contiguous()
    size = None if size is None else size.to(torch.float32).contiguous()
    before = None if before is None else before.contiguous()
    batch, num_tokens, channels = x.shape
    out = x.new_empty(batch, num_slots, channels)
    size_out = x.new_empty(batch, num_slots, dtype=torch.float32)
    after = source_map.new_empty((0,)) if before is None else torch.empty_like(before)
    if out.numel() or size_out.numel():
        with _on_device_of(x):
            merge_kernel[(num_slots, batch)](
                x,
                source_map,
                size,
                before,
                out,
                size_out,
                None if before is None else after,
                num_tokens,
                num_slots,
                after.shape[-1],
                C=channels,
                HAS_SIZE=size is not None,
                HAS_BEFORE=before is not None,
                BLOCK_N=min(blocks.tokens, triton.next_power_of_2(num_tokens)),
                BLOCK_C=min(blocks.merged_channels, triton.next_power_of_2(max(channels, 1))),
                num_warps=4,
            )
    return out, size_out, after


def widen(
    q: Tensor, k: Tensor, v: Tensor, size: Tensor, width: int, query_channel: float, key_factor: float
) -> Tensor:
    """`size_channel.widen`: three `[B, H, N, D]` and sizes `[B, N]` to `[3, B, H, N, width]`."""
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))
    size = size.to(torch.float32).contiguous()
    batch, heads, num_tokens, channels = q.shape
    out = q.new_empty(3, batch, num_tokens, heads, width)
    if out.numel():
        with _on_device_of(q):
            widen_kernel[(num_tokens, batch)](
                q,
                k,
                v,
                size,
                out,
                *q.stride()[:3],
                *k.stride()[:3],
                *v.stride()[:3],
                batch,
                num_tokens,
                query_channel,
                key_factor,
                H=heads,
                D=channels,
                WIDE=width,
                BLOCK_H=triton.next_power_of_2(heads),
                BLOCK_D=triton.next_power_of_2(width),
                num_warps=4,
            )
    return out.transpose(2, 3)


@dataclass(frozen=True)
class _Split:
    """Which tokens are sources and targets, as in `matching.halves`: alternating, beginning with the
    first.
    """

    num_sources: int
    num_targets: int
    first_source: int
    first_target: int

    @classmethod
    def of(cls, num_tokens: int, num_prefix_tokens: int) -> _Split:
        free, first = num_tokens - num_prefix_tokens, num_prefix_tokens
        if num_prefix_tokens == 1:
            return cls(free // 2, free - free // 2, first + 1, first)
        return cls(free - free // 2, free // 2, first, first + 1)


def _on_device_of(x: Tensor) -> AbstractContextManager[object]:
    """Make `x`'s device the current one, on which Triton launches; the interpreter needs none."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()
