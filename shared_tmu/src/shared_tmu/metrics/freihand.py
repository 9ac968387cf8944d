"""The complete score table of the FreiHAND evaluation.

Joints and vertices are aligned separately, each with its own similarity, and reflections are allowed.
Source: Zimmermann et al. 2019, "FreiHAND", and the dataset's evaluation script; written from the formulae.
"""

from __future__ import annotations

from numpy.typing import ArrayLike

from shared_tmu.errors import InputError
from shared_tmu.metrics.alignments import align_similarity
from shared_tmu.metrics.hand_table import FamilyScores, HandScores, checked_pair, f_by_mm

_LABELS = {"xyz": "xyz", "xyz_aligned": "xyz_al", "mesh": "mesh", "mesh_aligned": "mesh_al"}


def score_freihand(
    pred_xyz: ArrayLike, pred_verts: ArrayLike, gt_xyz: ArrayLike, gt_verts: ArrayLike
) -> HandScores:
    """Score predictions like the FreiHAND evaluation.

    Args:
        pred_xyz: `[N, 21, 3]` joints in OpenPose order, metres, camera frame.
        pred_verts: `[N, 778, 3]` vertices, metres, the same frame.
        gt_xyz: `[N, 21, 3]`.
        gt_verts: `[N, 778, 3]`.

    Raises:
        InputError: shapes do not match, there is no sample, or a number is not finite (the message names the
            sample): such a prediction must not be averaged.
    """
    xyz, verts = checked_pair("joints", pred_xyz, gt_xyz), checked_pair("vertices", pred_verts, gt_verts)
    if len(xyz[0]) != len(verts[0]):
        raise InputError(f"cannot score {len(xyz[0])} samples of joints with {len(verts[0])} of vertices.")
    aligned_verts = align_similarity(*verts, reflection=True)
    families = {
        "xyz": FamilyScores.of(*xyz),
        "xyz_aligned": FamilyScores.of(align_similarity(*xyz, reflection=True), xyz[1]),
        "mesh": FamilyScores.of(*verts),
        "mesh_aligned": FamilyScores.of(aligned_verts, verts[1]),
    }
    f = {"raw": f_by_mm(*verts), "aligned": f_by_mm(aligned_verts, verts[1])}
    return HandScores(families, _LABELS, "xyz_aligned", f)
