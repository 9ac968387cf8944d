"""Training SMPLest-X on SynthBody: what its head is held to, and the LightningModule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.body_models.smplx_layer import SmplxOutput
from shared_tmu.body_models.smplx_model import (
    FACE_RANGE,
    KEYPOINT_LEFT_WRIST,
    KEYPOINT_NECK,
    KEYPOINT_PELVIS,
    KEYPOINT_RIGHT_WRIST,
    LEFT_HAND_RANGE,
    NUM_JOINTS,
    RIGHT_HAND_RANGE,
)
from shared_tmu.geometry import axis_angle_to_rotmat, interleaved_rot6d_to_rotmat
from shared_tmu.training.dense import DenseHeads, dense_losses, heat_losses
from shared_tmu.training.losses import FOCAL_OVER_SIZE, aligned_error_mm, fit_weak_camera
from shared_tmu.training.module import RegressorTraining

DENSE_KEYPOINTS = RIGHT_HAND_RANGE.stop  # body and hands; the face is too small to be told apart in patches
DENSE_UNIT_M = 0.5
EVERY = 5  # vertices that enter the loss: one in so many
_PARTS = (
    (LEFT_HAND_RANGE, KEYPOINT_LEFT_WRIST),
    (RIGHT_HAND_RANGE, KEYPOINT_RIGHT_WRIST),
    (FACE_RANGE, KEYPOINT_NECK),
)
_ROTATIONS = {  # the decoder's name, the label, and the loss's factor
    "body_root_pose": ("root", 1.0),
    "body_pose": ("body", 4.0),
    "lhand_pose": ("left_hand", 2.0),
    "rhand_pose": ("right_hand", 2.0),
    "face_jaw_pose": ("jaw", 1.0),
}


def true_body(batch: Mapping[str, Tensor], layer: nn.Module) -> SmplxOutput:
    """The labelled person in the body model's frame."""
    out: SmplxOutput = layer(
        global_orient=batch["root"],
        body_pose=batch["body"],
        left_hand_pose=batch["left_hand"],
        right_hand_pose=batch["right_hand"],
        jaw_pose=batch["jaw"],
        betas=batch["betas"],
        expression=batch["expression"],
    )
    return out


def fit_translation(keypoints: Tensor, keypoints_2d: Tensor) -> Tensor:
    """Where SMPLest-X's camera has to see a person so that key points come to lie where they are.

    Args:
        keypoints: `[B, J, 3]` metres in the body model's frame.
        keypoints_2d: `[B, J, 2]` about the middle of the crop, in heights of it.

    Returns:
        Translation `[B, 3]`, metres.
    """
    scale, x, y = fit_weak_camera(keypoints, keypoints_2d).unbind(-1)
    return torch.stack((x, y, 2 * FOCAL_OVER_SIZE / scale), dim=-1)


def project(points: Tensor) -> Tensor:
    """Points `[B, J, 3]` of SMPLest-X's camera frame, about the middle of the crop in heights of it."""
    return FOCAL_OVER_SIZE * points[..., :2] / points[..., 2:].clamp(min=0.1)


