"""Named sets of measurements for one command, and the targets that their results are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from shared_tmu.bench.measured_model import MeasuredModel
from shared_tmu.bench.speed import SpeedSettings, find_known_rows, measure_speed
from shared_tmu.errors import InputError
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.schedule import Schedule

_SCHEDULES = tuple(Schedule.parse(text) for text in ("5x20", "8x16", "10x16", "12x8+6x8"))


@dataclass(frozen=True)
class Verdict:
    """Whether a target is reached.

    Attributes:
        target: its name.
        is_reached: whether it is reached; None if it was not measured.
        found: the worst of the figures that the target covers.
        limit: the largest, or smallest, allowed figure.
        where: the row with the worst figure.
    """

    target: str
    is_reached: bool | None
    found: float | None
    limit: float
    where: str | None

    def __str__(self) -> str:
        if self.is_reached is None:
            return f"not measured  {self.target}"
        word = "reached" if self.is_reached else "MISSED"
        return f"{word}  {self.target}: {self.found:.3f}, limit {self.limit} ({self.where})"


@dataclass(frozen=True)
class Target:
    """A limit for a figure.

    Args:
        name: description in words.
        selects: function that selects the records of the suite to which it applies.
        figure: name of the field.
        limit: the smallest, or largest, allowed value.
        is_most: whether `limit` is the largest.
    """

    name: str
    selects: Callable[[Mapping[str, Any]], bool]
    figure: str
    limit: float
    is_most: bool

    def judge(self, records: Sequence[Mapping[str, Any]]) -> Verdict:
        """Compare the worst of the selected figures with the limit."""
        chosen = [record for record in records if self.selects(record)]
        if not chosen:
            return Verdict(self.name, None, None, self.limit, None)
        worst = (max if self.is_most else min)(chosen, key=lambda record: float(record[self.figure]))
        found = float(worst[self.figure])
        is_reached = found <= self.limit if self.is_most else found >= self.limit
        where = f"batch {worst['batch_size']}, {worst['schedule']}, {worst['runtime']}"
        return Verdict(self.name, is_reached, found, self.limit, where)


@dataclass(frozen=True)
class Suite:
    """Measurements of one model, one after the other.

    Args:
        name: what users type.
        device_type: type of device for which it is meant.
        measurements: settings by name.
        targets: limits with which the results are compared.
    """

    name: str
    device_type: str
    measurements: Mapping[str, SpeedSettings]
    targets: Sequence[Target] = ()


def _is_merged(record: Mapping[str, Any]) -> bool:
    return bool(record["schedule"] != "off" and record["dtype"] == "bfloat16")


def _is_best(record: Mapping[str, Any]) -> bool:
    return _is_merged(record) and record["schedule"] == "10x16" and record["runtime"] == "graph"


def _on_gpu(runtime: str, batch_sizes: tuple[int, ...], rounds: int, warmup: int) -> SpeedSettings:
    return SpeedSettings(
        schedules=_SCHEDULES,
        batch_sizes=batch_sizes,
        dtypes={"bfloat16": torch.bfloat16},
        runtimes=(runtime,),
        rounds=rounds,
        warmup=warmup,
        budget_s=4.0,
    )


_TRIED = SpeedSettings((Schedule.parse("10x16"),), (1,), {"float32": torch.float32}, rounds=1, warmup=0)

GPU = Suite(
    name="gpu",
    device_type="cuda",
    measurements={
        "throughput-graph": _on_gpu("graph", (16, 32, 64), 30, 3),
        "latency-graph": _on_gpu("graph", (1,), 100, 10),
        "throughput-eager": _on_gpu("eager", (16, 32, 64), 30, 3),
        "latency-eager": _on_gpu("eager", (1,), 100, 10),
    },
    targets=(
        Target(
            "overhead over the slicing floor, batch 16 to 64, bfloat16",
            lambda r: _is_merged(r) and r["batch_size"] >= 16,
            "overhead",
            0.05,
            is_most=True,
        ),
        Target(
            "overhead over the slicing floor, batch 1 with CUDA graphs, bfloat16",
            lambda r: _is_merged(r) and r["batch_size"] == 1 and r["runtime"] == "graph",
            "overhead",
            0.15,
            is_most=True,
        ),
        Target(
            "10x16 in bfloat16 with CUDA graphs over float32, eager, no merging, batch 16 to 64",
            lambda r: _is_best(r) and r["batch_size"] >= 16,
            "speedup_over_reference",
            8.0,
            is_most=False,
        ),
    ),
)
TRIAL = Suite("trial", "cpu", dict.fromkeys(GPU.measurements, _TRIED), GPU.targets)
"""A tiny suite that tests the code of suites on a CPU; its figures have no meaning."""
SUITES: Mapping[str, Suite] = MappingProxyType({suite.name: suite for suite in (GPU, TRIAL)})


def run_suite(
    suite: Suite,
    program: ModelProgram,
    subject: MeasuredModel,
    known: Sequence[Mapping[str, Any]] = (),
    only: Sequence[str] = (),
) -> Iterator[dict[str, Any]]:
    """All records except the `known` ones, each with the names of its `suite` and `measurement`.

    Args:
        suite: what to measure.
        program: description of the model.
        subject: the model at one size.
        known: see `measure_speed`.
        only: names of the measurements to make; empty for all.

    Raises:
        InputError: the suite is for another type of device, or has no such measurement; otherwise as in
            `measure_speed`.
    """
    if unknown := [name for name in only if name not in suite.measurements]:
        raise InputError(
            f"suite {suite.name!r} has no measurement {unknown[0]!r}: choose from "
            f"{', '.join(suite.measurements)}."
        )
    if subject.device.type != suite.device_type:
        raise InputError(
            f"suite {suite.name!r} is for {suite.device_type}, but the device is {subject.device.type}: use "
            "a machine with such a device, or leave --suite out."
        )
    for name in only or suite.measurements:
        for record in measure_speed(program, subject, suite.measurements[name], known):
            yield {"suite": suite.name, "measurement": name, **record}


def judge_suite(
    suite: Suite,
    program: ModelProgram,
    subject: MeasuredModel,
    known: Sequence[Mapping[str, Any]],
    records: Sequence[Mapping[str, Any]],
) -> list[Verdict]:
    """Whether the targets are reached: by what `run_suite` gave, and the known records because of which it
    gave no more.
    """
    reused = [find_known_rows(program, subject, each, known) for each in suite.measurements.values()]
    judged = [*(record for rows in reused for record in rows), *records]
    return [target.judge(judged) for target in suite.targets]
