"""Attention for training on a CPU, where the fused kernel's backward pass is the slow part (torch 2.13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class AttentionWrittenOut(TorchFunctionMode):
    """Compute plain calls of `scaled_dot_product_attention` on a CPU as two products and a softmax, inside
    the `with` block.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace this one function; everything else is not changed."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and _is_plain(args, kwargs):
            q, k, v = args
            return written_out(q, k, v, kwargs.get("scale"))
        return func(*args, **kwargs)


def written_out(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """Softmax attention of queries, keys and values `[B, H, N, D]`; `scale` None is D ** -0.5."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return ((q * scale) @ k.transpose(-1, -2)).softmax(-1) @ v


def _is_plain(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call has CPU queries, keys and values, possibly a scale, but no mask and no dropout."""
    if len(args) != 3 or not set(kwargs) <= {"scale", "dropout_p"}:
        return False
    return bool(args[0].device.type == "cpu") and not kwargs.get("dropout_p", 0.0)
