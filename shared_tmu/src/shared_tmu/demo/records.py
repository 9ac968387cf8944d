"""What is known about each hand after prediction, and how it is saved.

One `.npz` and one `.json` per image. The `.npz` holds arrays with the hands along the first dimension (K
hands, 0 if none was found); the `.json` holds the same by hand, without vertices and faces, and says in its
`fields` what each name means. Names, shapes and units:

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
| translation_m | [K, 3] | m | what moves the hand into the whole image's camera frame |
| vertices_m | [K, 778, 3] | m | mesh, before the translation |
| joints_3d_m | [K, 21, 3] | m | joints in OpenPose's order, before the translation |
| joints_2d_px | [K, 21, 2] | px | (joints_3d_m + translation_m) projected with camera_matrix |
| faces_right | [F, 3] | | triangles of right hands, counter-clockwise from outside |
| faces_left | [F, 3] | | triangles of left hands |

Convention: camera frame x right, y down, z forward; pixel centres at whole numbers. Left hands are true left
hands: the model sees them mirrored, and everything it says is mirrored back - vertices and joints in x, the
camera's tx, rotations R as M R M with M = diag(-1, 1, 1), axis-angle (x, y, z) as (x, -y, -z) - so they pose
a left MANO model (`shared_tmu.body_models.load_mano(..., side="left")`) with the same betas.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from shared_tmu.crops import HandCrop
from shared_tmu.detect import HandBox
from shared_tmu.geometry import CROP_PX, FOCAL_PX, crop_camera_to_full, mirror_rotmat, rotmat_to_axis_angle

JOINT_NAMES = (
    "wrist",
    *(
        f"{finger}_{joint}"
        for finger in ("thumb", "index", "middle", "ring", "little")
        for joint in range(1, 5)
    ),
)
_PER_IMAGE = ("image_size_px", "focal_px", "principal_point_px", "camera_matrix", "faces_right", "faces_left")
_NPZ_ONLY = ("vertices_m", "faces_right", "faces_left")


@dataclass(frozen=True)
class Field:
    """A saved name, as the table above describes it."""

    name: str
    shape: str
    unit: str
    meaning: str


@cache
def fields() -> tuple[Field, ...]:
    """The table of this module's docstring."""
    rows = re.findall(r"^\| (\w+) \| ([^|]+) \| ([^|]*) ?\| (.+) \|$", __doc__ or "", re.MULTILINE)
    found = [Field(*(part.strip() for part in row)) for row in rows if row[0] != "name"]
    return tuple(found)


@dataclass(frozen=True)
class HandRecord:
    """One predicted hand in the whole image's camera frame; the values are those of the table, without K."""

    box: HandBox
    values: Mapping[str, NDArray[Any]]

    @property
    def vertices_camera_m(self) -> NDArray[np.float64]:
        """Mesh in the camera frame, `[V, 3]`."""
        return np.asarray(self.values["vertices_m"] + self.values["translation_m"])


@dataclass(frozen=True)
class ImageCamera:
    """The pinhole camera that a whole image is taken to have."""

    width: int
    height: int
    focal_px: float

    @classmethod
    def of_image(cls, width: int, height: int, focal_px: float | None) -> ImageCamera:
        """The camera of an image; without a focal length 5000 / 256 times the longer side, as published."""
        return cls(width, height, focal_px or FOCAL_PX / CROP_PX * max(width, height))

    @property
    def principal_point_px(self) -> tuple[float, float]:
        """(x, y), half the width and height, as published."""
        return self.width / 2, self.height / 2

    def project(self, points: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Points `[N, 3]` in the camera frame to pixels `[N, 2]`."""
        points = points.astype(np.float64)
        return np.asarray(points[:, :2] / points[:, 2:] * self.focal_px + self.principal_point_px)


def make_record(
    output: Mapping[str, NDArray[np.float32]], box: HandBox, crop: HandCrop, camera: ImageCamera
) -> HandRecord:
    """Turn one row of a model's output into the hand it stands for.

    Args:
        output: `pred_cam` [3], `global_orient` [1, 3, 3], `hand_pose` [15, 3, 3], `betas` [10],
            `pred_vertices` [V, 3] and `pred_keypoints_3d` [21, 3], all of the right hand in the crop.
        box: where it was found.
        crop: what the model saw.
        camera: of the whole image.
    """
    sign = 1.0 if box.is_right else -1.0
    mirror = np.array([sign, 1.0, 1.0])
    weak = output["pred_cam"].astype(np.float64) * [1.0, sign, 1.0]
    translation = crop_camera_to_full(
        torch.from_numpy(weak[None]),
        torch.from_numpy(crop.box_center.astype(np.float64)[None]),
        torch.tensor([crop.box_size], dtype=torch.float64),
        torch.tensor([[camera.width, camera.height]], dtype=torch.float64),
        camera.focal_px,
    )[0].numpy()
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
    return HandRecord(box, values)


def image_arrays(
    records: Sequence[HandRecord], camera: ImageCamera, faces: NDArray[np.integer[Any]]
) -> dict[str, NDArray[Any]]:
    """All arrays of one image, in the order of `fields()`; `faces` are those of a right hand."""
    cx, cy = camera.principal_point_px
    f = camera.focal_px
    arrays: dict[str, NDArray[Any]] = {
        "image_size_px": np.array([camera.width, camera.height], np.int64),
        "focal_px": np.array(f, np.float64),
        "principal_point_px": np.array([cx, cy]),
        "camera_matrix": np.array([[f, 0.0, cx], [0.0, f, cy], [0.0, 0.0, 1.0]]),
        "faces_right": faces.astype(np.int64),
        "faces_left": faces[:, ::-1].astype(np.int64),
    }
    for field in fields():
        if field.name not in _PER_IMAGE:
            stacked = [record.values[field.name] for record in records]
            arrays[field.name] = np.stack(stacked) if stacked else _nothing(field)
    return {field.name: arrays[field.name] for field in fields()}


def _nothing(field: Field) -> NDArray[Any]:
    sizes = [int(size) for size in field.shape.strip("[]").split(",")[1:]]
    return np.zeros((0, *sizes), bool if field.name == "is_right" else np.float64)


def to_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The `.npz`; the same bytes for the same arrays."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def to_json(arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> bytes:
    """The `.json`: `facts` about the image and the model, `fields`, and the hands one by one."""
    kept = [field for field in fields() if field.name not in _NPZ_ONLY]
    content: dict[str, Any] = dict(facts)
    content |= {field.name: arrays[field.name].tolist() for field in kept if field.name in _PER_IMAGE}
    content["hands"] = [
        {field.name: arrays[field.name][index].tolist() for field in kept if field.name not in _PER_IMAGE}
        for index in range(len(arrays["is_right"]))
    ]
    content["joint_names"] = list(JOINT_NAMES)
    content["fields"] = {
        field.name: {
            "shape": field.shape,
            "unit": field.unit,
            "meaning": field.meaning,
            "where": "npz" if field.name in _NPZ_ONLY else "npz and json",
        }
        for field in fields()
    }
    return (_layout(content, 3) + "\n").encode()


def _layout(value: Any, depth: int, indent: str = "") -> str:
    """JSON with the outer `depth` levels one item per line and the rest compact."""
    deeper = indent + "  "
    if depth and isinstance(value, dict) and value:
        items = [f"{json.dumps(key)}: {_layout(item, depth - 1, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(deeper + item for item in items) + f"\n{indent}}}"
    if depth and isinstance(value, list) and value and isinstance(value[0], dict):
        items = [_layout(item, depth - 1, deeper) for item in value]
        return "[\n" + ",\n".join(deeper + item for item in items) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)
