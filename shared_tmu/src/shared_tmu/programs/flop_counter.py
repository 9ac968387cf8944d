"""FLOPs of a call, as torch counts them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


def count_flops(call: Callable[[], object]) -> int:
    """FLOPs of the matrix products and convolutions of a call, including attention, as torch counts them.

    A multiply-accumulate counts as two; for the slicing floor of a trunk this equals the sum of
    `shared_tmu.methods.count_costs`.
    """
    with FlopCounterMode(display=False, custom_mapping=_mapping()) as counter:
        call()
    return int(counter.get_total_flops())


def _attention_flops(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q, k, v))  # type: ignore[no-untyped-call]


def _packed_linear_flops(x: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Of a layer with a packed weight, see `shared_tmu.runtime.packing`; arguments are shapes."""
    total: int = 2 * math.prod(x) * int(out_shape[-1])
    return total


def _mapping() -> dict[Any, Callable[..., int]]:
    """Operators of ours, or of CPUs, that torch does not count."""
    found: dict[Any, Callable[..., int]] = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops
    }
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # not in builds for other processors
        found[torch.ops.mkldnn._linear_pointwise] = _packed_linear_flops
    return found
