"""Shaded meshes drawn over photographs, by ray casting: no display and no OpenGL needed.

Convention: cameras and pixels as in `shared_tmu.pictures.render`: x right, y down, z forward, pixel centres
at whole numbers. Pictures are BGR uint8 `[H, W, 3]`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.pictures.render import RayScene, cast_directions, pixel_directions

RIGHT_RGB = (0.65, 0.74, 0.86)
LEFT_RGB = (0.62, 0.84, 0.66)  # green: meshes must not look like skin
"""Colours of right and left hands."""

MAX_CAST_PIXELS = 6_000_000
"""Limit of rays per window; larger windows are cast at a lower resolution and enlarged."""

BAND_RAYS = 400_000
"""Number of rays that are cast at a time, and of pixels that are mixed at a time: each takes up to 200 bytes
meanwhile.
"""

Shades = NDArray[np.float32]
"""`[h, w, 4]`: red, green and blue from 0 to 1, multiplied by the covered share of the pixel, and this
share.
"""

_LIGHTS = (((-0.5, -0.75, -0.55), 0.55), ((0.7, 0.1, -0.6), 0.18), ((0.0, 0.0, -1.0), 0.25))
_AMBIENT = 0.22
_BACK_FACE = 0.55


@dataclass(frozen=True)
class Mesh:
    """A mesh to draw.

    Attributes:
        vertices: `[V, 3]` in the camera frame.
        faces: `[F, 3]`, counter-clockwise seen from outside.
        rgb: base colour, 0 to 1.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.integer[Any]]
    rgb: tuple[float, float, float] = RIGHT_RGB


@dataclass(frozen=True)
class View:
    """A pinhole camera's picture.

    Attributes:
        focal_px: focal length in pixels.
        centre_px: principal point (x, y) in pixels.
        width: in pixels.
        height: in pixels.
    """

    focal_px: float
    centre_px: tuple[float, float]
    width: int
    height: int

    def zoom(self, box_center: tuple[float, float], box_size: float, size_px: int) -> View:
        """The same camera for a square of side `box_size` pixels, shown as a picture of `size_px` pixels."""
        scale = size_px / box_size
        centre = tuple(
            (pp - middle) * scale + size_px / 2 for pp, middle in zip(self.centre_px, box_center, strict=True)
        )
        return View(self.focal_px * scale, (centre[0], centre[1]), size_px, size_px)


def draw_meshes(image_bgr: NDArray[np.uint8], meshes: Sequence[Mesh], view: View) -> NDArray[np.uint8]:
    """Draw meshes over a picture of the view's size; nearer surfaces hide farther ones, edges are smooth.

    Args:
        image_bgr: `[view.height, view.width, 3]`.
        meshes: meshes in the view's camera frame.
        view: the camera.

    Returns:
        A new picture of the same size.

    Raises:
        MissingDependencyError: embreex is not installed.
    """
    result = image_bgr.copy()
    windows = [window for mesh in meshes if (window := _window(mesh, view)) is not None]
    if not windows:
        return result
    scene = _Scene(meshes)
    for window in windows:
        x0, y0, x1, _ = window
        for top, shaded in scene.shade(view, window):
            rows = slice(y0 + top, y0 + top + len(shaded))
            alpha = shaded[:, :, 3:]
            colour = shaded[:, :, :3] / np.maximum(alpha, 1e-6)
            under = image_bgr[rows, x0:x1].astype(np.float32)
            mixed = colour[:, :, ::-1] * 255.0 * alpha + under * (1.0 - alpha)
            result[rows, x0:x1] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return result


def draw_side_view(mesh: Mesh, view: View, is_right: bool = True) -> NDArray[np.uint8]:
    """Draw a mesh rotated by 90 degrees about the vertical axis, on white, as large as `view` shows it from
    the front.

    Right and left hands are rotated in opposite directions, so that a mirrored hand gives the mirrored
    picture.
    """
    middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    around = mesh.vertices - middle
    way = 1.0 if is_right else -1.0
    turned = np.stack([way * around[:, 2], around[:, 1], -way * around[:, 0]], axis=1)
    distance = float(middle[2])
    placed = Mesh(turned + np.array([0.0, 0.0, distance]), mesh.faces, mesh.rgb)
    centred = View(view.focal_px, ((view.width - 1) / 2, (view.height - 1) / 2), view.width, view.height)
    white = np.full((view.height, view.width, 3), 255, np.uint8)
    return draw_meshes(white, [placed], centred)


