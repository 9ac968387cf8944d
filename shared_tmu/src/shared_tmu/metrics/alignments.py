"""Ways of aligning a prediction with the ground truth before measuring, batched over samples.

Convention: points are rows, so a rotation acts from the right:
`aligned = scale * (points - source_mean) @ rotation + target_mean`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.errors import InputError

Points = NDArray[np.float64]
_SHIFT = 1e-8  # the evaluations of FreiHAND and HO3D add this to both norms


@dataclass(frozen=True)
class Similarity:
    """A scale, an orthogonal map and a translation per sample.

    Args:
        source_mean: `[..., 1, 3]`, subtracted first (metres).
        matrix: `[..., 3, 3]`, scale times the orthogonal map, applied from the right.
        target_mean: `[..., 1, 3]`, added last (metres).
    """

    source_mean: Points
    matrix: Points
    target_mean: Points

    def apply(self, points: ArrayLike) -> Points:
        """Apply the map to `points` `[..., P, 3]`; any number of points, not only those used for the fit."""
        centred = np.asarray(points, dtype=np.float64) - self.source_mean
        moved: Points = centred @ self.matrix + self.target_mean
        return moved


def fit_similarity(prediction: ArrayLike, truth: ArrayLike, *, reflection: bool) -> Similarity:
    """Least-squares similarity transform from `prediction` to `truth`, with corresponding points.

    With `reflection=True` this is the map of the FreiHAND and HO3D evaluations: the orthogonal part may
    mirror, so a mirrored hand scores like a correct one, and a prediction whose points all coincide is mapped
    to the mean of the truth. With `reflection=False` it is the map of HaMeR's own evaluation and of EHF's.

    Args:
        prediction: `[..., P, 3]`.
        truth: `[..., P, 3]`, the same shape.
        reflection: whether a mirror image is allowed.

    Raises:
        InputError: the shapes differ or are not `[..., P, 3]`, or, without reflection, all points of a
            prediction coincide, so that no scale exists.

    Source: Schoenemann 1966, "A generalized solution of the orthogonal Procrustes problem"; for the rotation
    constraint Umeyama 1991.
    """
    source, target = _pair(prediction, truth)
    source_mean = source.mean(axis=-2, keepdims=True)
    target_mean = target.mean(axis=-2, keepdims=True)
    source, target = source - source_mean, target - target_mean
    source_norm = np.linalg.norm(source, axis=(-2, -1))[..., None, None]
    target_norm = np.linalg.norm(target, axis=(-2, -1))[..., None, None]
    if reflection:
        source_norm, target_norm = source_norm + _SHIFT, target_norm + _SHIFT
    elif not np.all(source_norm > 0):
        raise InputError("cannot align a prediction whose points all coincide: no rotation or scale fits it.")
    target_scaled = target / np.where(target_norm > 0, target_norm, 1.0)
    u, singular, vt = np.linalg.svd(np.swapaxes(source / source_norm, -2, -1) @ target_scaled)
    if not reflection:
        flip = np.sign(np.linalg.det(u @ vt))
        vt[..., 2, :] *= flip[..., None]
        singular[..., 2] *= flip
    scale = singular.sum(axis=-1)[..., None, None] * target_norm / source_norm
    return Similarity(source_mean, scale * (u @ vt), target_mean)


def align_similarity(prediction: ArrayLike, truth: ArrayLike, *, reflection: bool) -> Points:
    """`prediction` `[..., P, 3]` aligned with `truth` by `fit_similarity`: the "PA" (Procrustes alignment) in
    PA-MPJPE."""
    return fit_similarity(prediction, truth, reflection=reflection).apply(prediction)


def align_root(prediction: ArrayLike, truth: ArrayLike, row: int = 0) -> Points:
    """`prediction` `[..., P, 3]` shifted so that its point `row` lies on that of `truth`; 0 is the wrist."""
    source, target = _pair(prediction, truth)
    shifted: Points = source - source[..., row, None, :] + target[..., row, None, :]
    return shifted


def _pair(prediction: ArrayLike, truth: ArrayLike) -> tuple[Points, Points]:
    source = np.asarray(prediction, dtype=np.float64)
    target = np.asarray(truth, dtype=np.float64)
    if source.shape != target.shape or source.ndim < 2 or source.shape[-1] != 3 or source.shape[-2] == 0:
        raise InputError(
            f"cannot align points of shape {source.shape} with {target.shape}: "
            "both must be [..., P, 3] with P > 0."
        )
    return source, target
