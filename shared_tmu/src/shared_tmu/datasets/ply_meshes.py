"""Reads true meshes of bodies, and says where a camera sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.smplx_model import NUM_VERTICES
from shared_tmu.errors import InputError, MissingDependencyError

LARGEST_M = 1000.0


def project(points_m: NDArray[np.float64], projection: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points `[P, 3]` in pixels `[P, 2]`, by a matrix `[3, 4]`."""
    rays = points_m @ projection[:, :3].T + projection[:, 3]
    pixels: NDArray[np.float64] = rays[:, :2] / rays[:, 2:]
    return pixels


def read_ply_vertices(path: Path, count: int = NUM_VERTICES) -> NDArray[np.float64]:
    """Vertices of a mesh in its own order, `[count, 3]`; as many as SMPL-X has if not told otherwise.

    Raises:
        InputError: the file is damaged, or another mesh.
    """
    try:
        import trimesh
    except ImportError as error:
        raise MissingDependencyError(
            "reading .ply meshes needs trimesh: pip install 'shared_tmu[eval]'."
        ) from error
    try:
        with path.open("rb") as file:
            content = trimesh.exchange.ply.load_ply(file)
        vertices = np.asarray(content["vertices"], dtype=np.float64)
    except (
        ValueError,
        KeyError,
        OSError,
        IndexError,
        AttributeError,
        TypeError,
        ArithmeticError,
        MemoryError,
    ) as error:
        raise InputError(f"{path} cannot be read as a .ply mesh: {error}.") from error
    if vertices.shape != (count, 3) or not (np.abs(vertices) <= LARGEST_M).all():
        raise InputError(
            f"{path} holds {len(vertices)} vertices; a mesh of this set has {count}, all less than "
            f"{LARGEST_M:g} m away."
        )
    return vertices
