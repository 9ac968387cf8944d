"""What `predict` returns: the hands or people of each picture, with all values of the demo's `.npz`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from shared_tmu.api.crops import KeptCrop, require_kept
from shared_tmu.api.inputs import OnePicture
from shared_tmu.api.keywords import require_count
from shared_tmu.api.writing import draw_over, write_result
from shared_tmu.demo.estimated import Estimated
from shared_tmu.demo.meshes import TO_VIEWER, mesh_files, scene_file, to_trimesh
from shared_tmu.demo.tokens import MAX_STAGES
from shared_tmu.errors import InputError

if TYPE_CHECKING:
    from trimesh import Trimesh

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Frame = Literal["camera", "viewer"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Item:
    """What hands and people have in common; see `Hand` and `Person`."""

    image_size_px: Ints
    focal_px: float
    principal_point_px: Floats
    camera_matrix: Floats
    score: float
    box_xyxy_px: Floats
    global_orient_axis_angle: Floats
    betas: Floats
    translation_m: Floats
    vertices_m: Floats
    joints_3d_m: Floats
    joints_2d_px: Floats
    _estimated: Estimated = field(metadata={"hidden": True})
    _facts: Mapping[str, Any] = field(metadata={"hidden": True})
    _crops: tuple[KeptCrop, ...] = field(metadata={"hidden": True})

    @property
    def vertices_camera_m(self) -> Floats:
        """Mesh in the camera frame, `[V, 3]`: `vertices_m + translation_m`."""
        return np.asarray(self.vertices_m + self.translation_m)

    @property
    def joints_camera_m(self) -> Floats:
        """Joints in the camera frame, `[J, 3]`: `joints_3d_m + translation_m`."""
        return np.asarray(self.joints_3d_m + self.translation_m)

    def to_dict(self) -> dict[str, Any]:
        """All values by the names of the demo's `.npz`; arrays are copies."""
        kept = [one.name for one in fields(self) if not one.metadata.get("hidden")]
        return {name: np.copy(v) if np.ndim(v := getattr(self, name)) else v for name in kept}

    def mesh(self, frame: Frame = "camera") -> Trimesh:
        """The mesh in metres, with outward faces.

        Args:
            frame: `"camera"`: x right, y down, z forward, as all values here; `"viewer"`: x right, y up, z
                towards the viewer, as in the files of `save`.

        Raises:
            InputError: another frame.
            MissingDependencyError: trimesh is not installed.
        """
        if frame not in ("camera", "viewer"):
            raise InputError(f"frame {frame!r} is not known: use 'camera' or 'viewer'.")
        (mesh,) = self._estimated.meshes
        turn = TO_VIEWER if frame == "viewer" else (1.0, 1.0, 1.0)
        return to_trimesh(np.asarray(mesh.vertices) * turn, mesh.faces, mesh.rgb)

    def draw(self, image: OnePicture, *, bgr: bool = False) -> NDArray[np.uint8]:
        """The picture with this mesh over it; see `PictureResult.draw`."""
        return draw_over(self._estimated, image, bgr=bgr)

    def draw_tokens(self, most: int = MAX_STAGES) -> NDArray[np.uint8]:
        """The crop as the network sees it, then its groups of tokens after some of the blocks that merged.

        Args:
            most: the largest number of these blocks; the last is always among them.

        Returns:
            `[H, W, 3]` uint8, RGB: panels side by side; tokens of one group have the colour of their mean.

        Raises:
            InputError: the model was loaded without `tokens=True`, or `most` is no number above 0.
        """
        require_count("most", most)
        require_kept(self._crops, "a picture of tokens")
        return self._crops[0].draw(most)

    def save(self, path: os.PathLike[str] | str) -> Path:
        """Write a file whose suffix says what it holds, in one step; returns its path.

        `.npz` and `.json`: all values, as the demo saves them of a picture with one hand or person; `.obj`
        and `.glb`: the mesh in the viewer's frame.

        Raises:
            InputError: another suffix, or the file cannot be written.
        """
        (mesh,) = self._estimated.meshes

        def make(suffix: str) -> bytes | None:
            if suffix in ("obj", "glb"):
                return mesh_files(mesh.vertices, mesh.faces, mesh.rgb)[suffix]
            return self._estimated.parameters(self._facts).get(suffix)

        return write_result(path, make, "npz, json, obj or glb")


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Hand(Item):
    """A hand. Names, units and frames are those of the demo's `.npz`: see `shared_tmu.programs.hand_records`.

    All values of a left hand are those of a true left hand, not of a mirrored right one.

    Attributes:
        is_right: whether it is the person's right hand.
        score: the detector's confidence, 0 to 1; 1 for boxes that were given.
        box_xyxy_px: its box, left, top, right, bottom.
        vertices_m, joints_3d_m: `[778, 3]` and `[21, 3]`; add `translation_m` for the camera frame.
        joints_2d_px: the joints in the picture, `[21, 2]`.
    """

    is_right: bool
    crop_center_px: Floats
    crop_size_px: float
    global_orient_rotmat: Floats
    hand_pose_rotmat: Floats
    hand_pose_axis_angle: Floats
    weak_camera: Floats
    faces_right: Ints
    faces_left: Ints

    @property
    def faces(self) -> Ints:
        """Triangles of this hand, counter-clockwise from outside."""
        return self.faces_right if self.is_right else self.faces_left

    def __repr__(self) -> str:
        side = "right" if self.is_right else "left"
        return f"Hand({side}, score={self.score:.2f}, box_xyxy_px={np.round(self.box_xyxy_px, 1).tolist()})"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Person(Item):
    """A person. Names, units and frames are those of the demo's `.npz`: see
    `shared_tmu.programs.body_records`.

    Attributes:
        score: the detector's confidence, 0 to 1; 1 for boxes that were given.
        box_xyxy_px: their box, left, top, right, bottom.
        vertices_m, joints_3d_m: `[10475, 3]` and `[137, 3]`; add `translation_m` for the camera frame.
        joints_2d_px: the joints in the picture, `[137, 2]`.
    """

    crop_xywh_px: Floats
    body_pose_axis_angle: Floats
    left_hand_pose_axis_angle: Floats
    right_hand_pose_axis_angle: Floats
    jaw_pose_axis_angle: Floats
    expression: Floats
    crop_translation_m: Floats
    faces: Ints

    def __repr__(self) -> str:
        return f"Person(score={self.score:.2f}, box_xyxy_px={np.round(self.box_xyxy_px, 1).tolist()})"


