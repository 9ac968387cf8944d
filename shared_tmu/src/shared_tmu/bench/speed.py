"""How much faster a patched model is, compared with the slicing floor and the ratio of FLOPs.

A row is one batch size, dtype, runtime and schedule, and is yielded as soon as it is measured: the patched
model, its slicing floor and the unpatched model of the same dtype and runtime, timed in the same rounds. The
rounds of the first row of a dtype and runtime also include the unpatched model in eager float32; all other
rows are compared with it through their own unpatched model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import median
from typing import Any

import torch
from torch import Tensor

from shared_tmu.bench.costs import MEMORY_MEANS, vertex_error_mm
from shared_tmu.bench.measured_model import MeasuredModel, Variant
from shared_tmu.bench.runtimes import RUNTIMES, Call, find_runtime
from shared_tmu.bench.speed_figures import OFF, REFERENCE, compare_variant, milliseconds
from shared_tmu.programs.estimates import Estimate
from shared_tmu.programs.program import Program
from shared_tmu.programs.results import describe_environment
from shared_tmu.programs.timing import Comparison, Timing, compare_times, measure_calls
from shared_tmu.schedule import Schedule

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpeedSettings:
    """What to measure.

    Args:
        schedules: schedules to compare with the unpatched model.
        batch_sizes: crops per call.
        dtypes: number formats of weights and inputs, by the names that the user gave (`auto` is one).
        runtimes: rows of `RUNTIMES`.
        rounds: how often every variant of a row is timed.
        warmup: untimed rounds before these.
        budget_s: stop early when the timed rounds of one row have taken this long.
    """

    schedules: tuple[Schedule, ...]
    batch_sizes: tuple[int, ...]
    dtypes: Mapping[str, torch.dtype]
    runtimes: tuple[str, ...] = ("eager",)
    rounds: int = 30
    warmup: int = 2
    budget_s: float = 60.0

    def effort(self) -> dict[str, float]:
        """How thoroughly a row is to be measured, as records tell it."""
        return {"rounds": self.rounds, "warmup": self.warmup, "budget_s": self.budget_s}

    def is_met_by(self, record: Mapping[str, Any]) -> bool:
        """Whether a row was measured as thoroughly: in as many rounds, or until as large a budget ended."""
        asked = record.get("asked", {"rounds": 0, "warmup": self.warmup, "budget_s": 0.0})
        was_stopped = record["rounds"] < asked["rounds"] and asked["budget_s"] >= self.budget_s
        return bool(asked["warmup"] >= self.warmup and (record["rounds"] >= self.rounds or was_stopped))


def measure_speed(
    program: Program,
    subject: MeasuredModel,
    settings: SpeedSettings,
    known: Sequence[Mapping[str, Any]] = (),
) -> Iterator[dict[str, Any]]:
    """One record per batch size, dtype, runtime and schedule, `off` first, each as soon as it is measured.

    Args:
        program: description of the model.
        subject: the model at one size.
        settings: what to measure.
        known: records of earlier runs; those of the same commit, machine and versions are neither measured
            nor returned again, unless they had fewer rounds than they would have now. A checkout with
            uncommitted changes is always measured.

    Raises:
        InputError: a runtime does not exist or does not work on this device.
        ScheduleError: a schedule has more layers than the model.
    """
    for name in settings.runtimes:
        find_runtime(name, subject.device)
    for batch_size, tables in _heads(program, subject, settings).items():
        group = _Group(subject, settings, batch_size)
        for heads in tables:
            for variant, figures in group.rows([*heads], _find_known(heads, known, settings)):
                rate = 1000 * batch_size / median(figures["latency_ms"])
                yield {**heads[variant], "images_per_s": rate, **figures, "asked": settings.effort()}


def find_known_rows(
    program: Program, subject: MeasuredModel, settings: SpeedSettings, known: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Those of the known records that `measure_speed` does not measure again; see there."""
    tables = _heads(program, subject, settings).values()
    return [record for heads in chain(*tables) for record in _find_known(heads, known, settings).values()]


def _heads(
    program: Program, subject: MeasuredModel, settings: SpeedSettings
) -> dict[int, list[dict[Variant, dict[str, Any]]]]:
    """What identifies every record: by batch size, for each dtype and runtime, its rows, `off` first."""
    schedules = tuple(dict.fromkeys((OFF, *settings.schedules)))
    facts = {**subject.facts(), **describe_environment(subject.device, program.folder)}
    counts = {schedule: subject.count_tokens(schedule) for schedule in schedules}

    def head(asked: str, variant: Variant, batch_size: int) -> dict[str, Any]:
        return {
            "kind": "speed",
            **facts,
            "dtype": variant.dtype_name,
            "dtype_asked": asked,
            "runtime": variant.runtime,
            "batch_size": batch_size,
            "schedule": str(variant.schedule),
            "tokens": counts[variant.schedule][0],
            "tokens_kept": counts[variant.schedule][-1],
        }

    return {
        size: [
            {v: head(asked, v, size) for v in (Variant(dtype, runtime, schedule) for schedule in schedules)}
            for asked, dtype in settings.dtypes.items()
            for runtime in settings.runtimes
        ]
        for size in settings.batch_sizes
    }


