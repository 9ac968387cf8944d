"""How much faster merging makes a training step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from shared_tmu.classification.classifier import Classifier, patch_classifier
from shared_tmu.errors import InputError
from shared_tmu.programs.timing import compare_times, measure_in_turn
from shared_tmu.schedule import Schedule

BUDGET_S = 120.0
"""After how long the timing ends, if it has five rounds."""


def time_steps(
    model: Classifier, img: Tensor, labels: Tensor, schedule: str, method: str, rounds: int
) -> dict[str, Any]:
    """Time a training step, forward and backward, with and without merging, in turn.

    Args:
        model: has gradients afterwards.
        img: pictures `[B, 3, h, w]`.
        labels: their classes `[B]`.
        schedule, method: how tokens merge.
        rounds: steps of each kind, after an untimed one.

    Returns:
        Median milliseconds of both, and by how much merging is faster, with quartiles over rounds.

    Raises:
        InputError: the schedule merges nothing.
        TMUError: the model cannot be patched so.
    """
    if Schedule.parse(schedule).is_off:
        raise InputError("--r off merges nothing, and is always timed: name a schedule that merges.")
    batch, device = {"img": img, "label": labels}, img.device
    model.train().requires_grad_(True)

    def step() -> None:
        model.zero_grad()
        model(batch)["nll"].mean().backward()

    ways: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "off": nullcontext,
        "merged": lambda: patch_classifier(model, schedule, method),
    }
    times = measure_in_turn(step, ways, device, rounds=rounds, warmup=1, budget_s=BUDGET_S)
    gain = compare_times(times["off"], times["merged"])
    return {
        "off_ms": 1000 * times["off"].median_s,
        "merged_ms": 1000 * times["merged"].median_s,
        "speedup": gain.speedup,
        "speedup_quartiles": list(gain.quartiles),
        "rounds": len(times["off"].seconds),
    }


def random_batch(model: Classifier, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pictures `[B, 3, h, w]` and classes `[B]` to time steps on."""
    draws = torch.Generator().manual_seed(0)
    img = torch.randn(count, 3, *model.crop.size, generator=draws)
    return img.to(device), torch.randint(model.num_classes, (count,), generator=draws).to(device)
