"""The kernels as PyTorch operators, so that `torch.compile`, fake tensors and CUDA graphs can handle calls.

Importing this module registers the operators and needs only torch; Triton is loaded at the first call.
`launch.py`, which allocates the results, documents the shapes.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, library

from ..errors import MissingDependencyError

_library: Any = library.Library("shared_tmu", "DEF")  # type: ignore[no-untyped-call]
_launch: ModuleType | None = None


def _load_launch() -> ModuleType:
    """The module `launch`, which needs Triton.

    Raises:
        MissingDependencyError: Triton is not installed.
    """
    global _launch
    if _launch is None:
        try:
            from . import launch
        except ModuleNotFoundError as error:
            if error.name != "triton":
                raise
            raise MissingDependencyError(
                "the GPU kernels need Triton, which is not installed: pip install 'shared_tmu[gpu]'."
            ) from error
        _launch = launch
    return _launch


def _match_similar(metric: Tensor, num_prefix_tokens: int) -> Any:
    return _load_launch().match_similar(metric, num_prefix_tokens)


def _match_similar_shapes(metric: Tensor, num_prefix_tokens: int) -> tuple[Tensor, Tensor]:
    free = metric.shape[1] - num_prefix_tokens
    shape = (metric.shape[0], free // 2 if num_prefix_tokens == 1 else free - free // 2)
    return metric.new_empty(shape, dtype=torch.float32), metric.new_empty(shape, dtype=torch.int64)


def _plan_pairs(score: Tensor, target: Tensor, r: int, num_tokens: int, num_prefix_tokens: int) -> Any:
    return _load_launch().plan_pairs(score, target, r, num_tokens, num_prefix_tokens)


def _plan_pairs_shapes(
    score: Tensor, target: Tensor, r: int, num_tokens: int, num_prefix_tokens: int
) -> Tensor:
    return score.new_empty(score.shape[0], num_tokens, dtype=torch.int64)


def _plan_most_similar(metric: Tensor, r: int, num_prefix_tokens: int) -> Any:
    return _load_launch().plan_most_similar(metric, r, num_prefix_tokens)


def _plan_most_similar_shapes(metric: Tensor, r: int, num_prefix_tokens: int) -> Tensor:
    return metric.new_empty(metric.shape[:2], dtype=torch.int64)


def _merge(x: Tensor, source_map: Tensor, num_slots: int, size: Tensor | None, before: Tensor | None) -> Any:
    return _load_launch().merge(x, source_map, num_slots, size, before)


def _merge_shapes(
    x: Tensor, source_map: Tensor, num_slots: int, size: Tensor | None, before: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        x.new_empty(x.shape[0], num_slots, x.shape[2]),
        x.new_empty(x.shape[0], num_slots, dtype=torch.float32),
        source_map.new_empty((0,) if before is None else before.shape),
    )


def _widen(
    q: Tensor, k: Tensor, v: Tensor, size: Tensor, width: int, query_channel: float, key_factor: float
) -> Any:
    return _load_launch().widen(q, k, v, size, width, query_channel, key_factor)


def _widen_shapes(
    q: Tensor, k: Tensor, v: Tensor, size: Tensor, width: int, query_channel: float, key_factor: float
) -> Tensor:
    batch, heads, num_tokens, _ = q.shape
    return q.new_empty(3, batch, num_tokens, heads, width).transpose(2, 3)


def _register(schema: str, call: Any, shapes: Any) -> Any:
    name = schema.split("(", 1)[0]
    _library.define(schema)
    _library.impl(name, call, "CompositeExplicitAutograd")
    library.register_fake(f"shared_tmu::{name}", shapes, lib=_library)
    return getattr(torch.ops.shared_tmu, name).default


match_similar = _register(
    "match_similar(Tensor metric, int num_prefix_tokens) -> (Tensor, Tensor)",
    _match_similar,
    _match_similar_shapes,
)
plan_pairs = _register(
    "plan_pairs(Tensor score, Tensor target, int r, int num_tokens, int num_prefix_tokens) -> Tensor",
    _plan_pairs,
    _plan_pairs_shapes,
)
plan_most_similar = _register(
    "plan_most_similar(Tensor metric, int r, int num_prefix_tokens) -> Tensor",
    _plan_most_similar,
    _plan_most_similar_shapes,
)
merge = _register(
    "merge(Tensor x, Tensor source_map, int num_slots, Tensor? size, Tensor? before)"
    " -> (Tensor, Tensor, Tensor)",
    _merge,
    _merge_shapes,
)
widen = _register(
    "widen(Tensor q, Tensor k, Tensor v, Tensor size, int width, float query_channel, float key_factor)"
    " -> Tensor",
    _widen,
    _widen_shapes,
)
