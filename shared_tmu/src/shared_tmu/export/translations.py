"""Translations for operators that torch's exporter does not support, or exports in a form that is slow in
onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Operators of torch, with functions that write them as ONNX; for `torch.onnx.export`."""
    return {torch.ops.aten.sort.stable: _sort_stable}


def _sort_stable(x: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """TopK of all values: of equal values it puts the lower index first, as a stable sort does.

    Source: the ONNX operators' reference, TopK: "Given two equivalent values, this operator uses the indices
    along the axis as a tiebreaker."
    """
    from onnxscript import opset18 as op

    count: Any = op.Constant(value_ints=[int(x.shape[dim])])
    return op.TopK(x, count, axis=dim, largest=int(descending), sorted=1)
