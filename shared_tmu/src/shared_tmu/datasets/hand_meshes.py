"""A set of single hands with true joints and meshes, read from pictures and scored as FreiHAND is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.body_models import load_mano
from shared_tmu.datasets.base import Column, Outputs, SetOptions
from shared_tmu.datasets.found import find_subject
from shared_tmu.detect.landmarks import box_of
from shared_tmu.files import replacing
from shared_tmu.masks import SKELETONS, MaskScene, MaskSource, Outline
from shared_tmu.metrics import HandScores, orientation_error_deg, scale_errors, score_freihand
from shared_tmu.pictures.geometry import crop_camera_to_full
from shared_tmu.pictures.hand_crops import HandCrop, hand_crop
from shared_tmu.pictures.images import read_image

TIP_ROWS = (4, 8, 12, 16, 20)  # of the OpenPose order: thumb, index, middle, ring, pinky
FREIHAND_TIP_VERTICES = (744, 320, 443, 555, 672)
TIPS = ("model", "freihand")
NEAREST_M = 1e-3
"""What is nearer to the camera, or behind it, is shown as if it were here."""
_DECIMALS = 9  # of metres, in the prediction file


@dataclass(frozen=True)
class HandMeshSet:
    """An evaluation set of right hands that fill their pictures.

    Args:
        name: canonical name.
        images: one picture per sample.
        intrinsics: `[N, 3, 3]` pixels.
        xyz_m: true joints `[N, 21, 3]`, metres, camera frame (x right, y down, z forward), OpenPose order.
        verts_m: true vertices `[N, 778, 3]`, the same frame.
        fingerprint: of the name and all annotations; see `picture_signature` for the pictures.
        official_count: samples of the complete set; None if there is no such number.
        tips: whose fingertips enter the predicted joints: the `model`'s own, as in published tables, or
            those that `freihand` takes from the vertices.
        image_size: side of the model's input, pixels.
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

    #: what must be kept of each batch and each model output to score and export predictions
    kept: ClassVar[tuple[str, ...]] = (
        "pred_vertices",
        "pred_keypoints_3d",
        "pred_cam",
        "box_center",
        "box_size",
    )
    columns: ClassVar[tuple[Column, ...]] = (
        ("PA-MPVPE mm", "pa_mpvpe_mm", ".3f"),
        ("PA-MPJPE mm", "pa_mpjpe_mm", ".3f"),
        ("F@5", "f5", ".3f"),
        ("F@15", "f15", ".3f"),
        ("AUC", "pa_mpvpe_auc", ".3f"),
    )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def is_complete(self) -> bool:
        """Whether all samples of the official set are here."""
        return self.official_count is None or len(self) == self.official_count

    def head(self, count: int) -> HandMeshSet:
        """The first `count` samples, or all if there are fewer."""
        return replace(
            self,
            images=self.images[:count],
            intrinsics=self.intrinsics[:count],
            xyz_m=self.xyz_m[:count],
            verts_m=self.verts_m[:count],
        )

    @property
    def facts(self) -> dict[str, Any]:
        """See `EvalSet`."""
        return {"tips": self.tips}

    def opened_with(self, options: SetOptions) -> HandMeshSet:
        """The same set, read as a command line and a model ask."""
        size = int(getattr(options.config, "image_size", self.image_size))
        return replace(self, tips=options.tips, image_size=size)

    def load(self, index: int, shift_px: tuple[float, float] = (0.0, 0.0)) -> dict[str, Tensor]:
        """One model input: the whole picture grown to 192:256, as published evaluations crop this set.

        Returns:
            `img` `[3, S, S]` normalised RGB; `box_center` `[2]` and `box_size` `[]` in picture pixels;
            `right` `[]`; `to_picture` `[2, 3]`.

        Raises:
            InputError: the picture cannot be read, or not to its end.
        """
        image = read_image(self.images[index]).bgr
        height, width = image.shape[:2]
        whole = np.array([0, 0, width, height], dtype=np.float64) + np.tile(shift_px, 2)
        crop = hand_crop(
            image, whole, right=True, rescale_factor=-1, image_size=self.image_size, antialias=False
        )
        return hand_input(crop)

    def scene(self, index: int, crop: Mapping[str, Tensor], *, with_detector: bool) -> MaskScene:
        """See `EvalSet`. The box is that of the true mesh; true points are projected."""
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
            true_outline=Outline(outline, _faces()),
        )

    def lacking(self, source: MaskSource) -> str | None:
        """See `EvalSet`: this set has everything."""
        return None

    def posture(self, outputs: Outputs) -> dict[str, NDArray[np.float64]]:
        """See `EvalSet`; scale by the vertices in the picture, with the true intrinsics."""
        _, verts = self.place(outputs)
        rows = range(len(verts))
        shown, true = (
            np.stack([self._project(points[i], i) for i in rows]) for points in (verts, self.verts_m)
        )
        turned = {"orientation_error_deg": orientation_error_deg(verts, self.verts_m)}
        return turned | scale_errors(shown, true)

    def _project(self, points_m: NDArray[np.float64], index: int) -> NDArray[np.float64]:
        """Points `[P, 3]` of the camera frame in pixels of a sample's picture, `[P, 2]`."""
        rays = points_m @ self.intrinsics[index].T
        pixels: NDArray[np.float64] = rays[:, :2] / np.maximum(rays[:, 2:], NEAREST_M)
        return pixels

    def place(self, outputs: Outputs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predicted joints and vertices in the camera frame, as they go into the prediction file.

        The model's crop camera becomes one translation per sample with the true intrinsics, and the same
        translation moves joints and vertices. (The published evaluator saves wrist-relative joints beside
        unmoved vertices, so that only aligned numbers of its file mean anything; aligned numbers are the
        same.)

        Args:
            outputs: the `kept` arrays, `[N, ...]`.

        Returns:
            Joints `[N, 21, 3]` and vertices `[N, 778, 3]`, metres.
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
        if self.tips == "freihand":
            xyz[:, TIP_ROWS] = verts[:, FREIHAND_TIP_VERTICES]
        return np.round(xyz + moved, _DECIMALS), np.round(verts + moved, _DECIMALS)

    def score(self, outputs: Outputs) -> HandScores:
        """The official table of these predictions; `outputs` are the `kept` arrays of all samples."""
        xyz, verts = self.place(outputs)
        return score_freihand(xyz, verts, self.xyz_m, self.verts_m)

    def write_predictions(self, outputs: Outputs, folder: Path) -> None:
        """Write the official `pred.json`: `[xyz_list, verts_list]`, metres, in picture order."""
        with replacing(folder / "pred.json") as beside, beside.open("w", encoding="ascii") as file:
            file.write("[")
            for i, points in enumerate(self.place(outputs)):
                file.write(", [" if i else "[")
                for n, sample in enumerate(points):
                    file.write((",\n" if n else "\n") + json.dumps(sample.tolist(), allow_nan=False))
                file.write("]")
            file.write("]\n")


def hand_input(crop: HandCrop) -> dict[str, Tensor]:
    """A crop as hand models are given it, and what is needed to go back to its picture."""
    return {
        "img": torch.as_tensor(crop.img),
        "box_center": torch.as_tensor(crop.box_center, dtype=torch.float32),
        "box_size": torch.tensor(float(crop.box_size)),
        "right": torch.tensor(float(crop.right)),
        "to_picture": torch.from_numpy(crop.to_picture(crop.img.shape[-1])),
    }


@cache
def _faces() -> NDArray[np.int64]:
    """Triangles of any mesh in MANO's layout, `[F, 3]`."""
    return np.asarray(load_mano().faces).astype(np.int64)
