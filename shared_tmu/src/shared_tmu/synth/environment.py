"""Light from all directions: procedural environment maps, as diffuse light, reflections and one main
source."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.synth.skin import sample_tone
from shared_tmu.synth.textures import any_map

Array = NDArray[np.float32]
ROWS, COLUMNS = 16, 32  # of a map: from above to below, all around
KINDS = ("sun", "overcast", "window", "lamps", "flash", "night", "studio", "behind")
CHANCES = (0.20, 0.13, 0.22, 0.15, 0.06, 0.05, 0.09, 0.10)
WRAP = np.array([0.42, 0.20, 0.13], np.float32)  # skin scatters red light furthest beyond the shadow edge


def basis(normal: Array) -> Array:
    """Nine spherical harmonics at unit directions, `[K, 3]` -> `[K, 9]`."""
    x, y, z = normal[:, 0], normal[:, 1], normal[:, 2]
    one = np.full_like(x, 0.282095)
    linear = (0.488603 * y, 0.488603 * z, 0.488603 * x)
    square = (
        1.092548 * x * y, 1.092548 * y * z, 0.315392 * (3.0 * z * z - 1.0), 1.092548 * x * z,
        0.546274 * (x * x - y * y),
    )  # fmt: skip
    return np.asarray(np.stack([one, *linear, *square], axis=1), np.float32)


@lru_cache(maxsize=1)
def _sphere() -> tuple[Array, Array, Array]:
    """Directions of a map's cells with y up `[N, 3]`, their solid angles `[N]`, harmonics `[N, 9]`."""
    polar = (np.arange(ROWS) + 0.5) * np.pi / ROWS
    around = (np.arange(COLUMNS) + 0.5) * 2 * np.pi / COLUMNS
    p, a = (grid.ravel() for grid in np.meshgrid(polar, around, indexing="ij"))
    directions = np.stack([np.sin(p) * np.cos(a), np.cos(p), np.sin(p) * np.sin(a)], 1).astype(np.float32)
    solid = (np.sin(p) * (np.pi / ROWS) * (2 * np.pi / COLUMNS)).astype(np.float32)
    return directions, solid, basis(directions)


def _kelvin(warmth: float) -> Array:
    """Tint of a light: 1 is warm like a candle, -1 is blue like the sky."""
    return np.asarray(np.exp(warmth * np.array([0.32, 0.0, -0.45])), np.float32)


def _lobe(directions: Array, towards: Array, width: float) -> Array:
    """A soft patch of light around a direction, 1 in its middle, `[N]`."""
    return np.asarray(np.exp((directions @ towards - 1.0) / (width * width)))


