"""The data from which masks are drawn: what is known about the subject of one crop, in pixels of its
picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .skeletons import Points, Skeleton


@dataclass(frozen=True, eq=False)
class Outline:
    """A mesh, projected into a picture.

    Attributes:
        points_px: its vertices in pixels, `[V, 2]`; vertices that are not finite are not drawn.
        faces: triangles, `[F, 3]`.
    """

    points_px: Points
    faces: NDArray[np.integer[Any]]

    def moved(self, old_xyxy: Sequence[float], new_xyxy: Sequence[float]) -> Outline:
        """The mesh where it is if it moves with the middle of a box and grows with its longer side."""
        (middle, side), (to, new_side) = _middle_and_side(old_xyxy), _middle_and_side(new_xyxy)
        return replace(self, points_px=(self.points_px - middle) * (new_side / side) + to)


def _middle_and_side(box_xyxy: Sequence[float]) -> tuple[NDArray[np.float64], float]:
    corners = np.reshape(np.asarray(box_xyxy, np.float64), (2, 2))
    return corners.mean(axis=0), float((corners[1] - corners[0]).max())


@dataclass(frozen=True, eq=False)
class Silhouette:
    """A mask of a person from a detector, in the detector's own view.

    Attributes:
        mask: `[h, w]` bool.
        to_picture: affine map `[2, 3]` from pixels (x, y) of the mask to those of the picture.
    """

    mask: NDArray[np.bool_]
    to_picture: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MaskScene:
    """What is known about the subject of one crop. Convention: pixels, pixel centres at integers.

    Attributes:
        size: height and width of the crop that the model gets.
        to_picture: affine map `[2, 3]` from pixels (x, y) of the crop to those of the picture; it includes
            mirroring and rotation of the crop.
        skeleton: the subject's skeleton.
        box_xyxy: the subject's box in the picture.
        landmarks_px: what the detector found, `[K, 2]` of the picture; NaN for what it does not see.
        silhouette: what the detector found.
        previous: the same subject's mesh in the frame before, moved with its box.
        true_keypoints_px: ground truth of a data set, `[K, 2]`.
        true_outline: true mesh of a data set.
    """

    size: tuple[int, int]
    to_picture: NDArray[np.float64]
    skeleton: Skeleton
    box_xyxy: tuple[float, float, float, float] | None = None
    landmarks_px: Points | None = None
    silhouette: Silhouette | None = None
    previous: Outline | None = None
    true_keypoints_px: Points | None = None
    true_outline: Outline | None = None

    def to_crop(self, points_px: Points) -> Points:
        """Convert points of the picture, `[K, 2]`, to pixels of the crop."""
        turn, shift = self.to_picture[:, :2], self.to_picture[:, 2]
        known = np.where(np.isfinite(points_px), points_px, np.nan)
        return np.asarray((known - shift) @ np.linalg.inv(turn).T, np.float64)
