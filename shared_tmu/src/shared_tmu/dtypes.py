"""Number formats of intermediate results."""

from __future__ import annotations

import torch
from torch import Tensor


def sum_dtype(x: Tensor) -> torch.dtype:
    """The dtype for sums and similarities of `x`: float32, or float64 if `x` is float64."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
