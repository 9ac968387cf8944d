"""A set of single people with true SMPL-X meshes, read from pictures and boxes and scored like EHF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.datasets.base import Column, Outputs, Placed, SetOptions
from shared_tmu.datasets.body_scores import BodyScores
from shared_tmu.datasets.found import find_subject
from shared_tmu.datasets.keypoint_files import read_npz
from shared_tmu.datasets.ply_meshes import project, read_ply_vertices
from shared_tmu.errors import InputError
from shared_tmu.files import replacing
from shared_tmu.masks import SKELETONS, MaskScene, MaskSource, Outline
from shared_tmu.metrics import BodyParts, orientation_error_deg, picture_errors, score_ehf
from shared_tmu.metrics.hand_table import expect_finite
from shared_tmu.pictures.body_crops import BBOX_RATIO, NETWORK_SIZE, body_crop
from shared_tmu.pictures.images import read_image

_AT_ONCE = 32  # samples scored together, since a whole set of meshes in float64 may not fit in memory
NEAREST_M = 1e-3  # what is nearer to the camera, or behind it, is shown as if it were here
FOCAL_PX = (5000.0, 5000.0)
"""As published."""
_PARAMETERS = (
    "smplx_root_pose", "smplx_body_pose", "smplx_lhand_pose", "smplx_rhand_pose", "smplx_jaw_pose",
    "smplx_shape", "smplx_expr", "cam_trans",
)  # fmt: skip


@dataclass(frozen=True)
class BodyMeshSet:
    """An evaluation set of people, one per sample.

    Args:
        name: canonical name.
        images: one picture per sample.
        boxes_xyxy: the person's box, `[N, 4]` pixels.
        meshes: `.ply` files with the true vertices, in the frame of the set.
        rotation: rotation from that frame to the camera's, `[3, 3]`; the position of meshes does not affect
            any metric.
        parts: hands, face and joints of these meshes.
        faces: their triangles, `[F, 3]`.
        fingerprint: digest of the name and all annotations.
        how: where boxes and parts come from, in plain values.
        official_count: number of samples of the complete set; None if there is no such number.
        network_size: height and width of the model's input, pixels.
        bbox_ratio: boxes grow by this factor.
        projections: matrices from the set's frame to pixels of the pictures, `[N, 3, 4]`; None if unknown.
        focal_px: focal length (x, y) of the model's camera for a picture of `network_size`; its middle
            is the principal point.
    """

    name: str
    images: tuple[Path, ...]
    boxes_xyxy: NDArray[np.float64]
    meshes: tuple[Path, ...]
    rotation: NDArray[np.float64]
    parts: BodyParts
    faces: NDArray[np.int64]
    fingerprint: str
    how: dict[str, Any]
    official_count: int | None = None
    network_size: tuple[int, int] = NETWORK_SIZE
    bbox_ratio: float = BBOX_RATIO
    projections: NDArray[np.float64] | None = None
    focal_px: tuple[float, float] = FOCAL_PX

    is_upright: ClassVar[bool] = True
    kept: ClassVar[tuple[str, ...]] = ("smplx_mesh_cam", "to_picture", *_PARAMETERS)
    columns: ClassVar[tuple[Column, ...]] = (
        ("PA-MPVPE mm", "pa_mpvpe_mm", ".2f"),
        ("PA hands", "pa_mpvpe_hand_mm", ".2f"),
        ("PA face", "pa_mpvpe_face_mm", ".2f"),
        ("MPVPE mm", "mpvpe_mm", ".2f"),
        ("hands", "mpvpe_hand_mm", ".2f"),
        ("face", "mpvpe_face_mm", ".2f"),
        ("PA-MPJPE mm", "pa_mpjpe_mm", ".2f"),
    )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """The numbers of the pictures."""
        return tuple(path.name.partition("_")[0] for path in self.images)

    @property
    def groups(self) -> tuple[str, ...]:
        """See `EvalSet`: there is one person in each picture."""
        return self.sample_ids

    @property
    def facts(self) -> dict[str, Any]:
        """See `EvalSet`."""
        return {**self.how, "bbox_ratio": self.bbox_ratio}

    def opened_with(self, options: SetOptions) -> BodyMeshSet:
        """The same set, read with a model's settings."""
        encoder = getattr(options.config, "encoder", None)
        height, width = getattr(encoder, "img_size", self.network_size)
        ratio = float(getattr(options.config, "bbox_ratio", self.bbox_ratio))
        focal = getattr(options.config, "focal_px", self.focal_px)
        size = (int(height), int(width))
        return replace(self, network_size=size, bbox_ratio=ratio, focal_px=(float(focal[0]), float(focal[1])))

    def head(self, count: int) -> BodyMeshSet:
        """The first `count` samples, or all if there are fewer."""
        return self.part(slice(count))

    def part(self, rows: slice) -> BodyMeshSet:
        """Some of the samples."""
        return replace(
            self,
            images=self.images[rows],
            boxes_xyxy=self.boxes_xyxy[rows],
            meshes=self.meshes[rows],
            projections=None if self.projections is None else self.projections[rows],
        )

    def load(self, index: int, shift_px: tuple[float, float] = (0.0, 0.0)) -> dict[str, Tensor]:
        """One model input: the person's crop.

        Returns:
            `img` `[3, h, w]`, RGB in 0..1; `to_picture` `[2, 3]`.

        Raises:
            InputError: the picture cannot be read, or the box is not in it.
        """
        image = read_image(self.images[index]).bgr
        box = self.boxes_xyxy[index] + np.tile(shift_px, 2)
        crop = body_crop(image, box, self.bbox_ratio, self.network_size)
        return {"img": torch.as_tensor(crop.img), "to_picture": torch.from_numpy(crop.to_picture)}

    def scene(self, index: int, crop: Mapping[str, Tensor], *, with_detector: bool) -> MaskScene:
        """See `EvalSet`."""
        x1, y1, x2, y2 = (float(value) for value in self.boxes_xyxy[index])
        found = find_subject(self.images[index], (x1, y1, x2, y2), "body") if with_detector else None
        outline = None
        if self.projections is not None:
            shown = project(read_ply_vertices(self.meshes[index]), self.projections[index])
            outline = Outline(shown, self.faces)
        return MaskScene(
            size=(crop["img"].shape[-2], crop["img"].shape[-1]),
            to_picture=crop["to_picture"].numpy(),
            skeleton=SKELETONS["body"],
            box_xyxy=(x1, y1, x2, y2),
            landmarks_px=None if found is None else found.landmarks_px,
            silhouette=None if found is None else found.silhouette,
            true_outline=outline,
        )

    def lacking(self, source: MaskSource) -> str | None:
        """See `EvalSet`."""
        has_truth = source.name == "truth" and self.projections is not None
        return f"{self.name} does not have it: {source.lacks}" if source.of_truth and not has_truth else None

    def place(self, outputs: Outputs) -> Placed:
        """`vertices_m` `[N, V, 3]` in the frame of the crop's camera, SMPL-X's parameters, and `to_picture`
        `[N, 2, 3]`, from pixels of the crop to those of the picture."""
        beside = {name: np.asarray(outputs[name]) for name in ("to_picture", *_PARAMETERS)}
        return {"vertices_m": np.asarray(outputs["smplx_mesh_cam"]), **beside}

    def posture(self, placed: Placed) -> dict[str, NDArray[np.float64]]:
        """See `EvalSet`; of the whole mesh, as the model's and the picture's camera see it."""
        predicted = placed["vertices_m"]
        parts = [
            orientation_error_deg(predicted[rows], self.true_vertices(rows))
            for rows in self._slices(len(predicted))
        ]
        turned = {"orientation_error_deg": np.concatenate(parts)}
        if self.projections is None or "to_picture" not in placed:
            return turned
        seen = [
            picture_errors(self.shown_px(placed, i)[None], self.true_px(i)[None])  # type: ignore[index]
            for i in range(len(self))
        ]
        return turned | {name: np.concatenate([rows[name] for rows in seen]) for name in seen[0]}

    def score(self, placed: Placed) -> BodyScores:
        """EHF's measures.

        Raises:
            InputError: predictions have another shape or are not finite; the message names the samples.
        """
        predicted = placed["vertices_m"]
        expect_finite("predicted vertices", predicted)
        parts = [
            score_ehf(predicted[rows], self.true_vertices(rows), self.parts)
            for rows in self._slices(len(predicted))
        ]
        return BodyScores({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

    def true_vertices(self, rows: slice) -> NDArray[np.float64]:
        """True meshes of some samples, rotated into the camera's frame, `[n, 10475, 3]` metres."""
        stored = np.stack([read_ply_vertices(path, self.parts.num_vertices) for path in self.meshes[rows]])
        turned: NDArray[np.float64] = stored @ self.rotation.T
        return turned

    def shown_px(self, placed: Placed, index: int) -> NDArray[np.float64] | None:
        """See `EvalSet`: the vertices."""
        if "to_picture" not in placed:
            return None
        points = np.asarray(placed["vertices_m"][index], np.float64)
        middle = np.array(self.network_size[::-1]) / 2
        in_crop = points[:, :2] / np.maximum(points[:, 2:], NEAREST_M) * self.focal_px + middle
        turn = np.asarray(placed["to_picture"][index], np.float64)
        pixels: NDArray[np.float64] = in_crop @ turn[:, :2].T + turn[:, 2]
        return pixels

    def true_px(self, index: int) -> NDArray[np.float64] | None:
        """See `EvalSet`: the vertices."""
        if self.projections is None:
            return None
        mesh = read_ply_vertices(self.meshes[index], self.parts.num_vertices)
        return project(mesh, self.projections[index])

    def write_predictions(self, placed: Placed, folder: Path) -> Path:
        """Write `pred.npz`: vertices and SMPL-X's parameters, in picture order."""
        path = folder / "pred.npz"
        with replacing(path) as beside:
            np.savez_compressed(beside, **placed)
        return path

    def read_predictions(self, path: Path) -> Placed:
        """See `EvalSet`; vertices are enough."""
        found = read_npz(path, ("vertices_m",), ("to_picture",))
        shape, wanted = found["vertices_m"].shape, (len(self), self.parts.num_vertices, 3)
        if shape != wanted:
            raise InputError(f"{path}: vertices_m has shape {shape}; this set needs {wanted}.")
        return found

    @staticmethod
    def _slices(count: int) -> Iterator[slice]:
        return (slice(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE))
