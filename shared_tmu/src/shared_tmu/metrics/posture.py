"""Errors that alignment hides: rotation, distance from the wrist, and size and place in the picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.metrics.alignments import fit_similarity
from shared_tmu.metrics.distances import MM_PER_M, point_distances

Rows = NDArray[np.float64]
WRIST = 0
_TOGETHER_M = 0.04
OF_CLOUDS = (
    "translation_error_mm",
    "scale_bias_pct",
    "scale_error_pct",
    "place_error_pct",
    "box_overlap_pct",
)
"""Those of `hand_posture` that do not compare vertex with vertex."""
Project = Callable[[Rows, int], Rows]
"""Points `[P, 3]` of a sample's camera frame to pixels `[P, 2]` of its picture."""


def hand_posture(
    placed: Mapping[str, NDArray[np.floating[Any]]], true_xyz: Rows, true_verts: Rows, project: Project
) -> dict[str, Rows]:
    """All of these errors of predicted hands, `[N]` each.

    Args:
        placed: `xyz_m` `[N, 21, 3]` (wrist first) and `verts_m` `[N, 778, 3]`, and `camera_wrist_m` `[N, 3]`,
            where the model's camera puts the wrist, if that is known.
        true_xyz: `[N, 21, 3]` metres, camera frame.
        true_verts: `[N, 778, 3]`.
        project: the pictures' own cameras.

    Returns:
        `wrist_mpvpe_mm`, vertices with the wrists together; `orientation_error_deg`; with a known camera
        also `translation_error_mm`, of the wrist, and `picture_errors`.
    """
    xyz, verts = (np.asarray(placed[name], np.float64) for name in ("xyz_m", "verts_m"))
    relative, true = verts - xyz[:, WRIST, None], true_verts - true_xyz[:, WRIST, None]
    errors = {
        "wrist_mpvpe_mm": point_distances(relative, true).mean(axis=1) * MM_PER_M,
        "orientation_error_deg": orientation_error_deg(verts, true_verts),
    }
    if "camera_wrist_m" not in placed:
        return errors
    wrists = np.asarray(placed["camera_wrist_m"], np.float64)
    shown, seen = (
        np.stack([project(points, index) for index, points in enumerate(rows)])
        for rows in (relative + wrists[:, None], true_verts)
    )
    away = np.linalg.norm(wrists - true_xyz[:, WRIST], axis=-1) * MM_PER_M
    return {**errors, "translation_error_mm": away, **picture_errors(shown, seen)}


def are_together(placed: Mapping[str, NDArray[np.floating[Any]]], true_xyz: Rows, true_verts: Rows) -> bool:
    """Whether predicted joints are about as far from their vertices as true ones; see `hand_posture`."""
    pairs = ((placed["xyz_m"], placed["verts_m"]), (true_xyz, true_verts))
    found, true = (
        np.linalg.norm(np.mean(xyz, axis=1) - np.mean(verts, axis=1), axis=-1) for xyz, verts in pairs
    )
    return bool(np.median(np.abs(found - true)) < _TOGETHER_M)


def orientation_error_deg(prediction: ArrayLike, truth: ArrayLike) -> Rows:
    """Angle of the rotation that best aligns each prediction with the ground truth, `[N]` degrees, 0 to 180.

    Args:
        prediction: `[N, P, 3]`.
        truth: `[N, P, 3]`.
    """
    turn = fit_similarity(prediction, truth, reflection=False).matrix
    scale = np.cbrt(np.linalg.det(turn))
    cosine = (np.trace(turn, axis1=-2, axis2=-1) / scale - 1) / 2
    angles: Rows = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    return angles


def picture_errors(prediction_px: ArrayLike, truth_px: ArrayLike) -> dict[str, Rows]:
    """How much larger predictions are in the picture than the ground truth, and how far away: what is wrong
    with the camera.

    The size of points is their root mean square distance to their mean.

    Args:
        prediction_px: projected points, `[N, P, 2]`.
        truth_px: projected ground truth, `[N, P, 2]`.

    Returns:
        `scale_bias_pct`: how much larger, in per cent, negative if smaller, `[N]`; its mean shows a
        systematic error. `scale_error_pct`: its absolute value. `place_error_pct`: distance of the means, in
        per cent of the true size. `box_overlap_pct`: intersection over union of the boxes around the points,
        in per cent.
    """
    predicted, true = np.asarray(prediction_px, np.float64), np.asarray(truth_px, np.float64)
    size = _spread(true)
    bias: Rows = 100.0 * (_spread(predicted) / size - 1.0)
    away: Rows = 100.0 * np.linalg.norm((predicted - true).mean(axis=-2), axis=-1) / size
    return {
        "scale_bias_pct": bias,
        "scale_error_pct": np.abs(bias),
        "place_error_pct": away,
        "box_overlap_pct": 100.0 * _box_overlap(predicted, true),
    }


def _box_overlap(points: Rows, others: Rows) -> Rows:
    """Intersection over union of the smallest boxes around the points of each row, `[N]`."""
    low, high = points.min(axis=-2), points.max(axis=-2)
    other_low, other_high = others.min(axis=-2), others.max(axis=-2)
    sides = np.minimum(high, other_high) - np.maximum(low, other_low)
    common = np.clip(sides, 0.0, None).prod(axis=-1)
    share: Rows = common / ((high - low).prod(axis=-1) + (other_high - other_low).prod(axis=-1) - common)
    return share


def _spread(points: Rows) -> Rows:
    moved = points - points.mean(axis=-2, keepdims=True)
    size: Rows = np.sqrt((moved**2).sum(axis=-1).mean(axis=-1))
    return size