T = TypeVar("T", bound=Item, covariant=True)


class PictureResult(Sequence[T], Generic[T]):
    """The hands or people of one picture: a sequence of `Hand` or `Person`.

    Attributes:
        name: the picture's file name, or its place.
        model: name of the model.
        problems: why the picture or some of its boxes could not be used; with `strict`, only boxes that the
            detector found.
        masks: for each of them, what its mask was drawn from, `none` for no mask.
        crops: what the network saw of each, if the model was loaded with `tokens=True`; else empty.
    """

    def __init__(
        self,
        estimated: Estimated,
        kind: type[T],
        facts: Mapping[str, Any],
        problems: Sequence[str] = (),
        crops: tuple[KeptCrop, ...] = (),
    ) -> None:
        self.name: str = facts["image"]
        self.model: str = facts["model"]
        self.problems, self.masks = tuple(problems), tuple(facts["masks"])
        self._estimated, self._facts, self.crops = estimated, facts, crops
        self._arrays = {name: np.array(values) for name, values in estimated.arrays().items()}
        for values in self._arrays.values():
            values.flags.writeable = False  # meshes, drawings and files would not follow a change
        self._items = tuple(self._item(kind, index) for index in range(len(estimated.records)))

    def _item(self, kind: type[T], index: int) -> T:
        table = self._estimated.subject.table
        found: dict[str, Any] = {
            name: values if name in table.per_image else values[index]
            for name, values in self._arrays.items()
        }
        plain: dict[str, Any] = {
            name: value.item() if np.ndim(value) == 0 else value for name, value in found.items()
        }
        facts = {**self._facts, "masks": [self.masks[index]]}
        crops = self.crops[index : index + 1]
        return kind(**plain, _estimated=self._estimated.only(index), _facts=facts, _crops=crops)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[T, ...]: ...
    def __getitem__(self, place: int | slice) -> T | tuple[T, ...]:
        return self._items[place]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __repr__(self) -> str:
        return f"PictureResult({self.name!r}, {list(self._items)})"

    def to_dict(self) -> dict[str, NDArray[Any]]:
        """All arrays of the demo's `.npz`, hands or people along their first dimension; they are copies."""
        return {name: values.copy() for name, values in self._arrays.items()}

    def draw(self, image: OnePicture, *, bgr: bool = False) -> NDArray[np.uint8]:
        """The picture with all meshes over it, nearer ones in front.

        Args:
            image: the picture that was predicted, in any form that `predict` accepts.
            bgr: whether an array `image` and the result have their channels in the order BGR.

        Returns:
            `[H, W, 3]` uint8, RGB unless `bgr`; `image` stays as it is.

        Raises:
            InputError: `image` has another size, or cannot be read.
        """
        return draw_over(self._estimated, image, bgr=bgr)

    def save(self, path: os.PathLike[str] | str) -> Path:
        """Write all values as `.npz` or `.json`, the files of the demo, or all meshes as one `.glb`, in one
        step; returns the path.

        Raises:
            InputError: another suffix, or the file cannot be written, or the picture could not be read, or
                there is no mesh for a `.glb`.
        """
        if self._estimated.camera.width == 0:
            raise InputError(f"{self.name} has no results to save: {'; '.join(self.problems)}")

        def make(suffix: str) -> bytes | None:
            if suffix == "glb":
                return scene_file(self._estimated.meshes, self._estimated.subject.one)
            return self._estimated.parameters(self._facts).get(suffix)

        return write_result(path, make, "npz, json or glb")
