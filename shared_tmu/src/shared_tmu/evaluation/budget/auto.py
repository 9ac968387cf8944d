"""`--r auto:0.5mm`: the fastest way to run a model within a budget of error, by times measured here."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared_tmu.datasets import EvalSet, set_sha256
from shared_tmu.errors import InputError
from shared_tmu.evaluation.budget.answer import Answer, Tried, answer_file, read_answer, write_answer
from shared_tmu.evaluation.budget.contenders import Contenders
from shared_tmu.evaluation.budget.judge import Judge
from shared_tmu.evaluation.budget.request import Budget
from shared_tmu.evaluation.budget.samples import SampleChoice, Samples
from shared_tmu.evaluation.budget.search import Contender, Judgement, find_fastest
from shared_tmu.evaluation.budget.trials import forget_trials
from shared_tmu.evaluation.masking import masks_of
from shared_tmu.masks import NO_MASK
from shared_tmu.programs.identity import code_sha256, digest_of, file_sha256, sizes_of
from shared_tmu.programs.model_program import ModelProgram, Run
from shared_tmu.programs.results import device_name
from shared_tmu.programs.timing import time_once

_log = logging.getLogger(__name__)
SAMPLES = 400
"""Of the calibration set, where a model is fast enough for so many."""


_ERRORS_S = 240.0
"""What all errors of a search may take, roughly; with slower models fewer samples are used."""
_FEWEST = 32  # samples
_EXPECTED = 30  # errors that are measured, in forward passes of the unpatched model


@dataclass(frozen=True)
class AutoSettings:
    """What a search is made for, besides the budget.

    Attributes:
        samples: on which the error is measured.
        base: method, unmerging and so on of the runs that are tried.
        probes: masks that are tried, `none` among them or not, each with the file of its probe.
        dtype_name: number format that the model has.
        packed: whether its weights are packed.
        metric: as in result lines.
    """

    samples: SampleChoice
    base: Run
    probes: Mapping[str, Path | None] = field(default_factory=lambda: {NO_MASK: None})
    dtype_name: str = "float32"
    packed: bool = False
    metric: str = "pa_mpvpe_mm"


@dataclass(frozen=True)
class ModelIdentity:
    """Digests of a model as it was loaded.

    Attributes:
        weights: digest of all weights.
        trunk: digest of its ViT.
    """

    weights: str = ""
    trunk: str = ""


def find_run(
    program: ModelProgram,
    model: nn.Module,
    identity: ModelIdentity,
    budget: Budget,
    settings: AutoSettings,
    *,
    fresh: bool = False,
) -> Run:
    """The fastest run within a budget, found before or now; how it was found is written to stdout.

    Args:
        program: description of the model.
        model: on its device, in its number format, packed or not, as it will run.
        identity: identity of the model.
        budget: allowed increase of the error.
        settings: see there.
        fresh: search even if there is an answer.

    Raises:
        InputError: no way is within the budget, or none is faster than the unpatched model.
        TMUError: the samples cannot be opened.
    """
    data = Samples.of_set(settings.samples, model).data
    facts = _question(program, model, identity, budget, settings, data)
    key = digest_of(facts)
    path = answer_file(program.name, budget, key)
    answer = None if fresh else read_answer(path, key, settings.base, {NO_MASK, *settings.probes})
    if answer is None:
        _log.info("%s: searching now, which takes minutes; the result will be saved in %s.", budget, path)
        log = path.with_suffix(".trials.jsonl")
        if fresh:
            forget_trials(log)
        answer = _search(program, model, identity, budget, settings, data, log)
        write_answer(path, key, facts, answer)
    else:
        _log.info("%s: result of an earlier search (%s).", budget, path)
    sys.stdout.write(answer.show(budget, facts))
    return replace(answer.run, probe=settings.probes.get(answer.run.mask))


def _question(
    program: ModelProgram,
    model: nn.Module,
    identity: ModelIdentity,
    budget: Budget,
    settings: AutoSettings,
    data: EvalSet,
) -> dict[str, Any]:
    """Everything that the answer depends on."""
    samples, base = settings.samples, settings.base
    return {
        "budget": str(budget),
        "model": program.name,
        "weights": identity.weights,
        "config": sizes_of(model),
        "device": samples.device.type,
        "processor": device_name(samples.device),
        "cpu_threads": torch.get_num_threads(),
        "dtype": settings.dtype_name,
        "packed": settings.packed,
        "batch_size": samples.batch_size,
        "metric": settings.metric,
        "masks": sorted(settings.probes),
        "how": [base.method, base.unmerge, base.protect, base.weight, base.restore],
        "files": [
            None if file is None else file_sha256(file)
            for file in (base.learned, *(settings.probes[mask] for mask in sorted(settings.probes)))
        ],
        "dataset": data.name,
        "pictures": set_sha256(data),
        "n": len(data),
        "set": data.facts,
        "code": code_sha256(program.folder),
        "torch": torch.__version__,
    }


def _search(
    program: ModelProgram,
    model: nn.Module,
    identity: ModelIdentity,
    budget: Budget,
    settings: AutoSettings,
    data: EvalSet,
    log: Path,
) -> Answer:
    drawn = masks_of(replace(settings.base, mask=mask) for mask in settings.probes)
    samples = Samples(data, settings.samples.batch_size, settings.samples.device, drawn)
    samples = samples.fewer(_affordable(model, samples))
    judge = Judge(program, model, samples, settings.metric, budget.extra_mm)
    contenders = Contenders(program, model, samples, settings.base, settings.probes)
    recipe = judge.find_layers(identity.trunk, budget.extra_mm / 2, log) if budget.with_layers else None
    candidates = contenders.timed(recipe)
    if not candidates:
        raise InputError(
            f"{budget} was asked for, but no merging setting is faster than the unpatched model here "
            f"({device_name(samples.device)}, batches of {settings.samples.batch_size}): use --r off."
        )
    best, verdicts = find_fastest(candidates, judge)
    if best is None:
        raise InputError(_say_what_could(budget, verdicts))
    speedup, quartiles = contenders.time_again(best.candidate.run)
    rows = sorted((_row(verdict) for verdict in verdicts), key=lambda row: -row.speedup)
    counts = len(candidates), judge.base_mm, len(samples)
    return Answer(best.candidate.run, speedup, quartiles, tuple(rows), *counts)


@torch.inference_mode()
def _affordable(model: nn.Module, samples: Samples) -> int:
    """Batches that a search can use: all of them with a fast model."""
    batch = samples.batch(0)
    model(batch)
    seconds = max(1e-4, time_once(lambda: model(batch), samples.device))
    fewest = math.ceil(_FEWEST / len(batch["img"]))
    affordable = max(fewest, int(_ERRORS_S / (_EXPECTED * seconds)))
    if affordable < samples.num_batches:
        _log.info("The model is slow here: only %d batches of samples are used.", affordable)
    return min(affordable, samples.num_batches)


def _row(verdict: Judgement) -> Tried:
    one: Contender = verdict.candidate
    return Tried(
        label=one.run.label,
        tokens=one.counts[-1],
        layers=len(one.counts) - 1,
        speedup=1 / one.share,
        extra_mm=verdict.extra_mm,
        interval_mm=verdict.interval_mm,
        samples=verdict.samples,
        passed=verdict.passed,
    )


def _say_what_could(budget: Budget, verdicts: list[Judgement]) -> str:
    finite = [verdict for verdict in verdicts if math.isfinite(verdict.extra_mm)]
    if not finite:
        return f"{budget} cannot be met: all that was tried gave values that are not finite."
    least = min(finite, key=lambda verdict: verdict.likely_mm)
    one = least.candidate
    could = math.ceil(1000 * max(least.likely_mm, 0.0) + 1) / 1000
    return (
        f"{budget} cannot be met: of what is faster than the unpatched model, {one.run.label} costs least, "
        f"{least.extra_mm:+.3f} mm ({least.likely_mm:+.3f} with one standard error), {1 / one.share:.2f}x. "
        f"Use --r auto:{could:g}mm or more, or --r off."
    )
