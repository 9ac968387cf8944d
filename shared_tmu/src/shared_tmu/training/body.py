"""Trains SMPLest-X on SynthBody: the losses of its head, and the LightningModule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from shared_tmu.body_models.smplx_layer import SmplxLayer, SmplxOutput
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
from shared_tmu.body_models.smplx_subset import SmplxSubset
from shared_tmu.pictures.geometry import (
    axis_angle_to_rotmat,
    interleaved_rot6d_to_rotmat,
    rotmat_to_axis_angle,
)
from shared_tmu.training.attention_loss import look_loss, recorded
from shared_tmu.training.dense import DENSE_LOSSES, DenseHeads, dense_losses, heat_losses
from shared_tmu.training.losses import FOCAL_OVER_SIZE, aligned_error_mm, fit_weak_camera, points_apart
from shared_tmu.training.module import RegressorTraining

# body and hands; the face is too small to be distinguished in patches
DENSE_KEYPOINTS = RIGHT_HAND_RANGE.stop
DENSE_UNIT_M = 0.5
EVERY = 5  # the loss uses one of this number of vertices
_PARTS = (
    (LEFT_HAND_RANGE, KEYPOINT_LEFT_WRIST),
    (RIGHT_HAND_RANGE, KEYPOINT_RIGHT_WRIST),
    (FACE_RANGE, KEYPOINT_NECK),
)
_ROTATIONS = {  # name of the label, name in the decoder, and factor in the loss
    "root": ("body_root_pose", 1.0),
    "body": ("body_pose", 4.0),
    "left_hand": ("lhand_pose", 2.0),
    "right_hand": ("rhand_pose", 2.0),
    "jaw": ("face_jaw_pose", 1.0),
}


_HANDS = "left_hand", "right_hand"
_UNREAD = (
    "transformer.to_token_embedding",
    *("dec_hand_root_pose", "dec_hand_cam", "dec_face_root_pose", "dec_face_cam"),
)
"""Layers of the published decoder on which the mesh does not depend, nor any loss."""
_POINTS = "found_keypoints"  # among the outputs of a training step


class PosedPerson(NamedTuple):
    """A posed person without a camera.

    Attributes:
        rotations: matrices `[B, J, 3, 3]` by label, hands relative to their mean pose.
        betas, expression: `[B, 10]`.
        body: points in metres; only the vertices that the loss uses.
    """

    rotations: dict[str, Tensor]
    betas: Tensor
    expression: Tensor
    body: SmplxOutput


def loss_subset(layer: SmplxLayer) -> SmplxSubset:
    """The vertices that the loss uses."""
    return SmplxSubset(layer, torch.arange(0, len(layer.v_template), EVERY))


def found_person(decoded: Mapping[str, Tensor], subset: SmplxSubset) -> PosedPerson:
    """The person that SMPLest-X's decoder predicts."""
    rotations = {
        label: interleaved_rot6d_to_rotmat(decoded[name].reshape(len(decoded[name]), -1, 6))
        for label, (name, _) in _ROTATIONS.items()
    }
    hands = subset.hands(*(rotmat_to_axis_angle(rotations[label]) for label in _HANDS))
    return _person(rotations, hands, decoded["body_betas"], decoded["face_expression"], subset)


def labelled_person(batch: Mapping[str, Tensor], subset: SmplxSubset) -> PosedPerson:
    """The person that the targets of a `SynthBodySet` batch describe."""
    vectors = {label: batch[label].reshape(len(batch[label]), -1, 3) for label in _ROTATIONS}
    rotations = {label: axis_angle_to_rotmat(vector) for label, vector in vectors.items()}
    hands = subset.hands(*(vectors[label] for label in _HANDS))
    return _person(rotations, hands, batch["betas"], batch["expression"], subset)


def _person(
    rotations: dict[str, Tensor],
    hands: tuple[Tensor, Tensor],
    betas: Tensor,
    expression: Tensor,
    subset: SmplxSubset,
) -> PosedPerson:
    turns = rotations["root"], rotations["body"], *hands, rotations["jaw"]
    return PosedPerson(rotations, betas, expression, subset(*turns, betas, expression))


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
    """The translation with which SMPLest-X's camera projects a person's key points to given positions.

    Args:
        keypoints: `[B, J, 3]` metres in the body model's frame.
        keypoints_2d: `[B, J, 2]` relative to the middle of the crop, in units of its height.

    Returns:
        Translation `[B, 3]`, metres.
    """
    scale, x, y = fit_weak_camera(keypoints, keypoints_2d).unbind(-1)
    return torch.stack((x, y, 2 * FOCAL_OVER_SIZE / scale), dim=-1)


def project(points: Tensor) -> Tensor:
    """Project points `[B, J, 3]` of SMPLest-X's camera frame; relative to the middle of the crop, in units of
    its height.
    """
    return FOCAL_OVER_SIZE * points[..., :2] / points[..., 2:].clamp(min=0.1)


