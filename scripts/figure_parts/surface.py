"""Meshes coloured by a value at each vertex, by ray casting."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.pictures.overlays import vertex_normals
from shared_tmu.pictures.render import RayScene, cast_directions, pixel_directions

_LIGHT = np.array([-0.35, -0.55, -0.75])
FINER = 2
"""Rays along a side of a pixel."""


def paint(
    vertices: NDArray[np.floating[Any]],
    faces: NDArray[np.integer[Any]],
    rgb: NDArray[np.floating[Any]],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """A mesh that fills a picture on white, lightly shaded so that its colours can still be read.

    Args:
        vertices: in the camera frame, `[V, 3]`.
        faces: `[F, 3]`, counter-clockwise from outside.
        rgb: colours of the vertices, 0 to 1, `[V, 3]`.
        size: height and width, pixels.

    Returns:
        `[H, W, 3]`, RGB.
    """
    height, width = (FINER * side for side in size)
    points = vertices[:, :2] / vertices[:, 2:]
    low, high = points.min(axis=0), points.max(axis=0)
    focal = float(min(0.96 * np.array([width, height]) / (high - low)))
    centre = np.array([width, height]) / 2 - focal * (low + high) / 2
    directions = pixel_directions(focal, (float(centre[0]), float(centre[1])), width, height)
    hits = cast_directions(RayScene(vertices, faces), directions)
    seen = hits.interpolate(np.hstack([rgb, vertex_normals(vertices, faces)]).astype(np.float32), faces)
    light = np.abs(seen[..., 3:] @ (_LIGHT / np.linalg.norm(_LIGHT)))[..., None]
    shaded = np.where(hits.mask[..., None], seen[..., :3] * (0.62 + 0.38 * light), 1.0)
    small = shaded.reshape(size[0], FINER, size[1], FINER, 3).mean(axis=(1, 3))
    return np.clip(np.rint(255 * small), 0, 255).astype(np.uint8)
