"""HInt's 2D measure: the share of labelled key points within a fraction of the hand's box.

Source: Pavlakos et al. 2024, "Reconstructing Hands in 3D with Transformers", arXiv:2312.05251, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class KeypointPck:
    """PCK at one threshold.

    Args:
        per_joint: `[J]` shares of labelled points that are near enough; NaN for a joint that nobody labelled.
    """

    per_joint: NDArray[np.float64]

    @property
    def average(self) -> float:
        """Unweighted mean over joints, as published; NaN (undefined) if a joint has no label."""
        return float(self.per_joint.mean())


def crop_to_picture(
    keypoints: ArrayLike, center: ArrayLike, box_size: ArrayLike, right: ArrayLike
) -> NDArray[np.float64]:
    """Network key points to picture pixels.

    Args:
        keypoints: `[N, J, 2]`, the crop spans -0.5..0.5; left hands still mirrored.
        center: crop centres `[N, 2]`, pixels.
        box_size: sides of the square crops `[N]`, pixels.
        right: `[N]`, 1 or 0.

    Returns:
        `[N, J, 2]` pixels.
    """
    points = np.array(keypoints, dtype=np.float64)
    points[..., 0] *= (2 * np.asarray(right, dtype=np.float64) - 1)[:, None]
    pixels: NDArray[np.float64] = points * np.asarray(box_size)[:, None, None] + np.asarray(center)[:, None]
    return pixels


def keypoint_pck(
    prediction: ArrayLike,
    truth: ArrayLike,
    labelled: ArrayLike,
    unit_px: ArrayLike,
    thresholds: Sequence[float],
) -> dict[float, KeypointPck]:
    """Share of labelled key points within each threshold times the hand's size; exactly at it counts.

    Args:
        prediction: `[N, J, 2]` pixels.
        truth: `[N, J, 2]` pixels; where nothing is labelled, anything.
        labelled: `[N, J]`, whether the point counts.
        unit_px: the longer side of each hand's unexpanded box, `[N]`.
        thresholds: fractions, such as 0.05, 0.10, 0.15.
    """
    flags = np.asarray(labelled, dtype=bool)
    gaps = np.linalg.norm(np.asarray(prediction, dtype=np.float64) - np.asarray(truth), axis=-1)
    relative = gaps / np.asarray(unit_px, dtype=np.float64)[:, None]
    counts = flags.sum(axis=0)
    result = {}
    for threshold in thresholds:
        near = ((relative <= threshold) & flags).sum(axis=0)
        shares = np.divide(near, counts, out=np.full(len(counts), np.nan), where=counts > 0)
        result[threshold] = KeypointPck(shares)
    return result
