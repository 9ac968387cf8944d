"""A stage lit from all directions: soft shadows, darker creases, a painter for every solid."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from shared_tmu.pictures.render import RayScene
from shared_tmu.synth.environment import Environment
from shared_tmu.synth.paint import Array, Faces, Paint, Painted


class VariedStage:
    """All solids of a scene in one ray scene.

    Args:
        things: the solids; the subject of the scene comes first.
        light: skin colour and light.
        rng: random generator of the rays towards light.
        scale: size of the scene relative to a hand.
    """

    def __init__(
        self, things: list[Painted], light: Environment, rng: np.random.Generator, scale: float = 1.0
    ) -> None:
        self.things, self.light, self.rng, self.scale = things, light, rng, scale
        solids = [thing.solid for thing in things]
        offsets = np.cumsum([0] + [len(s.vertices) for s in solids[:-1]])
        self.first_face = np.cumsum([0] + [len(s.faces) for s in solids])
        self.vertices = np.concatenate([s.vertices for s in solids])
        self.normals = np.concatenate([s.normals for s in solids])
        self.faces = np.concatenate([s.faces + o for s, o in zip(solids, offsets, strict=True)])
        self.solid_of_face = np.repeat(np.arange(len(solids)), np.diff(self.first_face))
        self.rays = RayScene(self.vertices, self.faces)

    def blocked(self, points: Array, directions: Array) -> Array:
        """1 where something lies along rays, `[K, 3]` -> `[K]`."""
        return self.rays.occluded(points, directions).astype(np.float32)

    def towards_key(self, count: int) -> Array:
        """Directions to points of the key light, `[K, 3]`."""
        jitter = self.rng.normal(0.0, 1.0, (count, 3)).astype(np.float32)
        return np.asarray(self.light.key + np.float32(self.light.spread) * jitter, np.float32)

    def around(self, normal: Array) -> Array:
        """Random directions with a density proportional to the weight of their light, unit normals `[K, 3]`
        -> `[K, 3]`."""
        ball = self.rng.standard_normal(normal.shape, dtype=np.float32)
        ball /= np.maximum(np.linalg.norm(ball, axis=1, keepdims=True), 1e-6)
        return normal + 0.98 * ball

    def shade(
        self, directions: Array, image: tuple[int, int] | None = None
    ) -> tuple[Array, Faces, Array, Array]:
        """What K rays from the camera see.

        Args:
            directions: `[K, 3]` with z = 1.
            image: height and width if the rays are all pixels of a picture: shadows are smoothed over it.

        Returns:
            Linear RGB `[K, 3]` (zero where nothing is hit), face `[K]` (-1 none), weights `[K, 3]`, depth
            `[K]`.
        """
        face, uv, depth = self._cast(directions)
        hit = np.flatnonzero(face >= 0)
        bary = np.zeros((len(face), 3), np.float32)
        bary[hit, 0] = 1.0 - uv[hit].sum(1)
        bary[hit, 1:] = uv[hit]
        color = np.zeros((len(face), 3), np.float32)
        if not len(hit):
            return color, face, bary, depth
        points = directions[hit] * depth[hit, None]
        view = directions[hit] / np.linalg.norm(directions[hit], axis=1, keepdims=True)
        geometric = np.einsum("kvc,kv->kc", self.normals[self.faces[face[hit]]], bary[hit])
        geometric[np.einsum("kc,kc->k", geometric, view) > 0] *= -1.0
        geometric /= np.maximum(np.linalg.norm(geometric, axis=1, keepdims=True), 1e-6)
        paint = self._paint(points, face[hit], bary[hit])
        normal = geometric
        if paint.tilt is not None:
            normal = geometric + paint.tilt
            normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
        lit, free = self._arriving(points, geometric)
        if image is not None:
            lit, free = _smoothed(hit, lit, free, image)
        lit = lit * self.light.key_share(points)
        color[hit] = self.light.shade(normal, view, lit, free, paint.albedo, paint.gloss, paint.flesh)
        return color, face, bary, depth

    def _cast(self, directions: Array) -> tuple[Faces, Array, Array]:
        """First hits of rays from the camera; those beside everything are not cast."""
        front = self.vertices[self.vertices[:, 2] > 0.02]
        low, high = np.full(2, -9.0, np.float32), np.full(2, 9.0, np.float32)
        if len(front) == len(self.vertices):
            flat = front[:, :2] / front[:, 2:]
            low, high = flat.min(0), flat.max(0)
        x, y = directions[:, 0], directions[:, 1]
        near = np.flatnonzero((x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1]))
        rays = np.ascontiguousarray(directions[near])
        face = np.full(len(directions), -1, np.int32)
        uv, depth = np.zeros((len(directions), 2), np.float32), np.full(len(directions), np.inf, np.float32)
        face[near], uv[near], depth[near] = self.rays.cast(np.zeros_like(rays), rays)
        return face, uv, depth

    def _arriving(self, points: Array, normal: Array) -> tuple[Array, Array]:
        """Shares of the key light and of the surroundings that reach points, `[K]` each."""
        start = points + (0.0022 * self.scale) * normal
        lit = 1.0 - self.blocked(start, self.towards_key(len(points)))
        free = 1.0 - self.blocked(start, self.around(normal))
        return lit, free

    def _paint(self, points: Array, face: Faces, bary: Array) -> Paint:
        solid = self.solid_of_face[face]
        out = Paint(
            np.zeros_like(points), np.zeros(len(points), np.float32), np.zeros_like(points),
            np.zeros(len(points), bool),
        )  # fmt: skip
        for number in np.unique(solid):
            rows = np.flatnonzero(solid == number)
            own = self.things[number].painter(points[rows], face[rows] - self.first_face[number], bary[rows])
            out.albedo[rows], out.gloss[rows], out.flesh[rows] = own.albedo, own.gloss, own.flesh
            if own.tilt is not None and out.tilt is not None:
                out.tilt[rows] = own.tilt
        return out


def _smoothed(hit: NDArray[np.int64], lit: Array, free: Array, image: tuple[int, int]) -> tuple[Array, Array]:
    """Single rays' answers averaged over neighbours in the picture."""
    sheet = np.zeros((image[0] * image[1], 3), np.float32)
    sheet[hit, 0], sheet[hit, 1], sheet[hit, 2] = lit, free, 1.0
    sheet = sheet.reshape(*image, 3)
    fine = cv2.blur(sheet[..., ::2], (3, 3)).reshape(-1, 2)[hit]
    wide = cv2.GaussianBlur(np.ascontiguousarray(sheet[..., 1:]), (0, 0), 3.0).reshape(-1, 2)[hit]
    return fine[:, 0] / np.maximum(fine[:, 1], 1e-3), wide[:, 0] / np.maximum(wide[:, 1], 1e-3)
