"""EHF's metrics for a whole-body mesh and its parts, in millimetres.

Alignments do not allow reflections; "PA" is fitted separately to the points that are measured. Source: the
evaluation of ExPose, Hand4Whole and SMPLer-X; written from the formulae.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.metrics.alignments import align_similarity
from shared_tmu.metrics.distances import MM_PER_M, point_distances

Rows = NDArray[np.float64]
PELVIS, NECK, LEFT_WRIST, RIGHT_WRIST = 0, 12, 20, 21


@dataclass(frozen=True)
class BodyParts:
    """Vertex indices and regressors for the parts of a mesh with V vertices.

    Args:
        joint_regressor: `[55, V]`.
        body14_regressor: `[14, V]`.
        left_hand21_regressor: `[21, V]`.
        right_hand21_regressor: `[21, V]`.
        left_hand_vertex_ids: `[778]`.
        right_hand_vertex_ids: `[778]`.
        face_vertex_ids: the whole head.
    """

    joint_regressor: Rows
    body14_regressor: Rows
    left_hand21_regressor: Rows
    right_hand21_regressor: Rows
    left_hand_vertex_ids: NDArray[np.int64]
    right_hand_vertex_ids: NDArray[np.int64]
    face_vertex_ids: NDArray[np.int64]

    def sha256(self) -> str:
        """A digest of all of them."""
        digest = hashlib.sha256()
        for part in fields(self):
            digest.update(np.ascontiguousarray(getattr(self, part.name)).tobytes())
        return digest.hexdigest()

    @property
    def num_vertices(self) -> int:
        """V."""
        return int(self.joint_regressor.shape[1])


def score_ehf(pred_verts: ArrayLike, gt_verts: ArrayLike, parts: BodyParts) -> dict[str, Rows]:
    """Per-sample errors for every EHF metric; the table holds their means.

    Args:
        pred_verts: `[N, V, 3]` metres, camera frame.
        gt_verts: `[N, V, 3]` metres, rotated into the camera frame (its position does not matter).
        parts: parts of this mesh.

    Returns:
        Arrays `[N]` in millimetres: `pa_mpvpe_*` and `mpvpe_*` of vertices (`all`, `l_hand`, `r_hand`,
        `hand`, `face`; without alignment the part's root coincides), `pa_mpjpe_*` of regressed joints
        (`body`, `l_hand`, `r_hand`, `hand`). `hand` is the mean of left and right.
    """
    predicted, true = np.asarray(pred_verts, dtype=np.float64), np.asarray(gt_verts, dtype=np.float64)
    offset = parts.joint_regressor @ true - parts.joint_regressor @ predicted  # [N, 55, 3]
    everything = np.arange(predicted.shape[1])
    regions = {
        "all": (everything, PELVIS),
        "l_hand": (parts.left_hand_vertex_ids, LEFT_WRIST),
        "r_hand": (parts.right_hand_vertex_ids, RIGHT_WRIST),
        "face": (parts.face_vertex_ids, NECK),
    }
    errors: dict[str, Rows] = {}
    for name, (ids, root) in regions.items():
        errors[f"pa_mpvpe_{name}"] = _aligned_mm(predicted[:, ids], true[:, ids])
        errors[f"mpvpe_{name}"] = _mean_mm(predicted[:, ids] + offset[:, root, None], true[:, ids])
    for name, regressor in (
        ("body", parts.body14_regressor),
        ("l_hand", parts.left_hand21_regressor),
        ("r_hand", parts.right_hand21_regressor),
    ):
        errors[f"pa_mpjpe_{name}"] = _aligned_mm(regressor @ predicted, regressor @ true)
    return errors | _hand_means(errors)


def _hand_means(errors: Mapping[str, Rows]) -> dict[str, Rows]:
    kinds = ("pa_mpvpe", "mpvpe", "pa_mpjpe")
    return {f"{kind}_hand": (errors[f"{kind}_l_hand"] + errors[f"{kind}_r_hand"]) / 2 for kind in kinds}


def _aligned_mm(prediction: Rows, truth: Rows) -> Rows:
    return _mean_mm(align_similarity(prediction, truth, reflection=False), truth)


def _mean_mm(prediction: Rows, truth: Rows) -> Rows:
    per_sample: Rows = point_distances(prediction, truth).mean(axis=1) * MM_PER_M
    return per_sample
