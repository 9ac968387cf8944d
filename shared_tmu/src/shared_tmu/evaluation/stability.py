"""How far a prediction moves when hardly anything has changed, which causes jitter in videos.

Two changes: the box moves by one pixel of its picture, and the last bit of the crop's values changes, as
another decoder, processor or compression would change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared_tmu.datasets import EvalSet
from shared_tmu.datasets.base import group_numbers
from shared_tmu.errors import HoldError
from shared_tmu.evaluation.batches import load_batch
from shared_tmu.evaluation.masking import key_of, masks_of
from shared_tmu.evaluation.settings import EvalSettings
from shared_tmu.method_parts.held import HeldPlans, Holding
from shared_tmu.metrics.bootstrap import bootstrap_interval
from shared_tmu.metrics.distances import MM_PER_M
from shared_tmu.pictures.hand_crops import STD
from shared_tmu.programs.model_program import BASELINE, ModelProgram, Run

SHIFTS_PX = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))
"""Shifts of the boxes in their pictures, pixels."""
_GREY = 1.0 / 255.0  # one level of an 8-bit picture


@torch.inference_mode()
def measure_stability(
    program: ModelProgram, model: nn.Module, data: EvalSet, runs: Sequence[Run], settings: EvalSettings
) -> dict[Run, dict[str, Any]]:
    """Mean movement of joints, millimetres, unaligned.

    Returns:
        For each run `stability_mm`, when the box moves by one pixel of its picture; `held_mm`, the same with
        the plans of the crop before (not for methods whose plans cannot be held); `noise_mm`, when each value
        of the crop stays, rises or falls by one grey level, at random; `drift_mm`, from the joints of the
        unpatched model; the 95 % intervals of all over samples; and `stability_n`. Nothing if the settings
        ask for none.

    Raises:
        InputError: a picture cannot be read.
    """
    count, names = min(settings.stability, len(data)), masks_of(runs)
    moved: dict[Run, list[Tensor]] = {run: [] for run in runs}
    shaken: dict[Run, list[Tensor]] = {run: [] for run in runs}
    steady: dict[Run, list[Tensor]] = {run: [] for run in runs}
    drifted: dict[Run, list[Tensor]] = {run: [] for run in runs}
    for start in range(0, count, settings.batch_size):
        rows = range(start, min(start + settings.batch_size, count))
        still = load_batch(data, rows, settings.device, names)
        shifted = [load_batch(data, rows, settings.device, names, shift) for shift in SHIFTS_PX]
        noisy = {**still, "img": add_noise(still["img"], rows, is_normalised=program.estimates.is_normalised)}
        unpatched = _joints(program, model, BASELINE, still)
        for run in runs:
            joints = _joints(program, model, run, still)
            drifted[run].append((joints - unpatched).norm(dim=-1).mean(dim=1))
            away = [_joints(program, model, run, batch) - joints for batch in shifted]
            moved[run].append(torch.stack(away).norm(dim=-1).mean(dim=(0, 2)))  # [B]
            if (held := _joints_held(program, model, run, still, shifted)) is not None:
                steady[run].append((held - joints).norm(dim=-1).mean(dim=(0, 2)))
            shaken[run].append((_joints(program, model, run, noisy) - joints).norm(dim=-1).mean(dim=1))
    if not count:
        return {run: {} for run in runs}
    groups = group_numbers(data.groups[:count])
    return {
        run: {
            **_summary("stability", moved[run], groups),
            **_summary("noise", shaken[run], groups),
            **(_summary("held", steady[run], groups) if steady[run] else {}),
            **_summary("drift", drifted[run], groups),
            "stability_n": count,
        }
        for run in runs
    }


def add_noise(img: Tensor, rows: range, *, is_normalised: bool) -> Tensor:
    """Pictures `[B, 3, H, W]` with each value one grey level higher, lower, or as it is.

    Args:
        img: RGB in 0..1, or normalised.
        rows: their numbers in the set, which the noise of each depends on.
        is_normalised: which of the two.
    """
    signs = [
        torch.randint(-1, 2, img.shape[1:], generator=torch.Generator().manual_seed(row)) for row in rows
    ]
    level = _GREY / torch.tensor(STD if is_normalised else (1.0, 1.0, 1.0)).view(3, 1, 1)
    return img + (torch.stack(signs) * level).to(img)


def _joints(
    program: ModelProgram,
    model: nn.Module,
    run: Run,
    batch: dict[str, Tensor],
    held: Holding | None = None,
) -> Tensor:
    with run.applied(program, model, batch.get(key_of(run.mask)), held):
        return program.estimates.joints(model(batch)).float()


def _joints_held(
    program: ModelProgram,
    model: nn.Module,
    run: Run,
    still: dict[str, Tensor],
    shifted: Sequence[dict[str, Tensor]],
) -> Tensor | None:
    """Joints of shifted crops with the plans of the still ones, `[4, B, J, 3]`; None if they cannot be
    held."""
    held = Holding(HeldPlans(), range(len(still["img"])))
    try:
        _joints(program, model, run, still, held)
    except HoldError:
        return None
    return torch.stack([_joints(program, model, run, batch, held) for batch in shifted])


def _summary(name: str, parts: Sequence[Tensor], groups: Sequence[int]) -> dict[str, Any]:
    rows = MM_PER_M * torch.cat(list(parts)).double().cpu().numpy()
    varied = len(set(groups)) > 1  # one group tells nothing about how far others differ
    interval = list(bootstrap_interval(np.asarray(rows), groups=groups)) if varied else None
    return {f"{name}_mm": float(rows.mean()), f"{name}_interval_95": interval}
