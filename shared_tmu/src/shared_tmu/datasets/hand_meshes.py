"""A set of single hands with true joints and meshes, read from pictures and scored as FreiHAND or HO3D is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.body_models import load_mano
from shared_tmu.datasets.base import Column, Outputs, Placed, SetOptions
from shared_tmu.datasets.found import find_subject
from shared_tmu.datasets.hand_files import read_hand_file, write_hand_file
from shared_tmu.datasets.hand_input import hand_input
from shared_tmu.datasets.hand_rules import FREIHAND, TIP_ROWS, TIP_VERTICES, HandRules
from shared_tmu.datasets.triangles import faces_fit
from shared_tmu.detect.landmarks import box_of
from shared_tmu.errors import InputError
from shared_tmu.masks import SKELETONS, MaskScene, MaskSource, Outline
from shared_tmu.metrics import HandScores, hand_posture
from shared_tmu.metrics.posture import OF_CLOUDS, are_together
from shared_tmu.pictures.geometry import crop_camera_to_full
from shared_tmu.pictures.hand_crops import hand_crop
from shared_tmu.pictures.images import read_image

_log = logging.getLogger(__name__)
NEAREST_M = 1e-3
"""Smallest depth for projection, metres: points nearer to the camera, or behind it, are projected as if they
were here.
"""
_HAND_M = 0.5
_DECIMALS = 9  # of metres, in the prediction file
_NUMBERED_OTHERWISE = (
    "%s: its vertices are numbered otherwise than the model's (MANO's and SynthHand's differ so): errors "
    "that compare vertex with vertex are undefined, those of joints are not."
)
_APART = (
    "%s: these joints and vertices do not lie at the same place, as in files of HaMeR's evaluator, whose "
    "joints are relative to the wrist: only aligned errors are given."
)


@dataclass(frozen=True)
class HandMeshSet:
    """An evaluation set of right hands, one in each picture.

    Args:
        name: canonical name.
        images: one picture per sample.
        intrinsics: `[N, 3, 3]` pixels.
        xyz_m: true joints `[N, 21, 3]`, metres, camera frame (x right, y down, z forward), OpenPose order.
        verts_m: true vertices `[N, 778, 3]`, the same frame.
        fingerprint: digest of the name and all annotations; see `picture_signature` for the pictures.
        official_count: samples of the complete set; None if there is no such number.
        tips: whose fingertips enter the predicted joints: the `model`'s own, as in published tables, or
            those that a data set takes from the vertices.
        image_size: side of the model's input, pixels.
        rules: joint order, frame, table and file of the benchmark.
        sample_ids: names of the samples; those of the pictures if not given.
        boxes_xyxy: `[N, 4]` pixels; None takes the whole pictures.
        wrists_m: where the set says that wrists are, `[N, 3]`, for sets that give it: predictions are moved
            there.
        how: where boxes come from and what else is to be known of the set, in plain values.
        faces: triangles of the predicted meshes, `[F, 3]`. Where they do not fit the true meshes, whose
            vertices are then numbered otherwise, errors that compare vertex with vertex are undefined. None
            if no model is known: nothing is checked, and outlines have the bundled hand's triangles.
    """

    name: str
    images: tuple[Path, ...]
    intrinsics: NDArray[np.float64]
    xyz_m: NDArray[np.float64]
    verts_m: NDArray[np.float64]
    fingerprint: str
    official_count: int | None = None
    tips: str = "model"
    image_size: int = 256
    rules: HandRules = FREIHAND
    sample_ids: tuple[str, ...] = ()
    boxes_xyxy: NDArray[np.float64] | None = None
    wrists_m: NDArray[np.float64] | None = None
    how: Mapping[str, Any] = field(default_factory=dict)
    faces: NDArray[np.int64] | None = None

    is_upright: ClassVar[bool] = True
    #: what must be kept of each batch and each model output to score and export predictions
    kept: ClassVar[tuple[str, ...]] = (
        "pred_vertices",
        "pred_keypoints_3d",
        "pred_cam",
        "box_center",
        "box_size",
    )

    def __post_init__(self) -> None:
        """Samples are named as their pictures if nothing else is said.

        Raises:
            InputError: a camera or a mesh that no sample can have.
        """
        self._expect("a camera without a focal length", self.intrinsics[:, (0, 1), (0, 1)].min(axis=1) <= 0)
        apart = np.linalg.norm(self.xyz_m.mean(axis=1) - self.verts_m.mean(axis=1), axis=-1) > _HAND_M
        self._expect("joints and vertices that are not of one hand, in metres", apart)
        if not self.sample_ids:
            object.__setattr__(self, "sample_ids", tuple(path.stem for path in self.images))

    def _expect(self, fault: str, found: NDArray[np.bool_]) -> None:
        """Refuse annotations with a fault, `[N]`."""
        if found.any():
            raise InputError(
                f"the annotations of {self.name} hold {fault}: {int(found.sum())} of {len(self)} samples, "
                f"first number {int(found.argmax())}. They are damaged or of another set; unpack it again."
            )

    @property
    def columns(self) -> tuple[Column, ...]:
        """See `EvalSet`."""
        return self.rules.columns

    def __len__(self) -> int:
        return len(self.images)

    @property
    def groups(self) -> tuple[str, ...]:
        """See `EvalSet`. A sample `name/0001` is a frame of a sequence."""
        return tuple(name.rpartition("/")[0] or name for name in self.sample_ids)

    @property
    def is_complete(self) -> bool:
        """Whether all samples of the official set are present."""
        return self.official_count is None or len(self) == self.official_count

    def head(self, count: int) -> Self:
        """The first `count` samples, or all if there are fewer."""
        return self.part(slice(count))

    def part(self, rows: slice) -> Self:
        """Some of the samples."""
        return replace(
            self,
            images=self.images[rows],
            intrinsics=self.intrinsics[rows],
            xyz_m=self.xyz_m[rows],
            verts_m=self.verts_m[rows],
            sample_ids=self.sample_ids[rows],
            boxes_xyxy=None if self.boxes_xyxy is None else self.boxes_xyxy[rows],
            wrists_m=None if self.wrists_m is None else self.wrists_m[rows],
        )

    @property
    def facts(self) -> dict[str, Any]:
        """See `EvalSet`."""
        numbering = {} if self.has_same_vertices else {"vertices": "numbered otherwise than the model's"}
        return {"tips": self.tips, **self.how, **numbering}

    def opened_with(self, options: SetOptions) -> HandMeshSet:
        """The same set, read with the settings of a command line and a model."""
        size = int(getattr(options.config, "image_size", self.image_size))
        opened = replace(self, tips=options.tips, image_size=size, faces=options.faces)
        if not opened.has_same_vertices:
            _log.warning(_NUMBERED_OTHERWISE, self.name)
        return opened

    def load(self, index: int, shift_px: tuple[float, float] = (0.0, 0.0)) -> dict[str, Tensor]:
        """One model input: the box (or picture) grown to 192:256, as published evaluations crop.

        Returns:
            `img` `[3, S, S]` normalised RGB; `box_center` `[2]` and `box_size` `[]` in picture pixels;
            `right` `[]`; `to_picture` `[2, 3]`.

        Raises:
            InputError: the picture cannot be read, or not completely.
        """
        image = read_image(self.images[index]).bgr
        height, width = image.shape[:2]
        whole = np.array([0, 0, width, height], dtype=np.float64)
        box = (whole if self.boxes_xyxy is None else self.boxes_xyxy[index]) + np.tile(shift_px, 2)
        crop = hand_crop(
            image, box, right=True, rescale_factor=-1, image_size=self.image_size, antialias=False
        )
        return hand_input(crop)

    def scene(self, index: int, crop: Mapping[str, Tensor], *, with_detector: bool) -> MaskScene:
        """See `EvalSet`. The box is that of the true mesh; the true points are projected."""
        outline = self._project(self.verts_m[index], index)
        box = box_of(outline)
        found = find_subject(self.images[index], box, "hand") if with_detector else None
        return MaskScene(
            size=(crop["img"].shape[-2], crop["img"].shape[-1]),
            to_picture=crop["to_picture"].numpy(),
            skeleton=SKELETONS["hand"],
            box_xyxy=box,
            landmarks_px=None if found is None else found.landmarks_px,
            true_keypoints_px=self._project(self.xyz_m[index], index),
            true_outline=Outline(outline, _or_bundled(self.faces)),
        )

    def lacking(self, source: MaskSource) -> str | None:
        """See `EvalSet`: this set has all masks if the model's triangles are those of its meshes."""
        if source.name != "truth" or self.has_same_vertices:
            return None
        return f"the true mesh of {self.name} has other triangles than the model's mesh"

    @property
    def has_same_vertices(self) -> bool:
        """Whether predicted vertices are numbered as the true ones, as far as that is known."""
        return self.faces is None or faces_fit(self.faces, self.verts_m)

    def posture(self, placed: Placed) -> dict[str, NDArray[np.float64]]:
        """See `EvalSet`; what needs the camera is left out where a file does not say where that put hands."""
        if not are_together(placed, self.xyz_m, self.verts_m):
            _log.warning(_APART, self.name)
            return {}
        found = hand_posture(placed, self.xyz_m, self.verts_m, self._project)
        return found if self.has_same_vertices else {name: found[name] for name in found if name in OF_CLOUDS}

    def shown_px(self, placed: Placed, index: int) -> NDArray[np.float64]:
        """See `EvalSet`: the vertices."""
        return self._project(placed["verts_m"][index], index)

    def true_px(self, index: int) -> NDArray[np.float64]:
        """See `EvalSet`: the vertices."""
        return self._project(self.verts_m[index], index)

    def _project(self, points_m: NDArray[np.float64], index: int) -> NDArray[np.float64]:
        """Project points `[P, 3]` of the camera frame to pixels of a sample's picture, `[P, 2]`."""
        rays = points_m @ self.intrinsics[index].T
        pixels: NDArray[np.float64] = rays[:, :2] / np.maximum(rays[:, 2:], NEAREST_M)
        return pixels

    def place(self, outputs: Outputs) -> Placed:
        """Predicted joints and vertices in the camera frame.

        The model's crop camera and the true intrinsics give one translation per sample, which moves joints
        and vertices. (The published evaluator saves wrist-relative joints with unmoved vertices, so only
        aligned errors of its file are meaningful; aligned errors are the same here.) Where the set gives the
        wrists, joints and vertices are moved there together.

        Args:
            outputs: the `kept` arrays, `[N, ...]`.

        Returns:
            `xyz_m` `[N, 21, 3]` and `verts_m` `[N, 778, 3]` in OpenPose order and our frame, rounded as the
            prediction file is; `camera_wrist_m` `[N, 3]`, where the camera puts the wrists.
        """
        camera, centre, size = (
            torch.as_tensor(outputs[name], dtype=torch.float64)
            for name in ("pred_cam", "box_center", "box_size")
        )
        principal = torch.as_tensor(self.intrinsics[:, :2, 2])
        focal_px = torch.as_tensor((self.intrinsics[:, 0, 0] + self.intrinsics[:, 1, 1]) / 2)
        moved = crop_camera_to_full(camera, centre, size, 2 * principal, focal_px).numpy()[:, None]
        verts = outputs["pred_vertices"].astype(np.float64)
        xyz = outputs["pred_keypoints_3d"].astype(np.float64)
        wrists = xyz[:, 0] + moved[:, 0]
        if self.wrists_m is not None:
            moved = self.wrists_m[:, None] - xyz[:, :1]
        self._take_tips(xyz, verts)
        placed = {"xyz_m": xyz + moved, "verts_m": verts + moved, "camera_wrist_m": wrists}
        return {name: np.round(points, _DECIMALS) for name, points in placed.items()}

    def _take_tips(self, xyz: NDArray[np.float64], verts: NDArray[np.float64]) -> None:
        """Write fingertips into joints, if they are to be vertices."""
        if self.tips in TIP_VERTICES:
            xyz[:, TIP_ROWS] = verts[:, TIP_VERTICES[self.tips]]

    def score(self, placed: Placed) -> HandScores:
        """See `EvalSet`."""
        official = self.rules.official
        found = self.rules.score(
            *official(placed["xyz_m"], placed["verts_m"]), *official(self.xyz_m, self.verts_m)
        )
        return found if self.has_same_vertices else found.without_vertices()

    def write_predictions(self, placed: Placed, folder: Path) -> Path:
        """Write the official file: `[xyz_list, verts_list]`, metres, in the order and frame of the set."""
        path = folder / self.rules.file_name
        write_hand_file(path, *self.rules.official(placed["xyz_m"], placed["verts_m"]))
        return path

    def read_predictions(self, path: Path) -> Placed:
        """See `EvalSet`. A file with given wrists does not say where the camera put them."""
        xyz, verts = self.rules.common(*read_hand_file(path, len(self)))
        self._take_tips(xyz, verts)
        wrists = {"camera_wrist_m": xyz[:, 0]} if self.wrists_m is None else {}
        return {"xyz_m": xyz, "verts_m": verts, **wrists}


def _or_bundled(faces: NDArray[np.int64] | None) -> NDArray[np.int64]:
    return np.asarray(load_mano().faces).astype(np.int64) if faces is None else faces
