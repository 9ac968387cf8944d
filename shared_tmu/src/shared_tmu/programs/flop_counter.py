"""FLOPs of a call, as torch counts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


def count_flops(call: Callable[[], object]) -> int:
    """FLOPs of the matrix products and convolutions of a call, including attention, as torch counts them.

    A multiply-accumulate counts as two; for the slicing floor of a trunk this equals the sum of
    `shared_tmu.methods.count_costs`.
    """
    with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter:
        call()
    return int(counter.get_total_flops())


def _attention_flops(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q, k, v))  # type: ignore[no-untyped-call]


_CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
