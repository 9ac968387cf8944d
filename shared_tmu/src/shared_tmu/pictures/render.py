"""Casts rays at triangle meshes on the CPU, without a display or OpenGL.

Convention: camera at the origin, x right, y down, z forward; the ray of pixel (column u, row v) passes
through the pixel's centre, whose image coordinate is (u, v): a vertex that projects to (10.0, 4.0) is seen in
pixel [4, 10].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import MissingDependencyError

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class RayHits:
    """The first surface at each pixel of a window of height H and width W.

    Attributes:
        face: index of the face, `[H, W]`, -1 where nothing is hit.
        bary: barycentric weights of the face's three vertices, `[H, W, 3]`, zero where nothing is hit.
        depth: distance along z in the unit of the vertices, `[H, W]`, infinite where nothing is hit.
    """

    face: NDArray[np.int32]
    bary: NDArray[np.float32]
    depth: NDArray[np.float32]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels that show the mesh, `[H, W]`."""
        return self.face >= 0

    def interpolate(self, per_vertex: FloatArray, faces: IntArray) -> NDArray[np.float32]:
        """Interpolate values at the vertices to the hit points.

        Args:
            per_vertex: `[V, C]`, in any unit.
            faces: the faces that were cast, `[F, 3]`.

        Returns:
            `[H, W, C]` in the same unit, zero where nothing is hit.
        """
        out = np.zeros((*self.face.shape, per_vertex.shape[1]), dtype=np.float32)
        hit = self.mask
        corners = per_vertex[faces[self.face[hit]]]  # [K, 3, C]
        out[hit] = np.einsum("kvc,kv->kc", corners, self.bary[hit])
        return out


class RayScene:
    """A triangle mesh prepared for ray queries; build it once per pose and query it as often as needed.

    Args:
        vertices: `[V, 3]` in any unit; depths have the same unit.
        faces: vertex indices, `[F, 3]`; may be empty.

    Raises:
        MissingDependencyError: embreex is not installed.
    """

    def __init__(self, vertices: FloatArray, faces: IntArray) -> None:
        try:
            from embreex import rtcore_scene
            from embreex.mesh_construction import TriangleMesh
        except ImportError as error:
            raise MissingDependencyError(
                "rendering was asked for, but embreex is not installed: pip install 'shared_tmu[render]'"
            ) from error
        self._scene = rtcore_scene.EmbreeScene()
        self._mesh = TriangleMesh(
            self._scene,
            np.ascontiguousarray(vertices, dtype=np.float32),
            np.ascontiguousarray(faces, dtype=np.int32),
        )

    def cast(
        self, origins: NDArray[np.float32], directions: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        """First hits of K rays.

        Args:
            origins: start points, `[K, 3]`.
            directions: directions, `[K, 3]`, of any length.

        Returns:
            The face that each ray hits, `[K]` (-1 for none); barycentric weights of the face's second and
            third vertex, `[K, 2]`; the distance in units of the direction's length, `[K]`. The last two are
            undefined where no face is hit.
        """
        hits = self._scene.run(
            np.ascontiguousarray(origins, np.float32),
            np.ascontiguousarray(directions, np.float32),
            output=True,
        )
        uv = np.stack([hits["u"], hits["v"]], axis=-1)
        return hits["primID"].astype(np.int32), uv, hits["tfar"]

    def occluded(self, origins: NDArray[np.float32], directions: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each of K rays hits anything, origins and directions `[K, 3]` -> `[K]`."""
        return np.asarray(
            self._scene.run(
                np.ascontiguousarray(origins, np.float32),
                np.ascontiguousarray(directions, np.float32),
                query="OCCLUDED",
            )
            != -1
        )


def pixel_directions(
    focal_px: float | tuple[float, float],
    centre_px: tuple[float, float],
    width: int,
    height: int,
    first_row: int = 0,
) -> NDArray[np.float32]:
    """Ray directions with z = 1 through the centres of all pixels.

    Args:
        focal_px: focal length in pixels, one or (fx, fy).
        centre_px: principal point (cx, cy) in pixels.
        width: image width in pixels.
        height: image height in pixels.
        first_row: first row to return; `height` rows follow.

    Returns:
        `[height, width, 3]`.
    """
    fx, fy = focal_px if isinstance(focal_px, tuple) else (focal_px, focal_px)
    u = (np.arange(width, dtype=np.float32) - centre_px[0]) / fx
    v = (np.arange(first_row, first_row + height, dtype=np.float32) - centre_px[1]) / fy
    directions = np.ones((height, width, 3), dtype=np.float32)
    directions[..., 0] = u[None, :]
    directions[..., 1] = v[:, None]
    return directions


def cast_rays(
    vertices: FloatArray,
    faces: IntArray,
    focal_px: float | tuple[float, float],
    centre_px: tuple[float, float],
    width: int,
    height: int,
    window: tuple[int, int, int, int] | None = None,
) -> RayHits:
    """Find what a pinhole camera sees of a mesh.

    Args:
        vertices: `[V, 3]` in the camera frame, in any unit; depths have the same unit.
        faces: `[F, 3]` vertex indices.
        focal_px: focal length in pixels, one or (fx, fy).
        centre_px: principal point (cx, cy) in pixels.
        width: image width in pixels.
        height: image height in pixels.
        window: (x0, y0, x1, y1) in pixels; only these pixels are cast and returned. Default: the whole image.

    Returns:
        Hits of the window's pixels, `[y1 - y0, x1 - x0]`.

    Raises:
        MissingDependencyError: embreex is not installed.
    """
    x0, y0, x1, y1 = window or (0, 0, width, height)
    centre = (centre_px[0] - x0, centre_px[1] - y0)
    directions = pixel_directions(focal_px, centre, x1 - x0, y1 - y0)
    return cast_directions(RayScene(vertices, faces), directions)


def cast_directions(scene: RayScene, directions: NDArray[np.float32]) -> RayHits:
    """Cast one ray per pixel from the origin.

    Args:
        scene: the mesh in the camera frame.
        directions: `[H, W, 3]` with z = 1, which makes the distance along a ray the depth.

    Returns:
        What each ray hits first, `[H, W]`.
    """
    rows, columns = directions.shape[:2]
    flat = directions.reshape(-1, 3)
    face, uv, depth = scene.cast(np.zeros_like(flat), flat)
    hit = face >= 0
    bary = np.zeros((len(flat), 3), dtype=np.float32)
    bary[hit, 0] = 1.0 - uv[hit, 0] - uv[hit, 1]
    bary[hit, 1:] = uv[hit]
    depth = np.where(hit, depth, np.inf).astype(np.float32)
    return RayHits(face.reshape(rows, columns), bary.reshape(rows, columns, 3), depth.reshape(rows, columns))
