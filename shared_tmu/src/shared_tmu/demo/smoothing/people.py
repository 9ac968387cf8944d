"""People as motions, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared_tmu.body_models.smplx_model import KEYPOINT_PELVIS
from shared_tmu.programs.body_records import to_crop_camera, to_image_camera
from shared_tmu.programs.tables import ImageCamera
from shared_tmu.temporal.smoothing.motion import Motion, Numbers, from_place, to_place

if TYPE_CHECKING:
    from shared_tmu.demo.predict import Arrays

SIZE_M = 1.7
"""Usual height of a person."""

_ROTATIONS = {
    "smplx_root_pose": "global_orient",
    "smplx_body_pose": "body_pose",
    "smplx_lhand_pose": "left_hand_pose",
    "smplx_rhand_pose": "right_hand_pose",
    "smplx_jaw_pose": "jaw_pose",
}
"""The model's names, in the order of `Motion.rotations`, and those of the SMPL-X layer."""

_SHAPE = {"smplx_shape": "betas", "smplx_expr": "expression"}


@dataclass(frozen=True)
class BodyMotions:
    """Converts what SMPLest-X predicts.

    Attributes:
        layer: its SMPL-X layer. Predicted hand poses lack its mean hand pose, with which they are rotations.
    """

    layer: Any

    def read(self, output: Arrays, box: Any, crop: Any, camera: ImageCamera) -> Motion | None:
        """The motion of a person; the place is that of the pelvis. None for a person behind the camera."""
        from scipy.spatial.transform import Rotation

        turns = np.concatenate([output[name].astype(np.float64) for name in _ROTATIONS]) + self._means()
        shape = np.concatenate([output[name].astype(np.float64) for name in _SHAPE])
        pelvis_m = to_image_camera(output["smplx_root_cam"].astype(np.float64), crop, camera)
        if pelvis_m[2] <= 0:
            return None
        place = to_place(pelvis_m)
        return Motion(Rotation.from_rotvec(turns.reshape(-1, 3)), shape, place, SIZE_M / float(pelvis_m[2]))

    def write(
        self,
        outputs: Sequence[Arrays],
        motions: Sequence[Motion],
        boxes: Sequence[Any],
        crops: Sequence[Any],
        camera: ImageCamera,
    ) -> list[Arrays]:
        """The same people with other motions; meshes and joints are those of the new parameters."""
        flat = np.stack([one.rotations.as_rotvec().reshape(-1) for one in motions]) - self._means()
        params = _split(flat, outputs[0], _ROTATIONS)
        params |= _split(np.stack([one.shape for one in motions]), outputs[0], _SHAPE)
        vertices, points = self._made(params)
        return [
            {**output, **{name: values[row].astype(np.float32) for name, values in params.items()}}
            | _placed(vertices[row], points[row], to_crop_camera(from_place(motion.place), crop, camera))
            for row, (output, motion, crop) in enumerate(zip(outputs, motions, crops, strict=True))
        ]

    def posed(self, output: Arrays, root: Numbers, body: Numbers) -> Arrays:
        """What differs of a person with another pose of pelvis and body, `[3]` and `[63]` radians; fingers,
        jaw, shape and the place of the pelvis stay."""
        new = {"smplx_root_pose": root.astype(np.float32), "smplx_body_pose": body.astype(np.float32)}
        params = {name: np.asarray((output | new)[name])[None] for name in _ROTATIONS | _SHAPE}
        vertices, points = self._made(params)
        return {**new, **_placed(vertices[0], points[0], np.asarray(output["smplx_root_cam"]))}

    def _made(self, params: dict[str, Numbers]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Vertices and key points of people with these parameters, `[B, ...]` each."""
        like = self.layer.v_template
        tensors = {name: torch.tensor(values).to(like) for name, values in params.items()}
        with torch.inference_mode():
            made = self.layer(**{theirs: tensors[ours] for ours, theirs in (_ROTATIONS | _SHAPE).items()})
        vertices, points = (part.float().cpu().numpy() for part in (made.vertices, made.keypoints))
        return vertices, points

    def _means(self) -> Numbers:
        """What is added to predicted poses to make them rotations, in the order of `_ROTATIONS`, `[3 R]`."""
        hands = (self.layer.left_hand_mean, self.layer.right_hand_mean)
        flat = [hand.double().cpu().numpy().reshape(-1) for hand in hands]
        return np.concatenate((np.zeros(3 + 63), *flat, np.zeros(3)))


def _split(flat: Numbers, like: Arrays, names: Any) -> dict[str, Numbers]:
    """Columns `[B, ...]` as the arrays of some names, each as long as in an output."""
    ends = np.cumsum([len(like[name]) for name in names])
    return dict(zip(names, np.split(flat, ends[:-1], axis=1), strict=True))


def _placed(vertices: Any, points: Any, pelvis_m: Numbers) -> dict[str, NDArray[np.float32]]:
    """Mesh and key points of a person whose pelvis is at a point of the crop's camera frame."""
    own = points[KEYPOINT_PELVIS]
    moved = pelvis_m.astype(np.float32) - own
    return {
        "smplx_mesh_cam": vertices + moved,
        "smplx_joint_cam": points - own,
        "smplx_root_cam": pelvis_m.astype(np.float32),
        "cam_trans": moved,
    }
