"""Tokens and time of a run, beside the baseline."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.bench import compare_times, measure_in_turn
from shared_tmu.evaluation.program import EvalProgram, Run
from shared_tmu.evaluation.settings import EvalSettings


@torch.inference_mode()
def count_tokens(program: EvalProgram, model: nn.Module, run: Run, img: Tensor) -> dict[str, Any]:
    """Tokens of one image before the trunk and at its end, read off the plan of a forward pass."""
    with run.patched(program, model, record=True) as handle:
        model({"img": img[:1]})
        plan = handle.plan
    assert plan is not None, "a forward pass leaves a plan"
    return {"tokens": plan.num_tokens, "tokens_kept": plan.num_slots}


@torch.inference_mode()
def measure_speed(
    program: EvalProgram, model: nn.Module, run: Run, batch: dict[str, Tensor], settings: EvalSettings
) -> dict[str, Any]:
    """Time the model call alone on one batch, in turn with the unpatched model.

    For `off` both contenders are the unpatched model: its speed-up is 1 but for the noise of the measurement.

    Returns:
        `images_per_s` and `speedup` from medians, each with its quartiles, and the times themselves; all None
        if no rounds were asked for.
    """
    names = ("images_per_s", "images_per_s_quartiles", "speedup", "speedup_quartiles", "timing")
    if settings.rounds == 0:
        return dict.fromkeys(names)
    warmup = 3
    times = measure_in_turn(
        lambda: model(batch),
        {"baseline": nullcontext, "run": lambda: run.applied(program, model)},
        settings.device,
        rounds=settings.rounds,
        warmup=warmup,
    )
    count = len(batch["img"])
    comparison = compare_times(times["baseline"], times["run"])
    slow, fast = reversed(times["run"].quartiles_s)
    values = (
        times["run"].per_second(count),
        [count / slow, count / fast],
        comparison.speedup,
        list(comparison.quartiles),
        {
            "batch_size": count,
            "rounds": len(times["run"].seconds),
            "warmup": warmup,
            "baseline_images_per_s": times["baseline"].per_second(count),
            "latency_ms": [round(1000 * s, 4) for s in times["run"].seconds],
            "baseline_latency_ms": [round(1000 * s, 4) for s in times["baseline"].seconds],
        },
    )
    return dict(zip(names, values, strict=True))
