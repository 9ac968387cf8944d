"""A set of single people with true SMPL-X meshes, read from pictures and boxes and scored as EHF is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.body_models import load_smplx
from shared_tmu.body_models.smplx_model import NUM_VERTICES
from shared_tmu.datasets.base import Column, Outputs, SetOptions
from shared_tmu.datasets.found import find_subject
from shared_tmu.errors import InputError, MissingDependencyError
from shared_tmu.files import replacing
from shared_tmu.masks import SKELETONS, MaskScene, MaskSource, Outline
from shared_tmu.metrics import BodyParts, orientation_error_deg, score_ehf
from shared_tmu.metrics.hand_table import expect_finite
from shared_tmu.pictures.body_crops import BBOX_RATIO, NETWORK_SIZE, body_crop
from shared_tmu.pictures.images import read_image

_AT_ONCE = 32  # samples scored together: a whole set of meshes in float64 need not fit in memory
_PARAMETERS = (
    "smplx_root_pose", "smplx_body_pose", "smplx_lhand_pose", "smplx_rhand_pose", "smplx_jaw_pose",
    "smplx_shape", "smplx_expr", "cam_trans",
)  # fmt: skip


_HEADLINE = {"pa_mpvpe_all": "pa_mpvpe", "pa_mpjpe_body": "pa_mpjpe", "mpvpe_all": "mpvpe"}
LARGEST_M = 1000.0


@dataclass(frozen=True)
class BodyScores:
    """Every EHF measure of every sample.

    Args:
        errors_mm: arrays `[N]` by measure, in millimetres; see `score_ehf`.
    """

    errors_mm: dict[str, NDArray[np.float64]]

    @property
    def headline(self) -> dict[str, float]:
        """Means in millimetres; `pa_mpvpe_mm` is of the whole body, `pa_mpjpe_mm` of its 14 joints."""
        means = {name: float(values.mean()) for name, values in self.per_sample.items()}
        return {**{f"{name}_mm": means[f"{name}_mm"] for name in _HEADLINE.values()}, **means}

    @property
    def per_sample(self) -> dict[str, NDArray[np.float64]]:
        """Arrays `[N]` in millimetres, named as in `headline`."""
        return {f"{_HEADLINE.get(name, name)}_mm": values for name, values in self.errors_mm.items()}

    def official(self) -> dict[str, float]:
        """Mean of each measure over samples, in millimetres."""
        return {name: float(values.mean()) for name, values in self.errors_mm.items()}

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types."""
        return {
            name: {"mean_mm": mean, "per_sample_mm": self.errors_mm[name].tolist()}
            for name, mean in self.official().items()
        }

    def scores_txt(self) -> str:
        """One `name: value` per line, millimetres. (EHF has no score file of its own.)"""
        return "".join(f"{name}: {value:f}\n" for name, value in self.official().items())


