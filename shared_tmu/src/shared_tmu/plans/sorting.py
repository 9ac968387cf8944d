"""A stable sort that also works in a model that is exported to ONNX."""

from __future__ import annotations

import torch
from torch import Tensor


def sort_stably(x: Tensor, dim: int, descending: bool = False) -> tuple[Tensor, Tensor]:
    """Sorted values and their indices along `dim`; of equal values the one with the lower index comes first.

    Inside `torch.onnx.export` it is a top k over all values: ONNX has no stable sort, but its TopK "uses the
    indices along the axis as a tiebreaker".
    """
    if torch.onnx.is_in_onnx_export():
        wide = x if x.is_floating_point() or x.dtype == torch.int64 else x.to(torch.int32)
        values, indices = wide.topk(x.shape[dim], dim=dim, largest=descending)
        return values.to(x.dtype), indices
    values, indices = x.sort(dim=dim, descending=descending, stable=True)
    return values, indices
