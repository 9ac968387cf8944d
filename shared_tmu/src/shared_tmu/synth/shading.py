"""Renders solids to a picture: rays, materials, light, and finer sampling of the pixels that need it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared_tmu.pictures.render import RayScene, pixel_directions
from shared_tmu.synth.background import background
from shared_tmu.synth.camera_noise import photograph
from shared_tmu.synth.chance import Chance
from shared_tmu.synth.geometry3d import Solid
from shared_tmu.synth.skin import sample_tone

Array = NDArray[np.float32]
Surface = Callable[[NDArray[np.int32], Array], tuple[Array, Array, Array | None]]
"""From faces `[K]` and weights `[K, 3]` on them to linear RGB `[K, 3]`, strength of the highlight `[K]`, and
what is added to the unit normals `[K, 3]`, if anything."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in pixels: focal length, principal point, picture size."""

    focal_px: float
    centre_px: tuple[float, float]
    width: int
    height: int

    def project(self, points: Array) -> Array:
        """`[..., 3]` metres -> `[..., 2]` pixels."""
        flat = self.focal_px * points[..., :2] / points[..., 2:]
        return np.asarray(flat + np.array(self.centre_px), np.float32)


class Looks:
    """Skin colour and light of one picture."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.tone = sample_tone(rng)
        mostly = np.array([0.0, -0.7, -0.9])  # from above and from the camera's side
        direction = rng.normal(0.0, 1.0, 3) + mostly
        self.key = (direction / np.linalg.norm(direction)).astype(np.float32)
        warmth = np.array([1.0 + 0.14 * rng.normal(), 1.0, 1.0 - 0.14 * rng.normal()])
        self.key_color = (np.clip(warmth, 0.4, 1.7) * rng.uniform(0.2, 1.6)).astype(np.float32)
        brightness, tint = rng.uniform(0.15, 0.7), np.clip(1 + 0.09 * rng.normal(size=3), 0.6, 1.4)
        self.sky = (brightness * tint).astype(np.float32)
        self.slope = (rng.normal(0.0, 0.22, (3, 3)) * self.sky).astype(np.float32)
        self.gloss = float(np.exp(rng.uniform(np.log(0.01), np.log(0.25))))
        self.sharpness = float(np.exp(rng.uniform(np.log(6.0), np.log(60.0))))
        self.shadows = rng.random() < 0.7

    def light(self, normal: Array, view: Array, lit: Array, albedo: Array, gloss: Array) -> Array:
        """Light that leaves K points: wrapped diffuse (blood scatters red furthest), sky, highlight.

        Args:
            normal: unit normals towards the eye, `[K, 3]`.
            view: unit directions from the eye, `[K, 3]`.
            lit: share of the key light that arrives, `[K]`.
            albedo: linear RGB, `[K, 3]`.
            gloss: strength of the highlight, `[K]`.

        Returns:
            Linear RGB, `[K, 3]`.
        """
        facing = normal @ self.key
        wrap = np.array([0.45, 0.22, 0.15], np.float32)
        diffuse = np.clip((facing[:, None] + wrap) / (1.0 + wrap), 0.0, None)
        shade = np.where(facing > 0, lit, 1.0)[:, None]
        ambient = np.clip(self.sky + normal @ self.slope, 0.02, None)
        half = self.key - view
        half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
        spark = np.clip(np.einsum("kc,kc->k", normal, half), 0.0, 1.0) ** self.sharpness
        highlight = (self.gloss * gloss * spark * lit * (facing > 0))[:, None] * self.key_color
        return np.asarray(albedo * (ambient + diffuse * shade * self.key_color) + highlight, np.float32)


class LitSolids:
    """All solids of a scene in one ray scene, with the tables that shading needs.

    Args:
        main: the subject of the scene: solid 0.
        surface: the appearance of its faces.
        solids: everything else; those without a colour have the skin's.
        looks: skin colour and light.
        scale: size of the scene relative to a hand; sets the shadow offset and the depth step above which
            pixels are sampled more finely.
    """

    def __init__(
        self, main: Solid, surface: Surface, solids: list[Solid], looks: Looks, scale: float = 1.0
    ) -> None:
        self.looks, self.surface, self.scale = looks, surface, scale
        self.main_faces = len(main.faces)
        every = [main, *solids]
        offsets = np.cumsum([0] + [len(s.vertices) for s in every[:-1]])
        self.vertices = np.concatenate([s.vertices for s in every])
        self.normals = np.concatenate([s.normals for s in every])
        faces = [s.faces + o for s, o in zip(every, offsets, strict=True)]
        self.faces = np.concatenate(faces).astype(np.int32)
        colors = [np.tile(looks.tone if s.color is None else s.color, (len(s.faces), 1)) for s in every]
        self.colors = np.concatenate(colors).astype(np.float32)
        self.solid_of_face = np.repeat(np.arange(len(every)), [len(s.faces) for s in every])
        self.rays = RayScene(self.vertices, self.faces)

    def shade(self, directions: Array, backdrop: Array) -> tuple[Array, NDArray[np.int32], Array, Array]:
        """What K rays from the camera see.

        Args:
            directions: `[K, 3]` with z = 1.
            backdrop: linear RGB behind everything, `[K, 3]`.

        Returns:
            Linear RGB `[K, 3]`, face `[K]` (-1 none), barycentric weights `[K, 3]`, depth `[K]` metres.
        """
        face, uv, depth = self.rays.cast(np.zeros_like(directions), directions)
        hit = np.flatnonzero(face >= 0)
        bary = np.zeros((len(face), 3), np.float32)
        bary[hit, 0] = 1.0 - uv[hit].sum(1)
        bary[hit, 1:] = uv[hit]
        color = backdrop.copy()
        if not len(hit):
            return color, face, bary, depth
        corners = self.faces[face[hit]]
        normal = np.einsum("kvc,kv->kc", self.normals[corners], bary[hit])
        view = directions[hit] / np.linalg.norm(directions[hit], axis=1, keepdims=True)
        away = np.einsum("kc,kc->k", normal, view) > 0
        normal[away] *= -1.0
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
        albedo, gloss, tilt = self._materials(face[hit], bary[hit])
        if tilt is not None:
            normal += tilt
            normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
        lit = self._lit(directions[hit] * depth[hit, None], normal)
        color[hit] = self.looks.light(normal, view, lit, albedo, gloss)
        return color, face, bary, depth

    def _materials(self, face: NDArray[np.int32], bary: Array) -> tuple[Array, Array, Array | None]:
        albedo, gloss = self.colors[face], np.full(len(face), 0.6, np.float32)
        on_main = face < self.main_faces
        albedo[on_main], gloss[on_main], tilt = self.surface(face[on_main], bary[on_main])
        if tilt is None:
            return albedo, gloss, None
        tilts = np.zeros((len(face), 3), np.float32)
        tilts[on_main] = tilt
        return albedo, gloss, tilts

    def _lit(self, points: Array, normal: Array) -> Array:
        if not self.looks.shadows:
            return np.ones(len(points), np.float32)
        start = points + self.scale * (0.0025 * normal + 0.001 * self.looks.key)
        blocked = self.rays.occluded(start, np.broadcast_to(self.looks.key, points.shape))
        return np.where(blocked, 0.25, 1.0).astype(np.float32)


@dataclass(frozen=True)
class Shot:
    """A photograph and what its pixels' middle rays met.

    Attributes:
        image: `[H, W, 3]` uint8, RGB.
        solid: which solid of the stage, -1 for none, `[H * W]`.
        face: which face, -1 for none, `[H * W]`.
        bary: barycentric weights there, `[H * W, 3]`.
        depth: metres, infinite for none, `[H * W]`.
    """

    image: NDArray[np.uint8]
    solid: NDArray[np.int64]
    face: NDArray[np.int32]
    bary: Array
    depth: Array


def photograph_stage(
    chance: Chance, stage: LitSolids, camera: Camera, clutter: float, degrade: float
) -> Shot:
    """Draw a stage in front of a background and add camera artefacts.

    Args:
        chance: the only source of randomness.
        stage: the solids of the scene, in the camera's frame.
        camera: the camera.
        clutter: see `background`.
        degrade: see `photograph`.

    Raises:
        MissingDependencyError: embreex is not installed.
    """
    height, width = camera.height, camera.width
    backdrop = background(chance.of("background"), height, width, clutter).astype(np.float32)
    rays = pixel_directions(camera.focal_px, camera.centre_px, width, height).reshape(-1, 3)
    color, face, bary, depth = stage.shade(rays, backdrop.reshape(-1, 3))
    solid = np.where(face >= 0, stage.solid_of_face[face], -1)
    depth = np.where(face >= 0, depth, np.inf).astype(np.float32)
    shape = (height, width)
    fine = np.flatnonzero(_uneven(solid.reshape(shape), depth.reshape(shape), 0.006 * stage.scale))
    if len(fine):
        behind = backdrop.reshape(-1, 3)[fine]
        color[fine] = _supersample(stage, rays[fine], camera.focal_px, color[fine], behind)
    light, noise = color.reshape(height, width, 3), chance.noise_of("camera")
    image = photograph(chance.of("camera"), light, degrade, noise)
    return Shot(image, solid, face, bary, depth)


def surface_labels(
    shot: Shot, template: Array, faces: NDArray[np.int32], part_of_vertex: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], Array, Array]:
    """What each pixel shows of the stage's main solid.

    Args:
        shot: the photograph.
        template: the solid's vertices at rest, `[V, 3]` metres.
        faces: its faces, `[F, 3]`.
        part_of_vertex: number of the part each vertex belongs to, `[V]`.

    Returns:
        The nearest vertex' part plus one `[H, W]`, the place at rest `[H, W, 3]` and the depth `[H, W]` in
        metres; zero where the pixel shows something else.
    """
    pixels = np.flatnonzero(shot.solid == 0)
    shape, count = shot.image.shape[:2], len(shot.face)
    corners, bary = faces[shot.face[pixels]], shot.bary[pixels]
    part = np.zeros(count, np.uint8)
    part[pixels] = part_of_vertex[corners[np.arange(len(pixels)), bary.argmax(1)]] + 1
    canonical = np.zeros((count, 3), np.float32)
    canonical[pixels] = np.einsum("kvc,kv->kc", template[corners], bary)
    depth = np.zeros(count, np.float32)
    depth[pixels] = shot.depth[pixels]
    return part.reshape(shape), canonical.reshape(*shape, 3), depth.reshape(shape)


def _uneven(solid: NDArray[np.int64], depth: Array, step_m: float) -> NDArray[np.bool_]:
    """Pixels at the edge of a solid, or at a step in depth: these are sampled more finely."""
    out = np.zeros(solid.shape, bool)
    far = np.where(np.isfinite(depth), depth, 0.0)
    for axis in (0, 1):
        step = (np.diff(solid, axis=axis) != 0) | (np.abs(np.diff(far, axis=axis)) > step_m)
        pad = [(0, 0), (0, 0)]
        pad[axis] = (0, 1)
        out |= np.pad(step, pad)
        pad[axis] = (1, 0)
        out |= np.pad(step, pad)
    return out


def _supersample(stage: LitSolids, rays: Array, focal_px: float, first: Array, backdrop: Array) -> Array:
    """Mean of the middle ray, counted once, and four rays around it."""
    total = first.copy()
    for du, dv in ((-0.3, -0.15), (0.15, -0.3), (0.3, 0.15), (-0.15, 0.3)):
        moved = rays + np.array([du / focal_px, dv / focal_px, 0.0], np.float32)
        total += stage.shade(moved, backdrop)[0]
    return total / 5.0
