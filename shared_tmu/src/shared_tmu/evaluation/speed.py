"""Token counts and times of a run, compared with the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.evaluation.masking import key_of
from shared_tmu.evaluation.settings import EvalSettings
from shared_tmu.programs.flop_counter import count_flops
from shared_tmu.programs.model_program import Run
from shared_tmu.programs.program import Program
from shared_tmu.programs.timing import Timing, compare_times, measure_in_turn

_FIELDS = ("images_per_s", "images_per_s_quartiles", "speedup", "speedup_quartiles", "timing")
_WARMUP = 3
_BUDGET_S = 15.0  # for each run and for the baseline


@torch.inference_mode()
def count_tokens(program: Program, model: nn.Module, run: Run, img: Tensor) -> dict[str, Any]:
    """Tokens of one image before the trunk and at its end, from the plan of a forward pass, and `gflops` of
    the whole model's matrix products and convolutions for it, those of the method included (a
    multiply-accumulate counts as two FLOPs).

    Thresholds keep as many tokens as a picture needs: there `tokens_kept` and `gflops` are means over the
    pictures `img` `[B, 3, H, W]`, each alone, since a batch is padded to its longest.
    """
    kept, flops = [], []
    with run.shortened(program, model), run.patched(program, model, record=True) as handle:
        for row in range(len(img) if run.schedule.reads_thresholds else 1):
            flops.append(count_flops(partial(model, {"img": img[row : row + 1]})))
            plan = handle.plan
            assert plan is not None, "a forward pass leaves a plan"
            num_tokens = plan.num_tokens
            kept.append(plan.num_slots)
    mean = sum(kept) / len(kept)
    return {
        "tokens": num_tokens,
        "tokens_kept": kept[0] if min(kept) == max(kept) else round(mean, 2),
        "gflops": round(sum(flops) / len(flops) / 1e9, 4),
    }


@torch.inference_mode()
def measure_speeds(
    program: Program,
    model: nn.Module,
    runs: Sequence[Run],
    batch: Mapping[str, Tensor],
    settings: EvalSettings,
) -> dict[Run, dict[str, Any]]:
    """Time only the model call on one batch: every round times the unpatched model, then each run once.

    The run `off` is the unpatched model a second time: its speed-up is 1 except for measurement noise.

    Returns:
        For each run, `images_per_s` and `speedup` from medians, each with quartiles, and the times; all None
        if no rounds were asked for.
    """
    if settings.rounds == 0:
        return {run: dict.fromkeys(_FIELDS) for run in runs}
    by_label = {run.label: run for run in runs}
    contenders = {
        label: partial(run.applied, program, model, batch.get(key_of(run.mask)))
        for label, run in by_label.items()
    }
    times = measure_in_turn(
        lambda: model(batch),
        {"unpatched": nullcontext, **contenders},
        settings.device,
        rounds=settings.rounds,
        warmup=_WARMUP,
        budget_s=_BUDGET_S * (1 + len(runs)),
    )
    count = len(batch["img"])
    return {run: _speed(times["unpatched"], times[label], count) for label, run in by_label.items()}


def _speed(baseline: Timing, own: Timing, count: int) -> dict[str, Any]:
    comparison = compare_times(baseline, own)
    slow, fast = reversed(own.quartiles_s)
    timing = {
        "batch_size": count,
        "rounds": len(own.seconds),
        "warmup": _WARMUP,
        "baseline_images_per_s": baseline.per_second(count),
        "latency_ms": [round(1000 * s, 4) for s in own.seconds],
        "baseline_latency_ms": [round(1000 * s, 4) for s in baseline.seconds],
    }
    spread = [count / slow, count / fast]
    values = (own.per_second(count), spread, comparison.speedup, list(comparison.quartiles), timing)
    return dict(zip(_FIELDS, values, strict=True))
