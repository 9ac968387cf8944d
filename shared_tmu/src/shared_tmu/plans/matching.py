"""Bipartite matching: every token of one half gets a partner in the other half, and the best r merge into
theirs.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..dtypes import sum_dtype
from ..kernels.choice import uses_triton
from . import fused
from .ops import take
from .plan import MergePlan, Moves
from .sorting import sort_stably

MAX_SCORES = 2**20
"""Similarities in memory at a time: 4 MiB in float32; 113 images of 192 tokens, or 512 sources of 4096
tokens."""
# For any number of targets; fewer sources at a time would be slow, and may be rounded differently.
_MIN_ROWS = 32


APART = 4.0
"""Subtracted from the scores of protected tokens, so that they rank below all others: cosines differ by at
most 2."""
MOST = 2 * APART
"""What the weight of a token counts at most: more would keep it no better, and cost the scores their digits,
or, if it is infinite, all that tells pairs apart."""


def halves(x: Tensor, num_prefix_tokens: int) -> tuple[Tensor, Tensor]:
    """The sources and the targets among the tokens after the prefix, as views along dimension 1.

    Sources are every second token, starting with the first one after the prefix. After a single prefix token
    the first one is a target instead, because ToMe counts from the class token, which is neither source nor
    target.
    """
    first = num_prefix_tokens
    even, odd = x[:, first::2], x[:, first + 1 :: 2]
    return (odd, even) if num_prefix_tokens == 1 else (even, odd)


@torch.no_grad()
def match_similar(
    metric: Tensor, num_prefix_tokens: int = 0, protected: Tensor | None = None, live: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The most similar target of every source, by cosine similarity, in float32 even if the metric has a
    lower precision.

    Args:
        metric: `[B, N, D]`; scaling a row changes nothing.
        num_prefix_tokens: tokens at the front that are not matched.
        protected: further tokens to protect, `[B, N]` bool. A pair with one of them ranks below every pair
            without (its score is lowered by `APART`), so background merges first. Or float: the amount by
            which the score of a pair with that token is lowered; the larger of the two counts.
        live: which tokens are not padding, `[B, N]` bool; padding is never a target, and as a source has the
            score -inf.

    Returns:
        Similarity and number of the target, each `[B, A]` for A sources; of equal targets, the first.
    """
    if protected is None and live is None and uses_triton(metric):
        return fused.match_similar(metric, num_prefix_tokens)
    with without_autocast(metric.device):
        sources, targets = halves(normalise(metric), num_prefix_tokens)
        if protected is None and live is None:
            return _best_targets(sources, targets)
        spared = [_Spared.of(flags, num_prefix_tokens) for flags in (protected, live)]
        return _best_targets(sources, targets, *spared)


def normalise(metric: Tensor) -> Tensor:
    """Rows of length 1, in the dtype of similarities."""
    metric = metric.to(sum_dtype(metric))
    length: Tensor = torch.linalg.vector_norm(metric, dim=-1, keepdim=True)
    return metric / length.clamp_min_(1e-12)


