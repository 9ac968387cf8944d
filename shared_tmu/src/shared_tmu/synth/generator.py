"""Draw scenes: a labelled picture of SynthHand per scene, deterministic by seed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from shared_tmu.render import RayScene, pixel_directions
from shared_tmu.synth.background import background
from shared_tmu.synth.camera_noise import photograph
from shared_tmu.synth.geometry3d import Solid, forearm, make_solid, occluder
from shared_tmu.synth.hand import PosedHand, synth_hand
from shared_tmu.synth.scene import Scene
from shared_tmu.synth.skin import sample_tone, skin_albedo

Array = NDArray[np.float32]


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


@dataclass(frozen=True)
class Picture:
    """A drawn scene.

    Attributes:
        image: `[H, W, 3]` uint8, RGB.
        hand: the posed hand in the camera frame, metres.
        camera: the camera that saw it.
        part: joint whose flesh each pixel shows plus one, 0 elsewhere, `[H, W]` uint8.
        canonical: place on the rest-pose hand at each hand pixel, metres, `[H, W, 3]`, zero elsewhere.
        depth: depth at each hand pixel minus that of the wrist, metres, `[H, W]`, zero elsewhere.
    """

    image: NDArray[np.uint8]
    hand: PosedHand
    camera: Camera
    part: NDArray[np.uint8]
    canonical: Array
    depth: Array


def place_hand(scene: Scene) -> PosedHand:
    """The scene's hand in the camera frame."""
    posed = synth_hand().pose(scene.root, scene.fingers, scene.betas)
    middle = 0.5 * (posed.vertices.min(0) + posed.vertices.max(0))
    target = scene.distance_m * np.array([scene.offset[0], scene.offset[1], 1.0], np.float32)
    shift = (target - middle).astype(np.float32)
    return PosedHand(posed.vertices + shift, posed.keypoints + shift, posed.bone_rotmats)


def frame_hand(scene: Scene, hand: PosedHand, width: int, height: int, scale: float) -> Camera:
    """The camera under which the hand's key points fill the box that the scene asks for.

    Args:
        scene: says how large the box is, and where.
        hand: in the camera frame, metres.
        width: picture width in pixels.
        height: picture height in pixels.
        scale: picture pixels per pixel of the 256-pixel crop; the crop's middle is the picture's.
    """
    points = hand.keypoints[:, :2] / hand.keypoints[:, 2:]
    low, high = points.min(0), points.max(0)
    extent = max(float(high[1] - low[1]), 4.0 / 3.0 * float(high[0] - low[0]))
    focal = scene.hand_size_px * scale / extent
    middle = np.array([width / 2.0, height / 2.0]) + scene.centre_shift_px * scale
    centre = middle - focal * 0.5 * (low + high)
    return Camera(float(focal), (float(centre[0]), float(centre[1])), width, height)


