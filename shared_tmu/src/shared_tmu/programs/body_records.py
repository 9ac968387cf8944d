"""What is known about each person after prediction, and how it is saved.

One `.npz` and one `.json` per image, as for hands (see `records`); K people, 0 if nobody was found:

| name | shape | unit | meaning |
|---|---|---|---|
| image_size_px | [2] | px | width and height of the upright image |
| focal_px | scalar | px | focal length of the whole image's pinhole camera |
| principal_point_px | [2] | px | its principal point (x, y): half the width and height |
| camera_matrix | [3, 3] | px | the two as a matrix |
| score | [K] | | the detector's confidence, 0 to 1 |
| box_xyxy_px | [K, 4] | px | the detector's box: left, top, right, bottom |
| crop_xywh_px | [K, 4] | px | the crop that the model saw: left, top, width, height |
| global_orient_axis_angle | [K, 3] | rad | rotation of the pelvis in the camera frame, axis times angle |
| body_pose_axis_angle | [K, 21, 3] | rad | rotations of the body joints in SMPL-X's order, to their parents |
| left_hand_pose_axis_angle | [K, 15, 3] | rad | finger joints, without SMPL-X's mean hand pose |
| right_hand_pose_axis_angle | [K, 15, 3] | rad | the same for the right hand |
| jaw_pose_axis_angle | [K, 3] | rad | rotation of the jaw |
| betas | [K, 10] | | SMPL-X shape coefficients |
| expression | [K, 10] | | SMPL-X expression coefficients |
| crop_translation_m | [K, 3] | m | the model's own translation, for the camera of its crop |
| translation_m | [K, 3] | m | moves the person into the whole image's camera frame |
| vertices_m | [K, 10475, 3] | m | mesh, before the translation |
| joints_3d_m | [K, 137, 3] | m | SMPLest-X's key points, before the translation |
| joints_2d_px | [K, 137, 2] | px | (joints_3d_m + translation_m) projected with camera_matrix |
| faces | [F, 3] | | triangles, counter-clockwise from outside |

Convention: camera frame x right, y down, z forward; pixel centres at whole numbers. The model has a camera
for each crop (focal length 5000 px at 256 x 192 px); here all people of an image share the image's camera,
and each translation is chosen so that the pelvis stays at the same pixels and the person keeps the same size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.smplx_model import (
    BODY_RANGE,
    FACE_RANGE,
    LEFT_HAND_RANGE,
    RIGHT_HAND_RANGE,
)
from shared_tmu.detect import PersonBox
from shared_tmu.pictures.body_crops import BodyCrop, full_image_camera
from shared_tmu.programs.tables import ImageCamera, Record, Table, parse_fields

CROP_FOCAL_PX = (5000.0, 5000.0)
"""Focal length of a crop as large as the network's input, as published."""

_ROTATIONS = {
    "global_orient_axis_angle": "smplx_root_pose",
    "body_pose_axis_angle": "smplx_body_pose",
    "left_hand_pose_axis_angle": "smplx_lhand_pose",
    "right_hand_pose_axis_angle": "smplx_rhand_pose",
    "jaw_pose_axis_angle": "smplx_jaw_pose",
}

TABLE = Table(
    fields=parse_fields(__doc__),
    per_image=("image_size_px", "focal_px", "principal_point_px", "camera_matrix", "faces"),
    npz_only=("vertices_m", "joints_3d_m", "faces"),
    many="people",
    extra={
        "joint_ranges": {
            name: [part.start, part.stop]
            for name, part in (
                ("body", BODY_RANGE),
                ("left_hand", LEFT_HAND_RANGE),
                ("right_hand", RIGHT_HAND_RANGE),
                ("face", FACE_RANGE),
            )
        }
    },
)


def make_record(
    output: Mapping[str, NDArray[np.float32]], box: PersonBox, crop: BodyCrop, camera: ImageCamera
) -> Record:
    """Convert one row of a model's output into a person.

    Args:
        output: SMPLest-X's output for the crop; see `SMPLestX.forward`.
        box: where the person was found.
        crop: the crop that the model saw.
        camera: camera of the whole image.
    """
    own = output["cam_trans"].astype(np.float64)
    vertices = output["smplx_mesh_cam"] - output["cam_trans"]
    joints = output["smplx_joint_cam"] + output["smplx_root_cam"] - output["cam_trans"]
    pelvis = output["smplx_root_cam"].astype(np.float64) - own
    translation = to_image_camera(own + pelvis, crop, camera) - pelvis
    rotations = {ours: output[theirs].astype(np.float32) for ours, theirs in _ROTATIONS.items()}
    for name in ("body_pose", "left_hand_pose", "right_hand_pose"):
        rotations[f"{name}_axis_angle"] = rotations[f"{name}_axis_angle"].reshape(-1, 3)
    values: dict[str, NDArray[Any]] = {
        "score": np.array(box.score, np.float64),
        "box_xyxy_px": np.array(box.box_xyxy, np.float64),
        "crop_xywh_px": crop.crop_xywh.astype(np.float64),
        **rotations,
        "betas": output["smplx_shape"].astype(np.float32),
        "expression": output["smplx_expr"].astype(np.float32),
        "crop_translation_m": own,
        "translation_m": translation,
        "vertices_m": vertices.astype(np.float32),
        "joints_3d_m": joints.astype(np.float32),
        "joints_2d_px": camera.project(joints + translation),
    }
    return Record(box, values)


def to_image_camera(point_m: NDArray[np.float64], crop: BodyCrop, camera: ImageCamera) -> NDArray[np.float64]:
    """Move a point `[3]` from the crop's camera frame to the image's: to the same pixel, at the distance at
    which objects keep their size.
    """
    height, width = crop.size
    own = full_image_camera(crop.crop_xywh, CROP_FOCAL_PX, (width / 2, height / 2), (height, width))
    pixel = own[:2] @ (point_m / point_m[2])
    depth = point_m[2] * camera.focal_px / np.sqrt(own[0, 0] * own[1, 1])
    ray = (pixel - camera.principal_point_px) / camera.focal_px
    return np.array((*(ray * depth), depth))


def to_crop_camera(point_m: NDArray[np.float64], crop: BodyCrop, camera: ImageCamera) -> NDArray[np.float64]:
    """Move a point `[3]` from the image's camera frame to the crop's: the inverse of `to_image_camera`."""
    height, width = crop.size
    own = full_image_camera(crop.crop_xywh, CROP_FOCAL_PX, (width / 2, height / 2), (height, width))
    pixel = point_m[:2] / point_m[2] * camera.focal_px + camera.principal_point_px
    depth = point_m[2] * np.sqrt(own[0, 0] * own[1, 1]) / camera.focal_px
    ray = (pixel - own[:2, 2]) / np.diag(own)[:2]
    return np.array((*(ray * depth), depth))


def image_arrays(
    records: Sequence[Record], camera: ImageCamera, faces: NDArray[np.integer[Any]]
) -> dict[str, NDArray[Any]]:
    """All arrays of one image, in the order of the table."""
    return TABLE.arrays(records, {**camera.arrays(), "faces": faces.astype(np.int64)})
