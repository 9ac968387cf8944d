"""Draws the mask of a subject: from the limbs between its key points, from its mesh, or from its box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import MissingDependencyError

Mask = NDArray[np.bool_]
WHITE = (1.0,)
SHIFT = 4  # positions are given to OpenCV in units of 1/16 pixel


@dataclass(frozen=True)
class Limb:
    """A polygon of key points, with a thickness.

    Attributes:
        points: indices of key points: one for a disc, two for a bone, more for a filled area such as the
            palm.
        radius: thickness around the lines between the points, in units of the subject's size.
    """

    points: tuple[int, ...]
    radius: float


def draw_limbs(
    points_px: NDArray[np.float64], limbs: Sequence[Limb], size_px: float, shape: tuple[int, int]
) -> Mask:
    """Draw the limbs between key points.

    Args:
        points_px: (x, y) of each key point, pixel centres at integers, `[K, 2]`; limbs with a point that is
            not finite are left out.
        limbs: limbs to draw.
        size_px: the subject's size, the unit of radii.
        shape: height and width of the picture.

    Returns:
        `[H, W]`, true at the subject.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    cv2 = _require_opencv()
    canvas = np.zeros(shape, np.uint8)
    fixed = _fixed(points_px, shape)
    for limb in limbs:
        corners = fixed[list(limb.points)]
        if not np.isfinite(corners).all():
            continue
        outline = corners.astype(np.int32).reshape(-1, 1, 2)
        if len(outline) > 2:
            cv2.fillPoly(canvas, [cv2.convexHull(outline)], WHITE, shift=SHIFT)
        thickness = max(1, round(2.0 * limb.radius * size_px))
        cv2.polylines(canvas, [outline], len(outline) > 2, WHITE, thickness, shift=SHIFT)
        for x, y in outline[:, 0]:
            radius = round(limb.radius * size_px * (1 << SHIFT))
            cv2.circle(canvas, (int(x), int(y)), radius, WHITE, -1, shift=SHIFT)
    return canvas.astype(bool)


def draw_triangles(
    points_px: NDArray[np.float64], faces: NDArray[np.integer[Any]], shape: tuple[int, int]
) -> Mask:
    """Draw a mesh.

    Args:
        points_px: (x, y) of each vertex, pixel centres at integers, `[V, 2]`; faces with a vertex that is not
            finite are left out.
        faces: `[F, 3]`, in either orientation.
        shape: height and width of the picture.

    Returns:
        `[H, W]`, true at the mesh.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    cv2 = _require_opencv()
    canvas = np.zeros(shape, np.uint8)
    corners = _fixed(points_px, shape)[faces]  # [F, 3, 2]
    known = corners[np.isfinite(corners).all(axis=(1, 2))].astype(np.int32)
    for triangle in known:
        cv2.fillConvexPoly(canvas, triangle, WHITE, shift=SHIFT)
    return canvas.astype(bool)


def draw_box(corners_px: NDArray[np.float64], shape: tuple[int, int]) -> Mask:
    """Draw a box that may be rotated, by its corners (x, y) in order, `[4, 2]`; see `draw_triangles`."""
    return draw_triangles(corners_px, np.array([(0, 1, 2), (0, 2, 3)]), shape)


def draw_moved(mask: Mask, reads: NDArray[np.float64], shape: tuple[int, int]) -> Mask:
    """Draw a mask that is given in other coordinates.

    Args:
        mask: `[h, w]` bool; everything outside it is background.
        reads: affine map `[2, 3]` from pixels (x, y) of the result to those of `mask`.
        shape: height and width of the result.

    Returns:
        `[H, W]`, true where the nearest pixel of `mask` is true.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    cv2 = _require_opencv()
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(mask.astype(np.uint8), reads, (shape[1], shape[0]), flags=flags)
    return np.asarray(moved, bool)


def _fixed(points_px: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Points in OpenCV's units; NaN where they are not finite."""
    limit = 8.0 * max(shape)  # beyond it OpenCV's numbers overflow; points so far away are cut off anyway
    known = np.where(np.isfinite(points_px), points_px, np.nan)
    return np.round(np.clip(known, -limit, limit) * (1 << SHIFT))


def _require_opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            "drawing masks needs OpenCV: pip install 'shared_tmu[images]'."
        ) from error
    return cv2
