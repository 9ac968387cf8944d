"""The figures of one row of a benchmark, from its times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from shared_tmu.bench.measured_model import Variant
from shared_tmu.programs.timing import Comparison, Timing, compare_times
from shared_tmu.schedule import Schedule

OFF = Schedule()
REFERENCE = Variant(torch.float32, "eager", OFF)
"""The reference of every row in addition to its own baseline: the model as published."""


def compare_variant(
    variant: Variant, times: Mapping[Variant, Timing], flop_ideal: float, off_over_reference: Comparison
) -> dict[str, Any]:
    """The figures of one row.

    Args:
        variant: the variant of the row.
        times: times of the variant, its slicing floor, and `off` in the same dtype and runtime.
        flop_ideal: speed-up if time were proportional to FLOPs and merging were free.
        off_over_reference: how much faster that `off` is than `REFERENCE`.

    Returns:
        `speedup` over `off`; `floor_speedup`, the floor's over `off`; `overhead` = time / floor - 1;
        `flop_ideal`; `realised` = speedup / flop_ideal; `speedup_over_reference` = speedup *
        `off_over_reference`; each measured value with the quartiles of its ratio within the rounds (for the
        product, the quartiles of both factors multiplied); `pays`, whether more than three quarters of the
        rounds were faster than `off`; and all times.
    """
    off = times[Variant(variant.dtype, variant.runtime, OFF)]
    own = times[variant]
    floor = off if variant.schedule.is_off else times[variant.floor()]
    gain, possible, cost = compare_times(off, own), compare_times(off, floor), compare_times(own, floor)
    over_reference = [a * b for a, b in zip(gain.quartiles, off_over_reference.quartiles, strict=True)]
    return {
        "speedup": gain.speedup,
        "speedup_quartiles": list(gain.quartiles),
        "floor_speedup": possible.speedup,
        "floor_speedup_quartiles": list(possible.quartiles),
        "overhead": cost.speedup - 1,
        "overhead_quartiles": [ratio - 1 for ratio in cost.quartiles],
        "flop_ideal": flop_ideal,
        "realised": gain.speedup / flop_ideal,
        "reference": f"{REFERENCE.dtype_name} {REFERENCE.runtime} {REFERENCE.schedule}",
        "speedup_over_reference": gain.speedup * off_over_reference.speedup,
        "speedup_over_reference_quartiles": over_reference,
        "pays": variant.schedule.is_off or gain.quartiles[0] > 1,
        "rounds": len(own.seconds),
        "latency_ms": milliseconds(own),
        "floor_latency_ms": milliseconds(floor),
        "off_latency_ms": milliseconds(off),
    }


def milliseconds(timing: Timing) -> list[float]:
    """The times of all rounds, as records hold them."""
    return [round(1000 * s, 4) for s in timing.seconds]
