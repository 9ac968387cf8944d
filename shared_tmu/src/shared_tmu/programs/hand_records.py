"""What is known about each hand after prediction, and how it is saved.

One `.npz` and one `.json` per image. The `.npz` holds arrays with the hands along the first dimension (K
hands, 0 if none was found); the `.json` holds the same values for each hand, without vertices and faces, and
explains each name in its `fields`. Names, shapes and units:

| name | shape | unit | meaning |
|---|---|---|---|
| image_size_px | [2] | px | width and height of the upright image |
| focal_px | scalar | px | focal length of the whole image's pinhole camera |
| principal_point_px | [2] | px | its principal point (x, y): half the width and height |
| camera_matrix | [3, 3] | px | the two as a matrix |
| is_right | [K] | | whether it is the person's right hand |
| score | [K] | | the detector's confidence, 0 to 1 |
| box_xyxy_px | [K, 4] | px | the detector's box: left, top, right, bottom |
| crop_center_px | [K, 2] | px | centre (x, y) of the square crop that the model saw |
| crop_size_px | [K] | px | side of that square |
| global_orient_rotmat | [K, 3, 3] | | rotation of the wrist in the camera frame |
| global_orient_axis_angle | [K, 3] | rad | the same as axis times angle |
| hand_pose_rotmat | [K, 15, 3, 3] | | rotations of the finger joints in MANO's order, to their parents |
| hand_pose_axis_angle | [K, 15, 3] | rad | the same as axis times angle; MANO's mean pose is not subtracted |
| betas | [K, 10] | | MANO shape coefficients |
| weak_camera | [K, 3] | | (s, tx, ty): scale and shift of the weak-perspective camera of the crop |
| translation_m | [K, 3] | m | moves the hand into the whole image's camera frame |
| vertices_m | [K, 778, 3] | m | mesh, before the translation |
| joints_3d_m | [K, 21, 3] | m | joints in OpenPose's order, before the translation |
| joints_2d_px | [K, 21, 2] | px | (joints_3d_m + translation_m) projected with camera_matrix |
| faces_right | [F, 3] | | triangles of right hands, counter-clockwise from outside |
| faces_left | [F, 3] | | triangles of left hands |

Convention: camera frame x right, y down, z forward; pixel centres at whole numbers. Left hands are saved as
left hands: the model sees them mirrored, and all its outputs are mirrored back - vertices and joints in x,
the camera's tx, rotations R as M R M with M = diag(-1, 1, 1), axis-angle (x, y, z) as (x, -y, -z) - so the
parameters fit a left MANO model (`shared_tmu.body_models.load_mano(..., side="left")`) with the same betas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared_tmu.detect import HandBox
from shared_tmu.pictures.geometry import crop_camera_to_full, mirror_rotmat, rotmat_to_axis_angle
from shared_tmu.pictures.hand_crops import HandCrop
from shared_tmu.programs.tables import ImageCamera, Record, Table, parse_fields

JOINT_NAMES = (
    "wrist",
    *(
        f"{finger}_{joint}"
        for finger in ("thumb", "index", "middle", "ring", "little")
        for joint in range(1, 5)
    ),
)
TABLE = Table(
    fields=parse_fields(__doc__),
    per_image=(
        "image_size_px", "focal_px", "principal_point_px", "camera_matrix", "faces_right", "faces_left",
    ),
    npz_only=("vertices_m", "faces_right", "faces_left"),
    many="hands",
    extra={"joint_names": list(JOINT_NAMES)},
)  # fmt: skip


def make_record(
    output: Mapping[str, NDArray[np.float32]], box: HandBox, crop: HandCrop, camera: ImageCamera
) -> Record:
    """Convert one row of a model's output into a hand.

    Args:
        output: `pred_cam` [3], `global_orient` [1, 3, 3], `hand_pose` [15, 3, 3], `betas` [10],
            `pred_vertices` [V, 3] and `pred_keypoints_3d` [21, 3], all of the right hand in the crop.
        box: where it was found.
        crop: the crop that the model saw.
        camera: camera of the whole image.
    """
    mirror = np.array([1.0 if box.is_right else -1.0, 1.0, 1.0])
    weak, translation = _weak_camera(output, box), translation_of(output, box, crop, camera)
    orient, pose = (
        torch.from_numpy(output[name].astype(np.float64)) for name in ("global_orient", "hand_pose")
    )
    if not box.is_right:
        orient, pose = mirror_rotmat(orient), mirror_rotmat(pose)
    joints = (output["pred_keypoints_3d"] * mirror).astype(np.float32)
    values = {
        "is_right": np.array(box.is_right),
        "score": np.array(box.score, np.float64),
        "box_xyxy_px": np.array(box.box_xyxy, np.float64),
        "crop_center_px": crop.box_center.astype(np.float64),
        "crop_size_px": np.array(crop.box_size, np.float64),
        "global_orient_rotmat": orient[0].numpy().astype(np.float32),
        "global_orient_axis_angle": rotmat_to_axis_angle(orient)[0].numpy().astype(np.float32),
        "hand_pose_rotmat": pose.numpy().astype(np.float32),
        "hand_pose_axis_angle": rotmat_to_axis_angle(pose).numpy().astype(np.float32),
        "betas": output["betas"].astype(np.float32),
        "weak_camera": weak,
        "translation_m": translation,
        "vertices_m": (output["pred_vertices"] * mirror).astype(np.float32),
        "joints_3d_m": joints,
        "joints_2d_px": camera.project(joints + translation),
    }
    return Record(box, values)


def translation_of(
    output: Mapping[str, NDArray[np.float32]], box: HandBox, crop: HandCrop, camera: ImageCamera
) -> NDArray[np.float64]:
    """What moves a hand into the whole image's camera frame, `[3]` metres; see `make_record`."""
    translation: NDArray[np.float64] = crop_camera_to_full(
        torch.from_numpy(_weak_camera(output, box)[None]),
        torch.from_numpy(crop.box_center.astype(np.float64)[None]),
        torch.tensor([crop.box_size], dtype=torch.float64),
        torch.tensor([[camera.width, camera.height]], dtype=torch.float64),
        camera.focal_px,
    )[0].numpy()
    return translation


def _weak_camera(output: Mapping[str, NDArray[np.float32]], box: HandBox) -> NDArray[np.float64]:
    """The crop's camera (s, tx, ty), mirrored back for a left hand."""
    weak: NDArray[np.float64] = output["pred_cam"].astype(np.float64)
    return weak * [1.0, 1.0 if box.is_right else -1.0, 1.0]


def image_arrays(
    records: Sequence[Record], camera: ImageCamera, faces: NDArray[np.integer[Any]]
) -> dict[str, NDArray[Any]]:
    """All arrays of one image, in the order of the table; `faces` are those of a right hand."""
    sides = {"faces_right": faces.astype(np.int64), "faces_left": faces[:, ::-1].astype(np.int64)}
    return TABLE.arrays(records, {**camera.arrays(), **sides})