def _find_known(
    heads: Mapping[Variant, Mapping[str, Any]], known: Sequence[Mapping[str, Any]], settings: SpeedSettings
) -> dict[Variant, Mapping[str, Any]]:
    """The latest known record of every variant that was measured with the same code on this machine, as
    thoroughly as is asked.
    """
    found: dict[Variant, Mapping[str, Any]] = {}
    for variant, head in heads.items():
        commit = head["commit"]
        if commit is None or commit.endswith("-dirty"):
            continue
        for record in known:
            is_same = all(record.get(name) == value for name, value in head.items())
            if is_same and settings.is_met_by(record):
                found[variant] = record
    return found


class _Group:
    """All rows of one batch size; at most four variants are in memory at a time."""

    def __init__(self, subject: MeasuredModel, settings: SpeedSettings, batch_size: int) -> None:
        self.subject, self.settings, self.batch_size = subject, settings, batch_size
        self._calls: dict[Variant, Call] = {}
        self._extras: dict[Variant, dict[str, Any]] = {}
        self._vertices: dict[Schedule, Tensor] = {}
        self._figures: dict[Variant, dict[str, Any]] = {}
        self._flops: dict[Schedule, int] = {}

    def rows(
        self, variants: Sequence[Variant], known: Mapping[Variant, Mapping[str, Any]]
    ) -> Iterator[tuple[Variant, dict[str, Any]]]:
        """Measure the variants of one dtype and runtime, `off` first, and return their figures.

        Args:
            variants: the rows.
            known: variants that need no measurement, with their records.
        """
        off = variants[0]
        wanted = [variant for variant in variants if variant not in known]
        first = next((variant for variant in wanted if variant != off), off)
        for variant in wanted:
            # it may be measured already: `auto` is one of the dtypes
            if variant not in self._figures:
                self._measure(first if variant == off else variant, off, known.get(off))
            yield variant, self._figures[variant]
        self._forget(keep=[REFERENCE])

    def _measure(self, variant: Variant, off: Variant, of_off: Mapping[str, Any] | None) -> None:
        """Fill in the figures of a variant, and those of `off` unless they are known."""
        of_off = of_off or self._figures.get(off)
        together = [off] if variant == off else [off, variant, variant.floor()]
        times = self._time(together if of_off else [REFERENCE, *together])
        if of_off is None:
            figures = compare_variant(off, times, 1.0, compare_times(times[REFERENCE], times[off]))
            figures["reference_latency_ms"] = milliseconds(times[REFERENCE])
            of_off = self._figures[off] = {**figures, **self._extras[off]}
        if variant != off:
            quartiles = of_off["speedup_over_reference_quartiles"]
            over_reference = Comparison(of_off["speedup_over_reference"], (quartiles[0], quartiles[1]))
            figures = compare_variant(variant, times, self._flop_ideal(variant), over_reference)
            self._figures[variant] = {**figures, **self._extras[variant]}
        self._forget(keep=[REFERENCE, off] if RUNTIMES[off.runtime].release is None else [REFERENCE])

    def _time(self, variants: Sequence[Variant]) -> dict[Variant, Timing]:
        """Prepare variants that are not ready, and time all of them in turn."""
        for variant in variants:
            if variant not in self._calls:
                self._prepare(variant)
        settings = self.settings
        with torch.inference_mode():
            return measure_calls(
                {variant: self._calls[variant] for variant in variants},
                self.subject.device,
                rounds=settings.rounds,
                warmup=settings.warmup,
                budget_s=settings.budget_s,
            )

    def _prepare(self, variant: Variant) -> None:
        """Prepare a variant, run it once, and store the values of its record other than times."""
        if variant.is_floor:
            call = self._calls[variant] = self.subject.prepare(variant, self.batch_size)
            with torch.inference_mode():
                call()
            return
        first = self.subject.run_first(variant, self.batch_size)
        self._calls[variant] = first.call
        self._extras[variant] = {
            "peak_memory_mib": first.memory_mib,
            "peak_memory_means": MEMORY_MEANS.get(self.subject.device.type),
            "vertex_error_mm": self._vertex_error(variant, first.output),
            "gflops": self._count_flops(variant.schedule) / 1e9,
        }

    def _forget(self, keep: Sequence[Variant]) -> None:
        """Free all other variants, and what their runtimes keep."""
        for variant in [variant for variant in self._calls if variant not in keep]:
            del self._calls[variant]
            if (release := RUNTIMES[variant.runtime].release) is not None:
                release()

    def _flop_ideal(self, variant: Variant) -> float:
        return self._count_flops(OFF) / self._count_flops(variant.schedule)

    def _count_flops(self, schedule: Schedule) -> int:
        if schedule not in self._flops:
            self._flops[schedule] = self.subject.count_flops(schedule)
        return self._flops[schedule]

    def _vertex_error(self, variant: Variant, output: Any) -> dict[str, float] | None:
        """Distance of a variant's vertices from those of eager float32 with the same schedule."""
        estimates = self.subject.program.estimates
        if self.subject.scope != "model" or not isinstance(estimates, Estimate):
            return None
        find = estimates.vertices
        if variant.schedule not in self._vertices:
            reference = Variant(torch.float32, "eager", variant.schedule)
            is_reference = variant == reference
            wide = output if is_reference else self.subject.run_first(reference, self.batch_size).output
            self._vertices[variant.schedule] = find(wide)
        error = vertex_error_mm(find(output), self._vertices[variant.schedule])
        if error is None:
            _log.warning(
                "%s in %s with %s, batch %d: vertices are not finite, or those of eager float32 are not: "
                "their error is null in the results.",
                *(variant.schedule, variant.dtype_name, variant.runtime, self.batch_size),
            )
        return error
