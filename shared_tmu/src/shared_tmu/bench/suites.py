"""Named sets of measurements for one command: what the targets on a GPU are checked against."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from shared_tmu.bench.program import BenchProgram
from shared_tmu.bench.speed import SpeedSettings, measure_speed
from shared_tmu.bench.subject import Subject
from shared_tmu.errors import InputError
from shared_tmu.schedule import Schedule

_SCHEDULES = tuple(Schedule.parse(text) for text in ("5x20", "8x16", "10x16", "12x8+6x8"))


@dataclass(frozen=True)
class Target:
    """What a figure should reach.

    Args:
        name: in words.
        selects: which records of the suite it is about.
        figure: the field.
        limit: the least, or the most, it may be.
        is_most: whether `limit` is the most.
    """

    name: str
    selects: Callable[[Mapping[str, Any]], bool]
    figure: str
    limit: float
    is_most: bool

    def judge(self, records: Sequence[Mapping[str, Any]]) -> str:
        """One line: the worst of the selected figures beside the limit."""
        chosen = [record for record in records if self.selects(record)]
        if not chosen:
            return f"not measured  {self.name}"
        worst = (max if self.is_most else min)(chosen, key=lambda record: float(record[self.figure]))
        found = float(worst[self.figure])
        reached = found <= self.limit if self.is_most else found >= self.limit
        where = f"batch {worst['batch_size']}, {worst['schedule']}, {worst['runtime']}"
        return f"{'reached' if reached else 'MISSED'}  {self.name}: {found:.3f}, limit {self.limit} ({where})"


@dataclass(frozen=True)
class Suite:
    """Measurements of one model, one after the other.

    Args:
        name: what users type.
        device_type: where it makes sense.
        measurements: settings by name.
        targets: what the results are held against.
    """

    name: str
    device_type: str
    measurements: Mapping[str, SpeedSettings]
    targets: Sequence[Target]


def _is_merged(record: Mapping[str, Any]) -> bool:
    return bool(record["schedule"] != "off" and record["dtype"] == "bfloat16")


def _is_best(record: Mapping[str, Any]) -> bool:
    return _is_merged(record) and record["schedule"] == "10x16" and record["runtime"] == "graph"


GPU = Suite(
    name="gpu",
    device_type="cuda",
    measurements={
        "throughput": SpeedSettings(
            schedules=_SCHEDULES,
            batch_sizes=(16, 32, 64),
            dtypes={"bfloat16": torch.bfloat16},
            runtimes=("eager", "graph"),
            rounds=30,
            warmup=3,
            budget_s=60.0,
        ),
        "latency": SpeedSettings(
            schedules=_SCHEDULES,
            batch_sizes=(1,),
            dtypes={"bfloat16": torch.bfloat16},
            runtimes=("eager", "graph"),
            rounds=100,
            warmup=10,
            budget_s=30.0,
        ),
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
SUITES: Mapping[str, Suite] = MappingProxyType({GPU.name: GPU})


def run_suite(
    suite: Suite, program: BenchProgram, subject: Subject, known: Sequence[Mapping[str, Any]] = ()
) -> Iterator[dict[str, Any]]:
    """All records but the `known` ones, each with the names of its `suite` and `measurement`.

    Raises:
        InputError: the device is not of the kind that the suite is for; else as `measure_speed`.
    """
    if subject.device.type != suite.device_type:
        raise InputError(
            f"the suite {suite.name!r} is for {suite.device_type}, this would run on {subject.device.type}: "
            "use a machine with such a device, or leave --suite out."
        )
    for name, settings in suite.measurements.items():
        for record in measure_speed(program, subject, settings, known):
            yield {"suite": suite.name, "measurement": name, **record}
