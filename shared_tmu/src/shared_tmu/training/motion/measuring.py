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
from shared_tmu.temporal.posing import Layer, decode_motion, motion_points, pose_of
from shared_tmu.temporal.windows import in_windows
from shared_tmu.training.motion.denoiser_stage import ReadClips

_ERRORS = ("mpjpe_mm", "pa_mpjpe_mm", "accel_error_mm", "jitter_mm")


@torch.no_grad()
def measure(
    decoder: MotionDecoder, layer: Layer, clips: ReadClips, schedules: Sequence[str]
) -> dict[str, Any]:
    """Errors at every schedule: of the model's head, of the decoder's first guess if it has an anchor, and of
    the decoder.

    Returns:
        `rows`, one dictionary per reading, and the same as lines of a `table`.
    """
    conditions = clips.conditions(layer)
    truth = torch.cat([_joints(layer, r, b) for r, b in zip(clips.rotmat, clips.betas, strict=True)])
    names = np.repeat(np.arange(len(clips)), clips.rotmat.shape[1])
    rows = []
    for reading, schedule in enumerate(schedules):
        found: dict[str, list[Tensor]] = {name: [] for name in _ways(decoder)}
        for clip in range(len(clips)):
            betas, condition = clips.pred_betas[clip, reading], conditions[clip, reading]
            poses: dict[str, Any] = {
                "head": clips.pred_rotmat[clip, reading],
                "guess": first_guess(decoder, layer, condition, betas) if "guess" in found else None,
                "decoder": decode_motion(decoder, layer, condition, betas),
            }
            for name, joints in found.items():
                joints.append(_joints(layer, poses[name], betas))
        row: dict[str, Any] = {"schedule": schedule, "clips": len(clips)}
        for name, joints in found.items():
            scores = score_clips(torch.cat(joints).numpy(), truth.numpy(), names, FPS).headline
            row |= {f"{name}_{error}": scores[error] for error in _ERRORS}
        rows.append(row)
    return {"rows": rows, "table": [_told(row, _ways(decoder)) for row in rows]}


def _ways(decoder: MotionDecoder) -> tuple[str, ...]:
    return ("head", "guess", "decoder") if decoder.config.anchor else ("head", "decoder")


def _told(row: dict[str, Any], ways: Sequence[str]) -> str:
    errors = (f"{e} " + " -> ".join(f"{row[f'{way}_{e}']:.2f}" for way in ways) for e in _ERRORS)
    return f"{row['schedule']}: {' -> '.join(ways)}: {', '.join(errors)}"


@torch.no_grad()
def first_guess(decoder: MotionDecoder, layer: Layer, condition: Tensor, betas: Tensor) -> Tensor:
    """As `decode_motion`, without what the denoiser changes: the motion of the head, smoothed."""

    def guess(windows: Tensor) -> Tensor:
        return decoder.motion_of(decoder.anchor_of(windows))

    return pose_of(layer, in_windows(guess, condition, decoder.config.frames), betas)


def _joints(layer: Layer, rotmat: Tensor, betas: Tensor) -> Tensor:
    """Points of hands or bodies, `[T, K, 3]`, the root first."""
    return motion_points(layer, rotmat, betas)[0]
