"""Losses of a predicted hand: HaMeR's terms, and terms for vertices and camera, which are known exactly for
renders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

FOCAL_OVER_SIZE = 5000.0 / 256.0  # of HaMeR's weak camera: focal length divided by crop size


@torch.no_grad()
def fit_weak_camera(keypoints_3d: Tensor, keypoints_2d: Tensor, ratio: float = FOCAL_OVER_SIZE) -> Tensor:
    """The weak cameras (s, tx, ty) whose perspective projections are closest to given crop points.

    Args:
        keypoints_3d: `[B, J, 3]` metres in the body model's frame, without camera translation.
        keypoints_2d: `[B, J, 2]` in crops.
        ratio: focal length divided by crop size.

        Returns:
        `[B, 3]`; for points that such a camera projected, exact up to the error of three refinements.
    """
    relief = torch.zeros_like(keypoints_3d[..., 2:])
    flat = keypoints_3d[..., :2] - keypoints_3d[..., :2].mean(1, keepdim=True)
    for _ in range(3):  # u = k (x + tx) / (1 + z / tz) is linear in k and k tx once z / tz is known
        target = keypoints_2d * (1.0 + relief)
        mean = target.mean(1, keepdim=True)
        k = (flat * (target - mean)).sum((1, 2)) / (flat**2).sum((1, 2)).clamp(min=1e-9)
        k = k.clamp(min=0.05)
        relief = keypoints_3d[..., 2:] * k[:, None, None] / ratio
    shift = mean[:, 0] / k[:, None] - keypoints_3d[..., :2].mean(1)
    return torch.cat([2.0 * k[:, None], shift], dim=1)


def hand_losses(output: Mapping[str, Any], batch: Mapping[str, Tensor], mano: nn.Module) -> dict[str, Tensor]:
    """Losses of a hand head, each about one before training.

    Args:
        output: the model's output dictionary, metres and crops.
        batch: targets from `shared_tmu.training.data.SynthHandSet`.
        mano: the body-model layer, for the true vertices.

    Source: the terms of HaMeR, Pavlakos et al. 2024, arXiv:2312.05251; camera and vertices are added,
    vertices also in the wrist's frame, where an error of the wrist does not affect the pose of the fingers.
    """
    with torch.no_grad():
        truth = mano(global_orient=batch["global_orient"], hand_pose=batch["hand_pose"], betas=batch["betas"])
        camera = fit_weak_camera(truth.keypoints, batch["keypoints_2d"])
    params = output["pred_mano_params"]
    wrist, true_wrist = output["pred_keypoints_3d"][:, :1], truth.keypoints[:, :1]
    points = (output["pred_keypoints_3d"] - wrist) - (truth.keypoints - true_wrist)
    vertices, true_vertices = output["pred_vertices"] - wrist, truth.vertices - true_wrist
    local = _turned_back(vertices, params["global_orient"])
    true_local = _turned_back(true_vertices, batch["global_orient"])
    cam = output["pred_cam"]
    return {
        "keypoints_3d": 10.0 * points.abs().sum(-1).mean(),
        "vertices": 10.0 * (vertices - true_vertices).abs().sum(-1).mean(),
        "local_vertices": 20.0 * (local - true_local).abs().sum(-1).mean(),
        "keypoints_2d": 8.0 * (output["pred_keypoints_2d"] - batch["keypoints_2d"]).abs().sum(-1).mean(),
        "global_orient": (params["global_orient"] - batch["global_orient"]).abs().mean(),
        "hand_pose": 4.0 * (params["hand_pose"] - batch["hand_pose"]).abs().mean(),
        "betas": 0.2 * (params["betas"] - batch["betas"]).abs().mean(),
        "camera": (cam[:, 0] / camera[:, 0].clamp(min=0.1) - 1).abs().mean()
        + 10.0 * (cam[:, 1:] - camera[:, 1:]).abs().mean(),
    }


def _turned_back(vertices: Tensor, global_orient: Tensor) -> Tensor:
    """Convert vertices relative to the wrist `[B, V, 3]` to the wrist's frame, given its rotation `[B, 1, 3,
    3]`.
    """
    return vertices.float() @ global_orient[:, 0].float()


@torch.no_grad()
def points_apart(predicted: Tensor, truth: Tensor, root: int = 0) -> Tensor:
    """Mean distance of points `[B, J, 3]` whose roots lie together, `[B]` in their unit."""
    apart = (predicted - predicted[:, root, None]) - (truth - truth[:, root, None])
    distance: Tensor = apart.float().norm(dim=-1).mean(1)
    return distance


@torch.no_grad()
def aligned_error_mm(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean distance after similarity alignment without reflection, `[B, N, 3]` metres -> `[B]` mm."""
    with torch.autocast(predicted.device.type, enabled=False):
        return _aligned_error_mm(predicted.float(), truth.float())


def _aligned_error_mm(predicted: Tensor, truth: Tensor) -> Tensor:
    a, b = predicted - predicted.mean(1, keepdim=True), truth - truth.mean(1, keepdim=True)
    u, s, vh = torch.linalg.svd(a.transpose(1, 2) @ b)
    sign = torch.det(u @ vh).sign()
    u = torch.cat([u[..., :2], u[..., 2:] * sign[:, None, None]], dim=-1)
    s = torch.cat([s[:, :2], s[:, 2:] * sign[:, None]], dim=1)
    scale = s.sum(1) / (a**2).sum((1, 2)).clamp(min=1e-12)
    aligned = scale[:, None, None] * (a @ (u @ vh))
    distance_m: Tensor = (aligned - b).norm(dim=-1)
    return 1000.0 * distance_m.mean(1)