@dataclass(frozen=True)
class BodyMeshSet:
    """An evaluation set of people, one per sample.

    Args:
        name: canonical name.
        images: one picture per sample.
        boxes_xyxy: the person's box, `[N, 4]` pixels.
        meshes: `.ply` files with the true vertices, in the frame of the set.
        rotation: from that frame to the camera's, `[3, 3]`; the position of meshes does not affect any
            metric.
        parts: hands, face and joints of these meshes.
        fingerprint: of the name and all annotations.
        how: where boxes and parts come from, in plain values.
        official_count: samples of the complete set; None if there is no such number.
        network_size: height and width of the model's input, pixels.
        bbox_ratio: boxes grow by this factor.
        projections: from meshes in the frame of the set to pixels of their pictures, `[N, 3, 4]`; None where
            they are not known.
    """

    name: str
    images: tuple[Path, ...]
    boxes_xyxy: NDArray[np.float64]
    meshes: tuple[Path, ...]
    rotation: NDArray[np.float64]
    parts: BodyParts
    fingerprint: str
    how: dict[str, Any]
    official_count: int | None = None
    network_size: tuple[int, int] = NETWORK_SIZE
    bbox_ratio: float = BBOX_RATIO
    projections: NDArray[np.float64] | None = None

    kept: ClassVar[tuple[str, ...]] = ("smplx_mesh_cam", *_PARAMETERS)
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
    def facts(self) -> dict[str, Any]:
        """See `EvalSet`."""
        return {**self.how, "bbox_ratio": self.bbox_ratio}

    def opened_with(self, options: SetOptions) -> BodyMeshSet:
        """The same set, read with a model's settings."""
        encoder = getattr(options.config, "encoder", None)
        height, width = getattr(encoder, "img_size", self.network_size)
        ratio = float(getattr(options.config, "bbox_ratio", self.bbox_ratio))
        return replace(self, network_size=(int(height), int(width)), bbox_ratio=ratio)

    def head(self, count: int) -> BodyMeshSet:
        """The first `count` samples, or all if there are fewer."""
        return replace(
            self,
            images=self.images[:count],
            boxes_xyxy=self.boxes_xyxy[:count],
            meshes=self.meshes[:count],
            projections=None if self.projections is None else self.projections[:count],
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
            outline = Outline(shown, _faces())
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
        return (
            f"of {self.name} it is not known: {source.lacks}" if source.of_truth and not has_truth else None
        )

    def posture(self, outputs: Outputs) -> dict[str, NDArray[np.float64]]:
        """See `EvalSet`; of the whole mesh. A camera's scale is not known of body models."""
        predicted = outputs["smplx_mesh_cam"]
        parts = [
            orientation_error_deg(predicted[rows], self.true_vertices(rows))
            for rows in self._slices(len(predicted))
        ]
        return {"orientation_error_deg": np.concatenate(parts)}

    def score(self, outputs: Outputs) -> BodyScores:
        """EHF's measures; `outputs` are the `kept` arrays of all samples.

        Raises:
            InputError: predictions of another shape or that are not finite; the samples are named.
        """
        predicted = outputs["smplx_mesh_cam"]
        expect_finite("predicted vertices", predicted)
        parts = [
            score_ehf(predicted[rows], self.true_vertices(rows), self.parts)
            for rows in self._slices(len(predicted))
        ]
        return BodyScores({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

    def true_vertices(self, rows: slice) -> NDArray[np.float64]:
        """True meshes of some samples, turned into the camera's frame, `[n, 10475, 3]` metres."""
        stored = np.stack([read_ply_vertices(path) for path in self.meshes[rows]])
        turned: NDArray[np.float64] = stored @ self.rotation.T
        return turned

    def write_predictions(self, outputs: Outputs, folder: Path) -> None:
        """Write `pred.npz`: SMPL-X's parameters, in picture order, from which SMPL-X can compute the meshes
        again."""
        with replacing(folder / "pred.npz") as beside:
            np.savez_compressed(beside, **{name: outputs[name] for name in _PARAMETERS})

    @staticmethod
    def _slices(count: int) -> Iterator[slice]:
        return (slice(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE))


def project(points_m: NDArray[np.float64], projection: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points `[P, 3]` in pixels `[P, 2]`, by a matrix `[3, 4]`."""
    rays = points_m @ projection[:, :3].T + projection[:, 3]
    pixels: NDArray[np.float64] = rays[:, :2] / rays[:, 2:]
    return pixels


@cache
def _faces() -> NDArray[np.int64]:
    """Triangles of any mesh in SMPL-X's layout, `[F, 3]`."""
    return np.asarray(load_smplx().faces).astype(np.int64)


def read_ply_vertices(path: Path) -> NDArray[np.float64]:
    """Vertices of an SMPL-X mesh in its own order, `[10475, 3]`.

    Raises:
        InputError: the file is damaged, or another mesh.
    """
    try:
        import trimesh
    except ImportError as error:
        raise MissingDependencyError(
            "reading .ply meshes needs trimesh: pip install 'shared_tmu[eval]'."
        ) from error
    try:
        with path.open("rb") as file:
            content = trimesh.exchange.ply.load_ply(file)
        vertices = np.asarray(content["vertices"], dtype=np.float64)
    except (
        ValueError,
        KeyError,
        OSError,
        IndexError,
        AttributeError,
        TypeError,
        ArithmeticError,
        MemoryError,
    ) as error:
        raise InputError(f"{path} cannot be read as a .ply mesh: {error}.") from error
    if vertices.shape != (NUM_VERTICES, 3) or not (np.abs(vertices) <= LARGEST_M).all():
        raise InputError(
            f"{path} holds {len(vertices)} vertices; an SMPL-X mesh has {NUM_VERTICES}, all less than "
            f"{LARGEST_M:g} m away."
        )
    return vertices