@torch.no_grad()
def match_sets(
    metric: Tensor, sources: Tensor, targets: Tensor, protected: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`match_similar` for sources and targets given as positions, `[A]` and `[T]`, or `[B, A]` and `[B, T]`
    if they differ between images."""
    with without_autocast(metric.device):
        unit = normalise(metric)
        sides = _pick(unit, sources), _pick(unit, targets)
        flags = None if protected is None else _Spared(_pick(protected, sources), _pick(protected, targets))
        return _best_targets(*sides, flags)


def _pick(x: Tensor, positions: Tensor) -> Tensor:
    return x.index_select(1, positions) if positions.ndim == 1 else take(x, positions)


@torch.no_grad()
def join_best(
    score: Tensor, target: Tensor, r: int, sources: Tensor, targets: Tensor, num_prefix_tokens: int = 0
) -> MergePlan:
    """Merge the r sources of highest score into their targets, for sources and targets given as positions.

    The new order is: prefix, sources that stay in descending order of score, targets.

    Args:
        score: priority of each source, `[B, A]`; the highest merge first.
        target: number of its target, `[B, A]` int64.
        r: sources to merge, at most A.
        sources: their positions, `[A]` int64, or `[B, A]` if they differ between images.
        targets: their positions, `[T]` or `[B, T]` int64; with the prefix, these are all tokens.
        num_prefix_tokens: tokens at the front that keep the first slots.
    """
    (batch, count), prefix = score.shape, num_prefix_tokens
    _, order = sort_stably(score, dim=1, descending=True)
    first_target = prefix + count - r
    staying = torch.arange(prefix, first_target, device=score.device).expand(batch, -1)
    slots = torch.empty_like(target).scatter_(1, order[:, r:], staying)
    slots = slots.scatter(1, order[:, :r], target.gather(1, order[:, :r]) + first_target)
    num_tokens, num_slots = prefix + count + targets.shape[-1], first_target + targets.shape[-1]
    source_map = torch.arange(num_tokens, device=score.device).repeat(batch, 1)
    source_map = source_map.scatter(1, sources.expand(batch, -1), slots)
    own = torch.arange(first_target, num_slots, device=score.device).expand(batch, -1)
    source_map = source_map.scatter(1, targets.expand(batch, -1), own)
    return MergePlan(source_map, num_slots, validate=False)


class _Spared(NamedTuple):
    """Flags, or weights, of the sources `[B, A]` and of the targets `[B, T]`."""

    sources: Tensor
    targets: Tensor

    @classmethod
    def of(cls, flags: Tensor | None, num_prefix_tokens: int) -> _Spared | None:
        return None if flags is None else cls(*halves(flags, num_prefix_tokens))

    def part(self, images: slice, rows: slice) -> _Spared:
        return _Spared(self.sources[images, rows], self.targets[images])


def _best_targets(
    sources: Tensor, targets: Tensor, protected: _Spared | None = None, live: _Spared | None = None
) -> tuple[Tensor, Tensor]:
    """The largest product of every source `[B, A, D]` with a target `[B, T, D]`, and its target: 2 x `[B,
    A]`.

    Images (and the sources of one image, if it has too many tokens) are processed in parts, so that no more
    than `MAX_SCORES` products are in memory at once.
    """
    (batch, num_sources), num_targets = sources.shape[:2], targets.shape[1]
    targets = targets.transpose(1, 2)
    rows = max(_MIN_ROWS, MAX_SCORES // max(1, num_targets))
    images = max(1, rows // max(1, num_sources))
    if images >= batch and rows >= num_sources:
        return _best(torch.bmm(sources, targets), protected, live)  # [B, A, T]
    values = sources.new_empty(batch, num_sources)
    indices = torch.empty_like(values, dtype=torch.int64)
    for image in range(0, batch, images):
        some = slice(image, image + images)
        for row in range(0, num_sources, rows):
            # The last part is as large as the others: products of few rows may be rounded differently.
            part = slice(max(0, min(row, num_sources - rows)), min(row + rows, num_sources))
            values[some, part], indices[some, part] = _best(
                torch.bmm(sources[some, part], targets[some]),
                *(flags and flags.part(some, part) for flags in (protected, live)),
            )
    return values, indices


def _best(scores: Tensor, protected: _Spared | None, live: _Spared | None) -> tuple[Tensor, Tensor]:
    if protected is not None:
        scores = lower(scores, *protected)
    if live is not None:
        scores = scores.masked_fill(~(live.sources.unsqueeze(2) & live.targets.unsqueeze(1)), -torch.inf)
    best = scores.max(dim=-1)
    return best.values, best.indices


def lower(scores: Tensor, of_sources: Tensor, of_targets: Tensor) -> Tensor:
    """Lower the scores of protected pairs, `[B, A, T]`.

    Args:
        scores: scores of all pairs.
        of_sources: flags of the sources, `[B, A]` bool: a pair with one loses `APART`. Or weights, float: a
            pair loses the larger one, `MOST` at most.
        of_targets: the same of the targets, `[B, T]`.
    """
    first, second = of_sources.unsqueeze(2), of_targets.unsqueeze(1)
    if first.dtype == torch.bool:
        return torch.where(first | second, scores - APART, scores)
    return scores - torch.maximum(first, second).clamp_max(MOST).to(scores.dtype)


def plan_most_similar(
    metric: Tensor, r: int, num_prefix_tokens: int = 0, protected: Tensor | None = None
) -> MergePlan:
    """The r sources most similar to their best target join it: `[B, N, D]` to N - r slots.

    Args:
        metric: `[B, N, D]`.
        r: tokens to remove, at most half of those after the prefix.
        num_prefix_tokens: tokens at the front that do not merge.
        protected: further tokens to protect, `[B, N]` bool or float; see `match_similar`.
    """
    if protected is None and uses_triton(metric):
        return fused.plan_most_similar(metric, r, num_prefix_tokens)
    similarity, target = match_similar(metric, num_prefix_tokens, protected)
    return plan_pairs(similarity, target, r, metric.shape[1], num_prefix_tokens)


@torch.no_grad()
def plan_pairs(
    score: Tensor, target: Tensor, r: int, num_tokens: int, num_prefix_tokens: int = 0
) -> MergePlan:
    """Merge the r sources of highest score into their targets.

    The new order is: prefix, sources that stay, targets. Sources that stay are in descending order of score;
    with one or two prefix tokens (ToMe's class and distillation token) they keep their order. The order
    matters because every second token of the result is a source of the next layer. Of equal scores, the first
    ranks higher.

    Args:
        score: priority of each source, `[B, A]`, any float dtype; the highest merge first.
        target: number of its target, `[B, A]` int64, counted among the targets.
        r: sources to merge, at most A.
        num_tokens: N, prefix included.
        num_prefix_tokens: T tokens at the front that keep the first T slots.
    """
    if score.dtype == torch.float32 and uses_triton(score):
        return fused.plan_pairs(score, target, r, num_tokens, num_prefix_tokens)
    batch, num_sources = score.shape
    num_slots = num_tokens - r
    # [B, A]; all of them, because this also orders the sources that stay
    _, order = sort_stably(score, dim=1, descending=True)
    # Cached on the CPU only: on a GPU a CUDA graph may be in capture, and its memory is reused.
    is_plain = type(score) is Tensor and score.device.type == "cpu" and not torch.compiler.is_compiling()
    find = _keep_places if is_plain else _find_places
    places = find(batch, num_tokens, num_sources, r, num_prefix_tokens, score.device)
    tokens = torch.add(places.first_source, order, alpha=2)  # [B, A]
    merged, kept = tokens[:, :r], tokens[:, r:]
    if num_prefix_tokens in (1, 2):
        kept = kept.sort(dim=1).values
    leaders = torch.cat([places.prefix, kept, places.targets], dim=1)  # [B, M]
    slots = target.gather(1, order[:, :r]).add_(places.first_target_slot)
    moves = Moves(leaders.flatten(), merged.flatten(), slots.flatten())
    return MergePlan.from_moves(moves, batch, num_tokens, num_slots)


class _Places(NamedTuple):
    """The part of `plan_pairs` that depends on shapes only; numbers run through all images, as in `Moves`."""

    prefix: Tensor  # [B, T]
    targets: Tensor  # their tokens, in order
    first_source: Tensor  # its token, [B, 1]
    first_target_slot: Tensor  # [B, 1]


def _find_places(
    batch: int, num_tokens: int, num_sources: int, r: int, prefix: int, device: torch.device
) -> _Places:
    first_token = torch.arange(batch, device=device).unsqueeze(1) * num_tokens
    tokens = first_token + torch.arange(num_tokens, device=device)  # [B, N]
    sources, targets = halves(tokens, prefix)
    first_slot = torch.arange(batch, device=device).unsqueeze(1) * (num_tokens - r)
    return _Places(tokens[:, :prefix], targets, sources[:, :1], first_slot + (prefix + num_sources - r))


@lru_cache(maxsize=128)
def _keep_places(*shape: Any) -> _Places:
    """The same, cached: every forward pass of a model needs the same few values. They are never changed."""
    with torch.inference_mode(False):  # otherwise they could not be used in a later training step
        return _find_places(*shape)


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Switch autocast off, because it would compute products, such as similarities, in half precision."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
