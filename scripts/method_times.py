"""Times of `compare_methods.py`: each way in turn with the unpatched model and its own slicing floor."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from comparison import Run
from method_lines import Asked, RunKey
from method_ways import reads_thresholds
from torch import Tensor, nn

from shared_tmu.bench.measured_model import MeasuredModel, Variant
from shared_tmu.bench.speed_figures import OFF, compare_variant
from shared_tmu.datasets import open_dataset
from shared_tmu.datasets.base import SetOptions
from shared_tmu.evaluation.batches import load_batch
from shared_tmu.programs.identity import code_sha256, digest_of, file_sha256
from shared_tmu.programs.model_program import find_program
from shared_tmu.programs.results import append_record, describe_environment, device_name, read_records
from shared_tmu.programs.timing import Comparison, measure_calls
from shared_tmu.runtime.packing import pack_if_possible
from shared_tmu.schedule import Schedule

WARMUP = 1
BUDGET_S = 20.0  # for one way
_CPU = torch.device("cpu")
_FIELDS = (
    *("speedup", "speedup_quartiles", "floor_speedup", "floor_speedup_quartiles", "overhead"),
    *("overhead_quartiles", "rounds", "latency_ms", "floor_latency_ms", "off_latency_ms"),
)


def known_times(asked: Asked, batch_size: int) -> dict[RunKey, Run]:
    """Times that were measured on this machine with these weights, this code and this batch size, by run."""
    key = _key(asked, batch_size)
    return {
        (line["method"], line["schedule"], line["restore"]): line
        for line in read_records(asked.times)
        if line.get("key") == key and {"method", "schedule", "restore", *_FIELDS} <= line.keys()
    }


def time_missing(asked: Asked, rounds: int, batch_size: int) -> None:
    """Time every run of which `known_times` has none; each is kept at once."""
    known = known_times(asked, batch_size)
    todo = [run for run in asked.runs if run not in known]
    if not todo:
        return
    program = find_program(asked.model.stem)
    subject = MeasuredModel(program, "thin", _CPU)
    off = subject.build(Variant(torch.float32, "packed", OFF))
    data = open_dataset(asked.model.dataset, Path(), SetOptions().for_model(off))
    batch = load_batch(data, range(min(batch_size, len(data))), _CPU)
    pack_if_possible(off)
    facts = describe_environment(_CPU, program.folder)
    for method, schedule, restore in todo:
        found = time_run(subject.running(method, restore), off, Schedule.parse(schedule), batch, rounds)
        about = {"key": _key(asked, batch_size), "method": method, "schedule": schedule, "restore": restore}
        threads, size = facts["machine"]["cpu_threads"], len(batch["img"])
        facts_of_time = {"timed_batch_size": size, "timed_threads": threads, "timed_commit": facts["commit"]}
        append_record(asked.times, {**about, **found, **facts_of_time})


def time_run(
    subject: MeasuredModel, off: nn.Module, schedule: Schedule, batch: Mapping[str, Tensor], rounds: int
) -> Run:
    """Time a run, the unpatched model and its slicing floor in turn.

    Args:
        subject: the model with the method.
        off: the unpatched model.
        schedule: not `off`.
        batch: what is passed to all of them.
        rounds: how often each is timed.
    """
    variant = Variant(torch.float32, "packed", schedule)
    base = Variant(torch.float32, "packed", OFF)
    models = {base: off, variant: subject.build(variant), variant.floor(): _floor(subject, variant, batch)}
    for model in models.values():
        pack_if_possible(model)
    with torch.inference_mode():
        times = measure_calls(
            {name: lambda model=model: model(batch) for name, model in models.items()},
            _CPU,
            rounds=rounds,
            warmup=WARMUP,
            budget_s=BUDGET_S,
        )
    found = compare_variant(variant, times, 1.0, Comparison(1.0, (1.0, 1.0)))
    return {name: found[name] for name in _FIELDS}


def _floor(subject: MeasuredModel, variant: Variant, batch: Mapping[str, Tensor]) -> nn.Module:
    """The slicing floor; of a method whose counts depend on the images, with the counts of this batch."""
    if not reads_thresholds(subject.method):
        return subject.build(variant.floor())
    model, asks = subject.build(replace(variant, schedule=OFF)), list[int]()
    with subject.program.patch(model, variant.schedule, subject.method, record=True) as handle:
        with torch.inference_mode():
            model(batch)
        plans = iter(handle.plans)
        left = handle.plans[0].num_tokens
        for ask in variant.schedule.per_layer(subject.depth):
            after = next(plans).num_slots if ask else left
            asks.append(left - after)
            left = after
    return subject.running("drop").build(replace(variant.floor(), schedule=Schedule.parse(asks)))


def _key(asked: Asked, batch_size: int) -> str:
    return digest_of(
        {
            "weights": file_sha256(asked.model.checkpoint),
            "code": code_sha256(asked.model.folder),
            "processor": device_name(_CPU),
            "threads": torch.get_num_threads(),
            "batch_size": batch_size,
        }
    )
