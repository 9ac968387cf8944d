"""Times each part of the pipeline, from the picture to the overlay.

A round runs the pipeline twice for every schedule: once unchanged, which gives the total time, and once under
a `PartClock`. The parts are those of the second run; the rest of its time is `unaccounted`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from torch import nn

from shared_tmu.bench.measured_model import MeasuredModel, Variant
from shared_tmu.bench.part_timer import PartClock
from shared_tmu.bench.pipeline import PIPELINES, ModelPipeline, Pipeline
from shared_tmu.programs.results import describe_environment
from shared_tmu.programs.timing import time_once
from shared_tmu.schedule import Schedule

PARTS = (
    "detection", "crop", "attention", "MLP", "matching", "merging", "unmerging", "rest of the ViT", "head",
    "body model", "rendering",
)  # fmt: skip
"""The parts in the order of a run; those from attention to `rest of the ViT` belong to the ViT."""
MAX_UNACCOUNTED = 0.05
"""Largest share of the time that may be unaccounted for."""


@dataclass(frozen=True)
class ProfileSettings:
    """What to profile.

    Args:
        schedules: schedules to measure; `off` is always measured first.
        batch_sizes: numbers of hands or people per batch.
        dtypes: number formats, by the names that the user gave.
        pictures: folder with pictures.
        rounds: how often every schedule is run, with and without parts.
        warmup: untimed rounds before these.
    """

    schedules: tuple[Schedule, ...]
    batch_sizes: tuple[int, ...]
    dtypes: dict[str, torch.dtype]
    pictures: Path
    rounds: int = 10
    warmup: int = 1


@dataclass
class _Runs:
    """Seconds of one schedule's rounds."""

    whole: list[float] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)
    parts: list[dict[str, float]] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Mean times, because means add up; every part has its share of the total time of the run with
        parts.
        """
        total = fmean(self.watched)
        names = [name for name in PARTS if any(name in parts for parts in self.parts)]
        seconds = {name: fmean(parts.get(name, 0.0) for parts in self.parts) for name in names}
        return {
            "parts_ms": {name: 1000 * s for name, s in seconds.items()},
            "shares": {name: s / total for name, s in seconds.items()},
            "unaccounted": 1 - sum(seconds.values()) / total,
            "watched_ms": 1000 * total,
            "whole_ms": 1000 * fmean(self.whole),
            "watching_costs": median(self.watched) / median(self.whole) - 1,
            "rounds": len(self.whole),
        }


def profile_parts(subject: MeasuredModel, settings: ProfileSettings) -> Iterator[dict[str, Any]]:
    """One record per batch size, dtype and schedule, `off` first.

    Raises:
        InputError: the pictures cannot be used.
        ScheduleError: a schedule has more layers than the model.
    """
    facts = {**subject.facts(), **describe_environment(subject.device, subject.program.folder)}
    schedules = tuple(dict.fromkeys((Schedule(), *settings.schedules)))
    for batch_size in settings.batch_sizes:
        for asked, dtype in settings.dtypes.items():
            variants = {s: Variant(dtype, "eager", s) for s in schedules}
            models = {s: subject.build(variant) for s, variant in variants.items()}
            pipeline = _make_pipeline(subject, models[schedules[0]], settings.pictures, batch_size)
            runs = _run_in_turn(subject, models, pipeline, settings)
            for schedule in schedules:
                counts = subject.count_tokens(schedule)
                yield {
                    "kind": "profile",
                    **facts,
                    "dtype": variants[schedule].dtype_name,
                    "dtype_asked": asked,
                    "batch_size": batch_size,
                    "schedule": str(schedule),
                    "tokens": counts[0],
                    "tokens_kept": counts[-1],
                    **runs[schedule].summary(),
                }


def _make_pipeline(subject: MeasuredModel, model: nn.Module, pictures: Path, batch_size: int) -> Pipeline:
    program = subject.program
    if program.estimates.name in PIPELINES:
        return PIPELINES[program.estimates.name](pictures, batch_size)
    batch = program.estimates.crops(model, batch_size)
    return ModelPipeline({name: values.to(subject.device) for name, values in batch.items()})


@torch.inference_mode()
def _run_in_turn(
    subject: MeasuredModel, models: dict[Schedule, nn.Module], pipeline: Pipeline, settings: ProfileSettings
) -> dict[Schedule, _Runs]:
    runs = {schedule: _Runs() for schedule in models}
    for number in range(settings.warmup + settings.rounds):
        for schedule, model in models.items():
            idle, clock = PartClock(subject.device), PartClock(subject.device)
            whole = time_once(partial(pipeline.run, model, idle), subject.device)
            modules = [(part, model.get_submodule(path)) for path, part in subject.program.parts.items()]
            with clock.watching(subject.program.estimates.vit(model), modules):
                watched = time_once(partial(pipeline.run, model, clock), subject.device)
            if number >= settings.warmup:
                runs[schedule].whole.append(whole)
                runs[schedule].watched.append(watched)
                runs[schedule].parts.append(clock.seconds)
    return runs
