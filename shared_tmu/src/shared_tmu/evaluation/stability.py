"""How far a prediction moves when its crop moves by one pixel, which causes jitter in videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared_tmu.datasets import EvalSet
from shared_tmu.evaluation.masking import key_of, masks_of
from shared_tmu.evaluation.predict import load_batch
from shared_tmu.evaluation.settings import EvalSettings
from shared_tmu.metrics.bootstrap import bootstrap_interval
from shared_tmu.metrics.distances import MM_PER_M
from shared_tmu.programs.model_program import ModelProgram, Run

SHIFTS_PX = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
"""Shifts of the boxes in their pictures."""


@torch.inference_mode()
def measure_stability(
    program: ModelProgram, model: nn.Module, data: EvalSet, runs: Sequence[Run], settings: EvalSettings
) -> dict[Run, dict[str, Any]]:
    """Mean movement of joints, millimetres, unaligned, when the box moves by one pixel of its picture.

    Returns:
        For each run `stability_mm`, its 95 % interval over samples, and `stability_n`; nothing if the
        settings ask for none.

    Raises:
        InputError: a picture cannot be read.
    """
    count, names = min(settings.stability, len(data)), masks_of(runs)
    moved: dict[Run, list[Tensor]] = {run: [] for run in runs}
    for start in range(0, count, settings.batch_size):
        rows = range(start, min(start + settings.batch_size, count))
        still = load_batch(data, rows, settings.device, names)
        shifted = [load_batch(data, rows, settings.device, names, shift) for shift in SHIFTS_PX]
        for run in runs:
            joints = _joints(program, model, run, still)
            away = [_joints(program, model, run, batch) - joints for batch in shifted]
            moved[run].append(torch.stack(away).norm(dim=-1).mean(dim=(0, 2)))  # [B]
    return {run: _summary(parts) for run, parts in moved.items()}


def _joints(program: ModelProgram, model: nn.Module, run: Run, batch: dict[str, Tensor]) -> Tensor:
    with run.applied(program, model, batch.get(key_of(run.mask))):
        return program.estimates.joints(model(batch)).float()


def _summary(parts: Sequence[Tensor]) -> dict[str, Any]:
    if not parts:
        return {}
    rows = MM_PER_M * torch.cat(list(parts)).double().cpu().numpy()
    interval = list(bootstrap_interval(np.asarray(rows)))
    return {"stability_mm": float(rows.mean()), "stability_interval_95": interval, "stability_n": len(rows)}