class Environment:
    """Skin colour and light of one picture, for varied pictures.

    Attributes:
        tone: skin, linear RGB `[3]`.
        key: unit direction towards the sharpest source, camera frame, `[3]`.
        key_color: what it gives a surface that faces it, `[3]`.
        spread: how wide it is seen, as a tangent.
        kind: one of `KINDS`.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.tone = sample_tone(rng)
        self.kind = str(rng.choice(KINDS, p=CHANCES))
        tilt = Rotation.from_euler("zx", [rng.normal(0, 9), rng.normal(-12, 22)], degrees=True)
        down = Rotation.from_euler("x", 180, degrees=True)  # y up, towards the viewer -> y down, away
        self.to_camera = (tilt * down).as_matrix().astype(np.float32)
        light, self.spread = self._map(rng)
        _, solid, harmonics = _sphere()
        self.map = light.astype(np.float32)  # [N, 3]
        band = np.repeat([np.pi, 2 * np.pi / 3, np.pi / 4], [1, 3, 5])[:, None] / np.pi
        self.harmonics = (band * (harmonics.T @ (self.map * solid[:, None]))).astype(np.float32)
        self.gloss = float(np.exp(rng.uniform(np.log(0.015), np.log(0.35))))
        self.sharpness = float(np.exp(rng.uniform(np.log(6.0), np.log(70.0))))
        self.wrap = WRAP * float(rng.uniform(0.5, 1.3))
        self.gobo = self._sample_gobo(rng)
        self._balance(rng)

    def _map(self, rng: np.random.Generator) -> tuple[Array, float]:
        """Radiance of every cell but the sharpest source, which is stored apart; and that one's spread."""
        directions, _, _ = _sphere()
        up = directions[:, 1]
        high = np.clip(up, 0.0, 1.0)[:, None]
        angle = rng.uniform(0, 2 * np.pi)
        elevation = np.radians(rng.uniform(12, 80))
        side = np.array([np.cos(angle), 0.0, np.sin(angle)])
        source = np.cos(elevation) * side + np.array([0.0, np.sin(elevation), 0.0])
        ground = rng.uniform(0.08, 0.5) * _kelvin(rng.normal(0.35, 0.3))
        kind = self.kind
        outside = kind in ("sun", "overcast", "behind")
        if outside:
            warmth = rng.normal(-0.35, 0.3) if kind != "overcast" else rng.normal(-0.1, 0.15)
            sky = _kelvin(warmth) * rng.uniform(0.35, 1.0)
            light = np.where(up[:, None] > 0, sky * (0.6 + 0.6 * high), ground * (0.5 + 0.3 * high))
            light = light * (1.0 + rng.uniform(0, 0.8) * (directions @ side)[:, None])
        else:
            walls = rng.uniform(0.06, 0.35) * _kelvin(rng.normal(0.25, 0.3))
            light = np.tile(walls, (len(up), 1)) * (1.0 + 0.5 * up[:, None])
            light = light * (1.0 + rng.uniform(0, 0.7) * (directions @ side)[:, None])
        strength, warmth, spread = {
            "sun": (rng.uniform(1.2, 3.2), rng.normal(0.15, 0.12), 0.02),
            "overcast": (rng.uniform(0.1, 0.5), 0.0, 0.7),
            "window": (rng.uniform(0.6, 2.0), rng.normal(-0.15, 0.2), rng.uniform(0.12, 0.45)),
            "lamps": (rng.uniform(0.5, 1.5), rng.normal(0.55, 0.3), rng.uniform(0.05, 0.25)),
            "flash": (rng.uniform(0.8, 2.0), rng.normal(0.0, 0.1), 0.02),
            "night": (rng.uniform(0.3, 1.5), rng.normal(0.7, 0.5), rng.uniform(0.05, 0.3)),
            "studio": (rng.uniform(0.6, 1.6), rng.normal(0.0, 0.1), rng.uniform(0.2, 0.6)),
            "behind": (rng.uniform(1.0, 2.6), rng.normal(0.2, 0.2), rng.uniform(0.02, 0.2)),
        }[kind]
        self.key = self.to_camera @ source.astype(np.float32)
        if kind == "flash":
            self.key = np.array([rng.normal(0, 0.12), -0.1, -1.0], np.float32)
        if kind == "behind":
            self.key = np.array(
                [rng.normal(0, 0.8), -abs(rng.normal(0.6, 0.4)), rng.uniform(0.3, 1.0)], np.float32
            )
        elif self.key[2] > 0.35 and rng.random() < 0.7:
            self.key[2] *= -1.0  # in photographs most lights are behind the camera
        self.key = (self.key / np.linalg.norm(self.key)).astype(np.float32)
        self.key_color = (strength * _kelvin(warmth)).astype(np.float32)
        level = rng.uniform(0.15, 0.5) if kind in ("night", "flash") else 1.0
        return level * (light + self._fills(rng, directions)), float(spread)

    def _fills(self, rng: np.random.Generator, directions: Array) -> NDArray[np.float64]:
        """Further lamps, windows and lit walls, `[N, 3]`."""
        out = np.zeros((len(directions), 3))
        for _ in range(int(rng.integers(0, 4))):
            towards = rng.normal(0, 1, 3) + np.array([0, 0.5, 0])
            towards /= np.linalg.norm(towards)
            width, strength = rng.uniform(0.15, 0.6), rng.uniform(0.2, 1.0)
            color = strength / (0.3 + 2.0 * width) * _kelvin(rng.normal(0.1, 0.45))
            out += _lobe(directions, towards, width)[:, None] * color
        return out

    def _sample_gobo(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Array, float] | None:
        """Shadows of leaves and frames that are out of the picture: map, its axes, cells per metre."""
        if self.spread > 0.2 or rng.random() > 0.14:
            return None
        gray = any_map(rng, "pieces", "leaves", "cloud", "cloud", "bricks")
        first = np.cross(self.key, rng.normal(0, 1, 3))
        first /= np.linalg.norm(first)
        axes = np.stack([first, np.cross(self.key, first)], 1).astype(np.float32)
        return (gray > rng.integers(70, 150)).astype(np.uint8), axes, float(np.exp(rng.uniform(6.0, 7.6)))

    def _balance(self, rng: np.random.Generator) -> None:
        """A camera's white balance removes most of a tint, but rarely all of it."""
        white = self.harmonics[0] * 0.282095 + 0.4 * self.key_color
        gain = (white.mean() / white) ** rng.uniform(0.4, 1.0)
        self.map = self.map * gain.astype(np.float32)
        self.harmonics = self.harmonics * gain.astype(np.float32)
        self.key_color = (self.key_color * gain).astype(np.float32)

    @property
    def up(self) -> Array:
        """The direction against gravity in the camera frame, `[3]`."""
        return np.asarray(self.to_camera[:, 1])

    def irradiance(self, normal: Array) -> Array:
        """Diffuse light from all but the key, unit normals `[K, 3]` -> linear RGB `[K, 3]`."""
        local = normal @ self.to_camera  # the inverse of an orthonormal matrix is its transpose
        return np.clip(basis(local) @ self.harmonics, 0.004, None)

    def reflected(self, directions: Array) -> Array:
        """Reflected light from unit directions in the camera frame `[K, 3]`; linear RGB `[K, 3]`."""
        local = directions @ self.to_camera
        row = np.clip(np.arccos(np.clip(local[:, 1], -1, 1)) * (ROWS / np.pi), 0, ROWS - 1).astype(np.int32)
        turn = np.arctan2(local[:, 2], local[:, 0]) * (COLUMNS / (2 * np.pi))
        return np.asarray(self.map[row * COLUMNS + turn.astype(np.int32) % COLUMNS])

    def key_share(self, points: Array) -> Array:
        """Share of the key that unseen objects let through to points in metres, `[K, 3]` -> `[K]`."""
        if self.gobo is None:
            return np.ones(len(points), np.float32)
        mask, axes, cells = self.gobo
        at = (points @ axes * cells + 1e4).astype(np.int32) % len(mask)
        return np.asarray(0.15 + 0.85 * mask[at[:, 1], at[:, 0]], np.float32)

    def shade(
        self, normal: Array, view: Array, lit: Array, open_share: Array, albedo: Array, gloss: Array,
        flesh: NDArray[np.bool_],
    ) -> Array:  # fmt: skip
        """Light that leaves K points.

        Args:
            normal: unit normals towards the eye, `[K, 3]`.
            view: unit directions from the eye, `[K, 3]`.
            lit: share of the key that arrives, `[K]`.
            open_share: share of the surroundings that is not hidden by things close by, `[K]`.
            albedo: linear RGB, `[K, 3]`.
            gloss: strength of the highlight, `[K]`.
            flesh: where light scatters below the surface, as in skin, `[K]`.

        Returns:
            Linear RGB, `[K, 3]`.
        """
        facing = (normal @ self.key)[:, None]
        wrap = np.where(flesh[:, None], self.wrap, 0.02 + 0.5 * self.spread)
        direct = np.clip((facing + wrap) / (1.0 + wrap), 0.0, None) ** 1.15
        shadow = lit[:, None] ** np.where(flesh[:, None], np.array([0.75, 1.0, 1.1], np.float32), 1.0)
        # light between fingers was reflected by skin before: shadows there are lighter and redder
        hidden = 1.0 - open_share[:, None]
        ambient = self.irradiance(normal) * (1.0 - hidden * (1.0 - 0.45 * albedo))
        out = albedo * (ambient + direct * shadow * self.key_color)
        across = np.einsum("kc,kc->k", normal, view)
        grazing = 0.04 + 0.5 * np.clip(1.0 + across, 0.0, 1.0) ** 5
        mirrored = view - 2.0 * across[:, None] * normal
        sheen = self.gloss * gloss
        out += (2.0 * sheen * grazing * open_share)[:, None] * self.reflected(mirrored)
        half = self.key - view
        half /= np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-6)
        spark = np.clip(np.einsum("kc,kc->k", normal, half), 0.0, 1.0) ** self.sharpness
        out += (sheen * spark * lit * (facing[:, 0] > 0))[:, None] * self.key_color
        return np.asarray(out, np.float32)
