"""A body or hand drawn from its key points: limbs of a thickness, filled palms or trunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import MissingDependencyError

Mask = NDArray[np.bool_]
WHITE = (1.0,)
SHIFT = 4  # OpenCV takes positions in 1/16 pixel


@dataclass(frozen=True)
class Limb:
    """A polygon of key points, and how thick it is.

    Attributes:
        points: numbers of key points: one for a disc, two for a bone, more for a filled area such as the
            palm.
        radius: how far it reaches beyond the lines between the points, in units of the subject's size.
    """

    points: tuple[int, ...]
    radius: float


def draw_limbs(
    points_px: NDArray[np.float64], limbs: Sequence[Limb], size_px: float, shape: tuple[int, int]
) -> Mask:
    """Draw key points and what lies between them.

    Args:
        points_px: (x, y) of each key point, pixel centres at integers, `[K, 2]`; limbs with a point that is
            not finite are left out.
        limbs: what to draw.
        size_px: the subject's size, by which radii are multiplied.
        shape: height and width of the picture.

    Returns:
        `[H, W]`, true at the subject.

    Raises:
        MissingDependencyError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            "drawing masks from key points needs OpenCV: pip install 'shared_tmu[images]'."
        ) from error
    canvas = np.zeros(shape, np.uint8)
    limit = 8.0 * max(shape)  # beyond it OpenCV's numbers overflow; what is that far away is cut off anyway
    fixed = np.round(np.clip(points_px, -limit, limit) * (1 << SHIFT))
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
