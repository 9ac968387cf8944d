"""The complete score table of the HO3D evaluation: FreiHAND's, and joints aligned by scale and translation
only.

Joints are in MANO order, where row 4 is the middle finger's knuckle. Source: Hampali et al. 2020,
"HOnnotate", and the dataset's evaluation script; written from the formulae.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.errors import InputError
from shared_tmu.metrics.alignments import align_similarity
from shared_tmu.metrics.hand_table import SCALE_TRANSLATION, FamilyScores, HandScores, checked_pair, f_by_mm

_LABELS = {
    "xyz": "xyz",
    "xyz_procrustes_aligned": "xyz_procrustes_al",
    SCALE_TRANSLATION: "xyz_scale_trans_al",
    "mesh": "mesh",
    "mesh_aligned": "mesh_al",
}
_WRIST, _KNUCKLE = 0, 4


def score_ho3d(
    pred_xyz: ArrayLike, pred_verts: ArrayLike, gt_xyz: ArrayLike, gt_verts: ArrayLike
) -> HandScores:
    """Score predictions like the HO3D evaluation.

    Args:
        pred_xyz: `[N, 21, 3]` joints in **MANO** order, metres, the OpenGL camera frame of the set.
        pred_verts: `[N, 778, 3]` vertices, the same frame.
        gt_xyz: `[N, 21, 3]`.
        gt_verts: `[N, 778, 3]`.

    Raises:
        InputError: as in `score_freihand`.
    """
    xyz, verts = checked_pair("joints", pred_xyz, gt_xyz), checked_pair("vertices", pred_verts, gt_verts)
    if len(xyz[0]) != len(verts[0]):
        raise InputError(f"cannot score {len(xyz[0])} samples of joints with {len(verts[0])} of vertices.")
    aligned_verts = align_similarity(*verts, reflection=True)
    families = {
        "xyz": FamilyScores.of(*xyz),
        "xyz_procrustes_aligned": FamilyScores.of(align_similarity(*xyz, reflection=True), xyz[1]),
        SCALE_TRANSLATION: FamilyScores.of(align_scale_translation(*xyz), xyz[1]),
        "mesh": FamilyScores.of(*verts),
        "mesh_aligned": FamilyScores.of(aligned_verts, verts[1]),
    }
    f = {"raw": f_by_mm(*verts), "aligned": f_by_mm(aligned_verts, verts[1])}
    return HandScores(families, _LABELS, "xyz_procrustes_aligned", f)


def align_scale_translation(
    prediction: NDArray[np.float64], truth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Joints `[N, 21, 3]` in MANO order, moved and scaled to the wrist and palm length of the truth, not
    rotated.

    The order of operations is that of the official script, so that distances that are zero there are zero
    here.
    """
    own = np.linalg.norm(prediction[:, _KNUCKLE] - prediction[:, _WRIST], axis=-1)[:, None, None]
    wanted = np.linalg.norm(truth[:, _KNUCKLE] - truth[:, _WRIST], axis=-1)[:, None, None]
    scaled = prediction / np.where(own > 0, own, 1.0) * wanted
    moved: NDArray[np.float64] = scaled - scaled[:, _WRIST, None] + truth[:, _WRIST, None]
    return moved