def vertex_normals(
    vertices: NDArray[np.floating[Any]], faces: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Unit normals `[V, 3]`, the mean of the faces around a vertex weighted by area; outward if the faces
    are.
    """
    corners = vertices.astype(np.float64)[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(normals, faces[:, corner], face_normals)
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20))


class _Scene:
    """All meshes of a picture as one, with the values that shading needs."""

    def __init__(self, meshes: Sequence[Mesh]) -> None:
        starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
        self.vertices = np.concatenate([mesh.vertices for mesh in meshes])
        self.faces = np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)])
        normals = [vertex_normals(mesh.vertices, mesh.faces) for mesh in meshes]
        colours = [np.tile(mesh.rgb, (len(mesh.vertices), 1)) for mesh in meshes]
        self.attributes = np.hstack([np.concatenate(normals), np.concatenate(colours)]).astype(np.float32)
        self.rays = RayScene(self.vertices, self.faces)

    def shade(self, view: View, window: tuple[int, int, int, int]) -> Iterator[tuple[int, Shades]]:
        """Yields a window from top to bottom: the first row of each band, and its shaded pixels."""
        import cv2

        x0, y0, x1, y1 = window
        width, height = x1 - x0, y1 - y0
        step = _pixels_per_ray(width * height)
        if step > 1:
            yield from _enlarged(self._cast_coarsely(view, window, step), step, width, height)
            return
        finer = 2 if 4 * width * height <= MAX_CAST_PIXELS else 1
        rows = max(1, BAND_RAYS // (width * finer * finer))
        for top in range(0, height, rows):
            count = min(rows, height - top)
            shaded = self._cast(view, window, finer, (finer * width, finer * count), finer * top)
            if finer > 1:
                resized = cv2.resize(shaded, (width, count), interpolation=cv2.INTER_AREA)
                shaded = np.asarray(resized, np.float32)
            yield top, shaded

    def _cast_coarsely(self, view: View, window: tuple[int, int, int, int], step: int) -> Shades:
        """Cast one ray for `step` x `step` pixels; the last ones may extend beyond the window."""
        x0, y0, x1, y1 = window
        columns, rows = -(-(x1 - x0) // step), -(-(y1 - y0) // step)
        shaded = np.empty((rows, columns, 4), np.float32)
        at_once = max(1, BAND_RAYS // columns)
        for top in range(0, rows, at_once):
            count = min(at_once, rows - top)
            shaded[top : top + count] = self._cast(view, window, 1 / step, (columns, count), top)
        return shaded

    def _cast(
        self, view: View, window: tuple[int, int, int, int], finer: float, size: tuple[int, int], top: int
    ) -> Shades:
        """Cast `size` (columns, rows) rays from row `top` on, with `finer` rays along one pixel."""
        x0, y0, _, _ = window
        centre = (
            (view.centre_px[0] - x0 + 0.5) * finer - 0.5,
            (view.centre_px[1] - y0 + 0.5) * finer - 0.5,
        )
        focal = (view.focal_px * finer, view.focal_px * finer)
        directions = pixel_directions(focal, centre, *size, first_row=top)
        hits = cast_directions(self.rays, directions)
        seen = hits.interpolate(self.attributes, self.faces)
        shaded = np.zeros((size[1], size[0], 4), np.float32)
        mask = hits.mask
        shaded[mask] = np.hstack(
            [_light(seen[mask], directions[mask]), np.ones((int(mask.sum()), 1), np.float32)]
        )
        return shaded


def _enlarged(coarse: Shades, step: int, width: int, height: int) -> Iterator[tuple[int, Shades]]:
    """Enlarge every ray's shade to `step` x `step` pixels, bilinearly, band by band; bands join without
    seams.
    """
    import cv2

    at_once = max(1, BAND_RAYS // (width * step))
    padded = np.pad(coarse, ((1, 1), (0, 0), (0, 0)), mode="edge")
    for row in range(0, len(coarse), at_once):
        part = padded[row : row + at_once + 2]
        size = (part.shape[1] * step, len(part) * step)
        large = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR), np.float32)
        yield row * step, large[step:-step][: height - row * step, :width]


def _light(seen: NDArray[np.float32], directions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours `[K, 3]` from normals and base colours `[K, 6]` and the rays that hit them `[K, 3]`."""
    normals = seen[:, :3] / np.maximum(np.linalg.norm(seen[:, :3], axis=1, keepdims=True), 1e-12)
    is_back = (normals * directions).sum(axis=1) > 0
    normals[is_back] *= -1
    light = np.full(len(seen), _AMBIENT, np.float32)
    for direction, strength in _LIGHTS:
        towards = np.asarray(direction, np.float32) / np.float32(np.linalg.norm(direction))
        light += strength * np.clip(normals @ towards, 0, None)
    light[is_back] *= _BACK_FACE
    return np.clip(seen[:, 3:] * light[:, None], 0, 1).astype(np.float32)


def _pixels_per_ray(pixels: int) -> int:
    """Number of pixels per ray along each side of a window: more than 1 for large windows."""
    return max(1, math.ceil(math.sqrt(pixels / MAX_CAST_PIXELS)))


def _window(mesh: Mesh, view: View) -> tuple[int, int, int, int] | None:
    """Pixels (x0, y0, x1, y1) that a mesh can cover; None if it is outside the view."""
    depth = mesh.vertices[:, 2]
    if depth.min() <= 0 or not np.isfinite(mesh.vertices).all():
        return (
            (0, 0, view.width, view.height) if depth.max() > 0 and np.isfinite(mesh.vertices).all() else None
        )
    points = mesh.vertices[:, :2] / depth[:, None] * view.focal_px + view.centre_px
    x0, y0 = (max(0, int(np.floor(low)) - 1) for low in points.min(axis=0))
    x1 = min(view.width, int(np.ceil(points[:, 0].max())) + 2)
    y1 = min(view.height, int(np.ceil(points[:, 1].max())) + 2)
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None