class _Looks:
    """Materials and light of one picture."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.tone = sample_tone(rng)
        self.rng = rng
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


class _Stage:
    """All solids of a scene in one ray scene, with the tables that shading needs."""

    def __init__(self, hand: PosedHand, solids: list[Solid], looks: _Looks) -> None:
        self.looks = looks
        geometry = synth_hand()
        self.hand_faces = len(geometry.faces)
        every = [make_solid(hand.vertices, geometry.faces, None), *solids]
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
        albedo, gloss = self._materials(face[hit], bary[hit])
        lit = self._lit(directions[hit] * depth[hit, None], normal)
        color[hit] = self.looks.light(normal, view, lit, albedo, gloss)
        return color, face, bary, depth

    def _materials(self, face: NDArray[np.int32], bary: Array) -> tuple[Array, Array]:
        albedo, gloss = self.colors[face], np.full(len(face), 0.6, np.float32)
        skin = face < self.hand_faces
        rng = np.random.default_rng(int(1e6 * self.looks.tone.sum()))  # the same skin in both passes
        albedo[skin], gloss[skin] = skin_albedo(rng, self.looks.tone, face[skin], bary[skin])
        return albedo, gloss

    def _lit(self, points: Array, normal: Array) -> Array:
        if not self.looks.shadows:
            return np.ones(len(points), np.float32)
        start = points + 0.0025 * normal + 0.001 * self.looks.key
        blocked = self.rays.occluded(start, np.broadcast_to(self.looks.key, points.shape))
        return np.where(blocked, 0.25, 1.0).astype(np.float32)


def _solids(rng: np.random.Generator, scene: Scene, hand: PosedHand) -> list[Solid]:
    """Forearm with or without sleeve, and now and then an object."""
    geometry = synth_hand()
    out: list[Solid] = []
    vertices, faces, ring = forearm(geometry, hand, scene.root, scene.wrist_bend)
    if rng.random() < 0.93:
        cuff = int(rng.integers(0, 12)) if rng.random() < 0.6 else 99
        bare, covered = faces[ring < cuff], faces[ring >= cuff]
        if len(bare):
            out.append(make_solid(vertices, bare, None))
        if len(covered):
            axis = vertices.reshape(-1, len(geometry.rim), 3).mean(1).repeat(len(geometry.rim), 0)
            wide = axis + (vertices - axis) * rng.uniform(1.05, 1.35)
            out.append(make_solid(wide.astype(np.float32), covered, rng.beta(1.0, 1.8, 3).astype(np.float32)))
    if rng.random() < 0.30 * scene.difficulty.clutter:
        mesh = occluder(rng, hand, held=rng.random() < 0.75)
        out.append(make_solid(*mesh, rng.beta(1.0, 1.4, 3).astype(np.float32)))
    return out


def _uneven(solid: NDArray[np.int64], depth: Array) -> NDArray[np.bool_]:
    """Pixels at which another solid, the background or another depth begins: these are drawn finer."""
    out = np.zeros(solid.shape, bool)
    far = np.where(np.isfinite(depth), depth, 0.0)
    for axis in (0, 1):
        step = (np.diff(solid, axis=axis) != 0) | (np.abs(np.diff(far, axis=axis)) > 0.006)
        pad = [(0, 0), (0, 0)]
        pad[axis] = (0, 1)
        out |= np.pad(step, pad)
        pad[axis] = (1, 0)
        out |= np.pad(step, pad)
    return out


def draw(scene: Scene, width: int = 256, height: int = 256, scale: float = 1.0) -> Picture:
    """Draw a scene.

    Args:
        scene: what to draw; equal scenes give equal pictures.
        width: picture width in pixels.
        height: picture height in pixels.
        scale: picture pixels per pixel of the 256-pixel network crop, which is centred in the picture.

    Returns:
        The picture and its labels.

    Raises:
        MissingDependencyError: embreex is not installed.
    """
    rng = scene.looks()
    hand = place_hand(scene)
    camera = frame_hand(scene, hand, width, height, scale)
    looks = _Looks(rng)
    stage = _Stage(hand, _solids(rng, scene, hand), looks)
    backdrop = background(rng, height, width, scene.difficulty.clutter).astype(np.float32)
    rays = pixel_directions(camera.focal_px, camera.centre_px, width, height).reshape(-1, 3)
    color, face, bary, depth = stage.shade(rays, backdrop.reshape(-1, 3))
    solid = np.where(face >= 0, stage.solid_of_face[face], -1).reshape(height, width)
    depth = np.where(face >= 0, depth, np.inf).astype(np.float32)
    fine = np.flatnonzero(_uneven(solid, depth.reshape(height, width)))
    if len(fine):
        behind = backdrop.reshape(-1, 3)[fine]
        color[fine] = _supersample(stage, rays[fine], camera.focal_px, color[fine], behind)
    light = photograph(rng, color.reshape(height, width, 3), scene.difficulty.degrade)
    on_hand = (solid == 0).reshape(-1)
    return Picture(light, hand, camera, *_labels(on_hand, face, bary, depth, hand, (height, width)))


def _supersample(stage: _Stage, rays: Array, focal_px: float, first: Array, backdrop: Array) -> Array:
    """Mean of the middle ray, counted once, and four rays around it."""
    total = first.copy()
    for du, dv in ((-0.3, -0.15), (0.15, -0.3), (0.3, 0.15), (-0.15, 0.3)):
        moved = rays + np.array([du / focal_px, dv / focal_px, 0.0], np.float32)
        total += stage.shade(moved, backdrop)[0]
    return total / 5.0


def _labels(
    on_hand: NDArray[np.bool_],
    face: NDArray[np.int32],
    bary: Array,
    depth: Array,
    hand: PosedHand,
    shape: tuple[int, int],
) -> tuple[NDArray[np.uint8], Array, Array]:
    """`part`, `canonical` and `depth` of a `Picture` from what its H * W rays hit first."""
    geometry = synth_hand()
    pixels = np.flatnonzero(on_hand)
    corners = geometry.faces[face[pixels]]
    part = np.zeros(len(face), np.uint8)
    nearest = corners[np.arange(len(pixels)), bary[pixels].argmax(1)]
    part[pixels] = geometry.part_of_vertex[nearest] + 1
    canonical = np.zeros((len(face), 3), np.float32)
    canonical[pixels] = np.einsum("kvc,kv->kc", geometry.template[corners], bary[pixels])
    relative = np.zeros(len(face), np.float32)
    relative[pixels] = depth[pixels] - hand.keypoints[0, 2]
    return part.reshape(shape), canonical.reshape(*shape, 3), relative.reshape(shape)


def to_bgr(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB to OpenCV's channel order."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
