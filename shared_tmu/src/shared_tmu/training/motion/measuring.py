"""What a decoder does on held-out clips, beside the model's own head: errors of joints and acceleration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared_tmu.metrics.clips import score_clips
from shared_tmu.synth.motion import FPS
from shared_tmu.temporal.model import MotionDecoder
from shared_tmu.temporal.posing import Layer, decode_motion, motion_points
from shared_tmu.training.motion.denoiser_stage import ReadClips

_ERRORS = ("mpjpe_mm", "pa_mpjpe_mm", "accel_error_mm", "jitter_mm")


@torch.no_grad()
def measure(
    decoder: MotionDecoder, layer: Layer, clips: ReadClips, schedules: Sequence[str]
) -> dict[str, Any]:
    """Errors at every schedule.

    Returns:
        `rows`, one dictionary per reading, and the same as lines of a `table`.
    """
    conditions = clips.conditions(layer)
    truth = torch.cat([_joints(layer, r, b) for r, b in zip(clips.rotmat, clips.betas, strict=True)])
    names = np.repeat(np.arange(len(clips)), clips.rotmat.shape[1])
    rows = []
    for reading, schedule in enumerate(schedules):
        betas = clips.pred_betas[:, reading]
        head, decoded = [], []
        for clip in range(len(clips)):
            rotmat = decode_motion(decoder, layer, conditions[clip, reading], betas[clip])
            decoded.append(_joints(layer, rotmat, betas[clip]))
            head.append(_joints(layer, clips.pred_rotmat[clip, reading], betas[clip]))
        row: dict[str, Any] = {"schedule": schedule}
        for name, joints in (("head", head), ("decoder", decoded)):
            scores = score_clips(torch.cat(joints).numpy(), truth.numpy(), names, FPS).headline
            row |= {f"{name}_{error}": scores[error] for error in _ERRORS}
        rows.append(row)
    table = [
        f"{row['schedule']}: head -> decoder: "
        + ", ".join(f"{e} {row[f'head_{e}']:.2f} -> {row[f'decoder_{e}']:.2f}" for e in _ERRORS)
        for row in rows
    ]
    return {"rows": rows, "table": table}


def _joints(layer: Layer, rotmat: Tensor, betas: Tensor) -> Tensor:
    """Points of hands or bodies, `[T, K, 3]`, the root first."""
    return motion_points(layer, rotmat, betas)[0]