def body_losses(
    found: PosedPerson, camera: Tensor, batch: Mapping[str, Tensor], truth: PosedPerson
) -> dict[str, Tensor]:
    """Losses of a body head, each about one before training.

    Args:
        found: the predicted person.
        camera: its translation, `[B, 3]` metres.
        batch: targets from `SynthBodySet`.
        truth: the labelled person.
    """
    own = fit_translation(truth.body.keypoints, batch["keypoints_2d"])
    points = found.body.keypoints + camera[:, None]
    losses = points_losses(found, truth) | {
        "keypoints_2d": 8.0 * (project(points) - batch["keypoints_2d"]).abs().sum(-1).mean(),
        "betas": 0.2 * (found.betas - truth.betas).abs().mean(),
        "expression": 0.1 * (found.expression - truth.expression).abs().mean(),
        "camera": 2.0 * (camera[:, 2] / own[:, 2].clamp(min=1.0)).clamp(min=1e-3).log().abs().mean()
        + 2.0 * (camera[:, :2] - own[:, :2]).abs().mean(),
    }
    for label, (_, factor) in _ROTATIONS.items():
        losses[label] = factor * (found.rotations[label] - truth.rotations[label]).abs().mean()
    return losses


def points_losses(found: PosedPerson, truth: PosedPerson) -> dict[str, Tensor]:
    """Losses of points relative to the pelvis, of hands and face relative to wrist and neck, and of the pose
    without the rotation of the pelvis.
    """
    (points, vertices), (true_points, true_vertices) = (_about_pelvis(p.body) for p in (found, truth))
    missed = points - true_points
    parts = [missed[:, part] - missed[:, row, None] for part, row in _PARTS]
    local = vertices @ found.rotations["root"][:, 0] - true_vertices @ truth.rotations["root"][:, 0]
    return {
        "keypoints_3d": 3.0 * missed.abs().sum(-1).mean(),
        "parts_3d": 10.0 * torch.cat(parts, dim=1).abs().sum(-1).mean(),
        "vertices": 3.0 * (vertices - true_vertices).abs().sum(-1).mean(),
        "local_vertices": 3.0 * local.abs().sum(-1).mean(),
    }


def _about_pelvis(body: SmplxOutput) -> tuple[Tensor, Tensor]:
    """Key points and vertices relative to the pelvis."""
    pelvis = body.keypoints[:, KEYPOINT_PELVIS, None]
    return body.keypoints - pelvis, body.vertices - pelvis


class BodyTraining(RegressorTraining):
    """Trains SMPLest-X.

    Args:
        model: has `encoder`, `decoder`, `assemble` and `smplx_layer`.
        dim: channels of the tokens.
        steps: see `RegressorTraining`, also for the other arguments. The weight `head` multiplies those of
            all losses of the decoder. At 0 only the patch tokens learn, at a third of the cost, and decoder
            and task tokens do not change.
    """

    LOSSES: ClassVar[frozenset[str]] = DENSE_LOSSES | {
        "head",
        "look",
        "keypoints_3d",
        "parts_3d",
        "vertices",
        "local_vertices",
        "keypoints_2d",
        "betas",
        "expression",
        "camera",
        *_ROTATIONS,
    }

    def __init__(self, model: Any, dim: int, steps: int, *args: Any, **options: Any) -> None:
        dense = DenseHeads(dim, parts=NUM_JOINTS + 1, keypoints=DENSE_KEYPOINTS)
        super().__init__(model, model.encoder, dense, steps, *args, **options)
        self.subset = loss_subset(model.smplx_layer)
        for name in _UNREAD:  # several devices wait for a gradient of everything that learns
            model.decoder.get_submodule(name).requires_grad_(False)
        self.has_head = self.weights.get("head", 1.0) > 0
        if not self.has_head:
            model.decoder.requires_grad_(False)
            model.encoder.task_tokens.requires_grad_(False)

    def factor(self, name: str) -> float:
        """See `RegressorTraining`."""
        return super().factor(name) * (1.0 if name in DENSE_LOSSES else self.weights.get("head", 1.0))

    def losses(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `RegressorTraining`."""
        if self.training and not self.has_head:
            return self.dense_losses(self.encode(batch, with_tasks=False)[1], batch), {}
        tokens, read = self.encode(batch)
        losses = self.dense_losses(read, batch)
        with recorded(self.model.decoder) as looked:
            decoded = self.model.decoder(tokens)
        losses["look"] = look_loss(
            looked, self.dense, batch["keypoints_2d"][:, :DENSE_KEYPOINTS], read["kept"]
        )
        camera = self.model.body_params(decoded)["cam_trans"]
        with torch.no_grad():
            truth = labelled_person(batch, self.subset)
        found = found_person(decoded, self.subset)
        losses |= body_losses(found, camera, batch, truth)
        return losses, {**decoded, _POINTS: found.body.keypoints}

    def hardness(self, batch: dict[str, Tensor], output: dict[str, Any]) -> Tensor:
        """Mean distance of the key points with the pelvises together, metres."""
        return points_apart(output[_POINTS], batch["keypoints_3d"], KEYPOINT_PELVIS)

    def dense_losses(self, read: dict[str, Any], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses of the patch tokens."""
        seen = {name: batch[name][:, :DENSE_KEYPOINTS] for name in ("keypoints_2d", "keypoints_3d")}
        losses = dense_losses(read, {**batch, **seen}, DENSE_UNIT_M)
        return losses | heat_losses(self.dense, read, seen["keypoints_2d"])

    def errors(self, batch: dict[str, Tensor], output: dict[str, Any]) -> dict[str, Tensor]:
        """Aligned vertex and joint errors in mm, of the whole body and of the hands, and 2D errors in
        pixels.
        """
        truth = true_body(batch, self.model.smplx_layer)
        output = self.model.assemble(output)
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
