"""How much faster a patched model is, beside what the hardware and the arithmetic could give.

For one batch size everything is timed in the same rounds: for every dtype and runtime the unpatched model,
and for every schedule the patched model and its slicing floor; and the unpatched model in eager float32,
with which all rows are compared too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shared_tmu.bench.costs import MEMORY_MEANS, vertex_error_mm
from shared_tmu.bench.program import BenchProgram
from shared_tmu.bench.records import describe_environment
from shared_tmu.bench.runtimes import Call, find_runtime
from shared_tmu.bench.subject import Subject, Variant
from shared_tmu.bench.timing import Timing, compare_times, measure_calls
from shared_tmu.schedule import Schedule

OFF = Schedule()
REFERENCE = Variant(torch.float32, "eager", OFF)
"""What every row is compared with besides its own baseline: the model as published."""


@dataclass(frozen=True)
class SpeedSettings:
    """What to measure.

    Args:
        schedules: to compare with the unpatched model.
        batch_sizes: crops per call; each is a measurement of its own.
        dtypes: of weights and inputs, by the name the user gave (`auto` is one).
        runtimes: rows of `RUNTIMES`.
        rounds: how often everything is timed.
        warmup: rounds before these that do not count.
        budget_s: stop early when the timed rounds of one batch size have taken this long.
    """

    schedules: tuple[Schedule, ...]
    batch_sizes: tuple[int, ...]
    dtypes: Mapping[str, torch.dtype]
    runtimes: tuple[str, ...] = ("eager",)
    rounds: int = 30
    warmup: int = 2
    budget_s: float = 60.0


def measure_speed(
    program: BenchProgram, subject: Subject, settings: SpeedSettings
) -> Iterator[dict[str, Any]]:
    """One record per batch size, dtype, runtime and schedule, `off` first; all of a batch size come together.

    Raises:
        InputError: a runtime that does not exist, or not on this device.
        ScheduleError: a schedule for more layers than the model has.
    """
    schedules = tuple(dict.fromkeys((OFF, *settings.schedules)))
    for name in settings.runtimes:
        find_runtime(name, subject.device)
    facts = {**subject.facts(), **describe_environment(subject.device, program.folder)}
    counts = {schedule: subject.count_tokens(schedule) for schedule in schedules}
    flops = {schedule: subject.count_flops(schedule) for schedule in schedules}
    for batch_size in settings.batch_sizes:
        group = _Group(subject, settings, schedules, batch_size)
        times = group.times()
        for asked, dtype in settings.dtypes.items():
            for runtime in settings.runtimes:
                for schedule in schedules:
                    variant = Variant(dtype, runtime, schedule)
                    yield {
                        "kind": "speed",
                        **facts,
                        "dtype": variant.dtype_name,
                        "dtype_asked": asked,
                        "runtime": runtime,
                        "batch_size": batch_size,
                        "schedule": str(schedule),
                        "tokens": counts[schedule][0],
                        "tokens_kept": counts[schedule][-1],
                        **compare_variant(variant, times, flops[OFF] / flops[schedule]),
                        **group.extras[variant],
                    }


def compare_variant(variant: Variant, times: Mapping[Variant, Timing], flop_ideal: float) -> dict[str, Any]:
    """The figures of one row.

    Args:
        variant: which row.
        times: of it, of its slicing floor, of `off` in the same dtype and runtime, and of `REFERENCE`.
        flop_ideal: speed-up if time were arithmetic and merging free.

    Returns:
        `speedup` over `off`; `floor_speedup`, the floor's over `off`; `overhead` = time / floor - 1;
        `flop_ideal`; `realised` = speedup / flop_ideal; `speedup_over_reference`; each measured one with the
        quartiles of its ratio within the rounds; `pays`, whether more than three quarters of the rounds were
        faster than `off`; and all times.
    """
    off = times[Variant(variant.dtype, variant.runtime, OFF)]
    own, reference = times[variant], times[REFERENCE]
    floor = off if variant.schedule.is_off else times[variant.floor()]
    gain, possible, cost = compare_times(off, own), compare_times(off, floor), compare_times(own, floor)
    over_reference = compare_times(reference, own)
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
        "speedup_over_reference": over_reference.speedup,
        "speedup_over_reference_quartiles": list(over_reference.quartiles),
        "pays": variant.schedule.is_off or gain.quartiles[0] > 1,
        "rounds": len(own.seconds),
        "latency_ms": _milliseconds(own),
        "floor_latency_ms": _milliseconds(floor),
        "off_latency_ms": _milliseconds(off),
        "reference_latency_ms": _milliseconds(reference),
    }


def _milliseconds(timing: Timing) -> list[float]:
    return [round(1000 * s, 4) for s in timing.seconds]


class _Group:
    """Everything of one batch size, ready to be called in turn.

    Attributes:
        extras: what records say beside times.
    """

    def __init__(
        self, subject: Subject, settings: SpeedSettings, schedules: tuple[Schedule, ...], batch_size: int
    ) -> None:
        self.subject, self.settings, self.batch_size = subject, settings, batch_size
        self.calls: dict[Variant, Call] = {}
        self.extras: dict[Variant, dict[str, Any]] = {}
        self._vertices: dict[Schedule, Tensor] = {}
        dtypes = dict.fromkeys(settings.dtypes.values())
        rows = [Variant(d, r, s) for d in dtypes for r in settings.runtimes for s in schedules]
        for variant in dict.fromkeys((REFERENCE, *rows)):
            first = subject.run_first(variant, batch_size)
            self.calls[variant] = first.call
            self.extras[variant] = {
                "peak_memory_mib": first.memory_mib,
                "peak_memory_means": MEMORY_MEANS.get(subject.device.type),
                "vertex_error_mm": self._vertex_error(variant, first.output),
            }
            if not variant.schedule.is_off:
                self.calls[variant.floor()] = subject.prepare(variant.floor(), batch_size)

    def times(self) -> dict[Variant, Timing]:
        """Time everything in turn."""
        rounds, warmup, budget_s = self.settings.rounds, self.settings.warmup, self.settings.budget_s
        with torch.inference_mode():
            return measure_calls(
                self.calls, self.subject.device, rounds=rounds, warmup=warmup, budget_s=budget_s
            )

    def _vertex_error(self, variant: Variant, output: Any) -> dict[str, float] | None:
        """Distance of its vertices from those of eager float32 with the same schedule."""
        find = self.subject.program.vertices
        if find is None or self.subject.scope != "model":
            return None
        if variant.schedule not in self._vertices:
            reference = Variant(torch.float32, "eager", variant.schedule)
            is_reference = variant == reference
            wide = output if is_reference else self.subject.run_first(reference, self.batch_size).output
            self._vertices[variant.schedule] = find(wide)
        return vertex_error_mm(find(output), self._vertices[variant.schedule])