def body_losses(
    decoded: Mapping[str, Tensor],
    output: Mapping[str, Tensor],
    batch: Mapping[str, Tensor],
    truth: SmplxOutput,
) -> dict[str, Tensor]:
    """Losses of a body head, each about one before training.

    Args:
        decoded: rotations in interleaved 6D, by the decoder's names.
        output: SMPLest-X's output dictionary.
        batch: targets as `SynthBodySet` gives them.
        truth: the labelled person.
    """
    root = truth.keypoints[:, KEYPOINT_PELVIS, None]
    found, wanted = output["smplx_joint_cam"], truth.keypoints - root
    mesh = output["smplx_mesh_cam"] - output["smplx_root_cam"][:, None]
    vertices = mesh[:, ::EVERY] - (truth.vertices - root)[:, ::EVERY]
    parts = [
        (found[:, part] - found[:, row, None]) - (wanted[:, part] - wanted[:, row, None])
        for part, row in _PARTS
    ]
    points = found + output["smplx_root_cam"][:, None]
    own = fit_translation(truth.keypoints, batch["keypoints_2d"])
    camera = output["cam_trans"]
    losses = {
        "keypoints_3d": 3.0 * (found - wanted).abs().sum(-1).mean(),
        "parts_3d": 10.0 * torch.cat(parts, dim=1).abs().sum(-1).mean(),
        "vertices": 3.0 * vertices.abs().sum(-1).mean(),
        "keypoints_2d": 8.0 * (project(points) - batch["keypoints_2d"]).abs().sum(-1).mean(),
        "betas": 0.2 * (output["smplx_shape"] - batch["betas"]).abs().mean(),
        "expression": 0.1 * (output["smplx_expr"] - batch["expression"]).abs().mean(),
        "camera": 2.0 * (camera[:, 2] / own[:, 2].clamp(min=1.0)).clamp(min=1e-3).log().abs().mean()
        + 2.0 * (camera[:, :2] - own[:, :2]).abs().mean(),
    }
    for name, (label, factor) in _ROTATIONS.items():
        rotmat = interleaved_rot6d_to_rotmat(decoded[name].reshape(len(root), -1, 6))
        target = axis_angle_to_rotmat(batch[label].reshape(len(root), -1, 3))
        losses[label] = factor * (rotmat - target).abs().mean()
    return losses


class BodyTraining(RegressorTraining):
    """Train SMPLest-X.

    Args:
        model: has `encoder`, `decoder`, `assemble` and `smplx_layer`.
        dim: channels of the tokens.
        steps: see `RegressorTraining`, also for the rest.
    """

    def __init__(self, model: Any, dim: int, steps: int, *args: Any, **options: Any) -> None:
        dense = DenseHeads(dim, parts=NUM_JOINTS + 1, keypoints=DENSE_KEYPOINTS)
        super().__init__(model, model.encoder, dense, steps, *args, **options)

    def losses(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `RegressorTraining`."""
        tokens = self.encoders[0](batch["img"])
        read = self.dense(tokens[:, self.num_prefix_tokens :])
        seen = {name: batch[name][:, :DENSE_KEYPOINTS] for name in ("keypoints_2d", "keypoints_3d")}
        losses = dense_losses(read, {**batch, **seen}, DENSE_UNIT_M)
        losses |= heat_losses(self.dense, read, seen["keypoints_2d"])
        decoded = self.model.decoder(tokens)
        output = self.model.assemble(decoded)
        with torch.no_grad():
            truth = true_body(batch, self.model.smplx_layer)
        losses |= body_losses(decoded, output, batch, truth)
        return losses, output

    def errors(self, batch: dict[str, Tensor], output: dict[str, Any]) -> dict[str, Tensor]:
        """Aligned vertex and joint errors in mm, of the whole and of the hands, and 2D errors in pixels."""
        truth = true_body(batch, self.model.smplx_layer)
        points = output["smplx_joint_cam"] + output["smplx_root_cam"][:, None]
        distance = (project(points) - batch["keypoints_2d"]).norm(dim=-1)
        hands = [
            aligned_error_mm(points[:, part].float(), truth.keypoints[:, part])
            for part in (LEFT_HAND_RANGE, RIGHT_HAND_RANGE)
        ]
        return {
            "val/pa_mpvpe_mm": aligned_error_mm(output["smplx_mesh_cam"].float(), truth.vertices).mean(),
            "val/pa_mpjpe_mm": aligned_error_mm(points[:, :25].float(), truth.keypoints[:, :25]).mean(),
            "val/pa_hands_mm": torch.stack(hands).mean(),
            "val/error_2d_px": 256.0 * distance[:, :DENSE_KEYPOINTS].mean(),
        }
