"""The appearance of skin: a small texture per face (nails, creases, palm, mottling) and skin tones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.anatomy import DORSAL, FINGERS, HAND, from_hand
from shared_tmu.synth.hand import synth_hand, vertex_normals
from shared_tmu.synth.implicit import finger_distance

Array = NDArray[np.float32]
CELLS = 12  # texture cells along each side of a face

# Linear-light RGB of skin from light to dark; our own picks over the range seen in photographs.
TONES = np.array(
    [
        [0.83, 0.60, 0.48],
        [0.74, 0.49, 0.37],
        [0.62, 0.38, 0.26],
        [0.46, 0.26, 0.165],
        [0.29, 0.155, 0.095],
        [0.16, 0.085, 0.055],
    ],
    dtype=np.float32,
)


@dataclass(frozen=True)
class SkinTexture:
    """Looks per face cell.

    Attributes:
        nail, crease, palm: how much of each a cell is, 0..1, `[F, CELLS * CELLS]`.
        mottling: four octaves of noise, -1..1, `[F, CELLS * CELLS, 4]`.
    """

    nail: Array
    crease: Array
    palm: Array
    mottling: Array

    def lookup(self, face: NDArray[np.int32], bary: Array) -> tuple[Array, Array, Array, Array]:
        """Nail, crease, palm `[K]` and mottling `[K, 4]` on faces `[K]` at weights `[K, 3]`."""
        u = np.minimum((bary[:, 1] * CELLS).astype(np.int32), CELLS - 1)
        v = np.minimum((bary[:, 2] * CELLS).astype(np.int32), CELLS - 1)
        cell = u * CELLS + v
        at = (face, cell)
        return self.nail[at], self.crease[at], self.palm[at], self.mottling[at]


def _cell_points(values: Array, faces: NDArray[np.int32]) -> Array:
    """Vertex values at the cell centres of every face, `[V, C]` -> `[F, CELLS * CELLS, C]`."""
    middles = (np.arange(CELLS) + 0.5) / CELLS
    u, v = np.meshgrid(middles, middles, indexing="ij")
    bary = np.stack([1 - u.ravel() - v.ravel(), u.ravel(), v.ravel()], axis=1).astype(np.float32)
    return np.asarray(np.einsum("kc,fcd->fkd", bary, values[faces]))


def _value_noise(points: Array, cell_m: float, rng: np.random.Generator) -> Array:
    """Smooth random field of about unit range, cells of `cell_m` metres, `[..., 3]` -> `[...]`."""
    from scipy.ndimage import map_coordinates

    lattice = rng.uniform(-1.0, 1.0, (32, 32, 32))
    coordinates = (points.reshape(-1, 3) / cell_m + 100.0) % 32
    values = map_coordinates(lattice, coordinates.T, order=1, mode="grid-wrap")
    return np.asarray(values.reshape(points.shape[:-1]), np.float32)


def _nails(points: Array, normals: Array) -> Array:
    """Rounded rectangles on the backs of the fingertips."""
    out = np.zeros(points.shape[:-1], np.float32)
    for name in FINGERS:
        finger = HAND[name]
        axis, back = finger.axes[2], -finger.bend
        side = np.cross(axis, back)
        radius = finger.radii[3]
        centre = finger.points[3] - 0.15 * radius * axis
        local = points - centre
        length, width = local @ axis / (1.05 * radius), local @ side / (0.80 * radius)
        inside = 1.0 - (np.abs(length) ** 3 + np.abs(width) ** 3)
        facing = np.clip((normals @ back - 0.15) / 0.3, 0.0, 1.0)
        out = np.maximum(out, np.clip(4.0 * inside, 0.0, 1.0) * facing)
    return out


def _creases(points: Array, normals: Array) -> Array:
    """Lines across the finger joints, strong where they bend, fine on their backs, and three in the palm."""
    out = np.zeros(points.shape[:-1], np.float32)
    for name in FINGERS:
        finger = HAND[name]
        for i in (0, 1, 2):
            axis = finger.axes[max(i - 1, 0)] + finger.axes[i]
            axis /= np.linalg.norm(axis)
            at = finger.points[i] + (0.016 * axis if i == 0 and name != "thumb" else 0.0)
            local = points - at
            near = np.linalg.norm(local, axis=-1) < 1.9 * finger.radii[i]
            along = local @ axis
            front = np.clip(normals @ finger.bend, 0.0, 1.0)
            behind = np.clip(-normals @ finger.bend, 0.0, 1.0)
            line = np.exp(-((along / 0.0009) ** 2)) + 0.6 * np.exp(-(((along - 0.0026) / 0.0007) ** 2))
            wrinkles = np.exp(-((along / 0.004) ** 2)) * (0.5 + 0.5 * np.cos(along / 0.0017 * 2 * np.pi))
            out = np.maximum(out, near * (line * front + (0.55 if i else 0.15) * wrinkles * behind))
    return np.asarray(np.maximum(out, _palm_lines(points, normals)), np.float32)


def _palm_lines(points: Array, normals: Array) -> Array:
    """Three lines through nodes (along the hand, towards the thumb) in mm."""
    facing = np.clip(-(normals @ DORSAL) * 1.5, 0.0, 1.0)
    out = np.zeros(points.shape[:-1], np.float32)
    lines = (
        [(80, 30), (66, 14), (52, -8), (44, -30)],
        [(72, -40), (76, -20), (80, -2), (90, 10)],
        [(78, 32), (62, 20), (42, 12), (22, 9), (10, 6)],
    )
    for line in lines:
        nodes = np.array([from_hand(a, 0, c) for a, c in line])
        for start, end in pairwise(nodes):
            step = (end - start)[[0, 2]]
            local = points[..., [0, 2]] - start[[0, 2]]
            t = np.clip(local @ step / (step @ step), 0.0, 1.0)
            distance = np.linalg.norm(local - t[..., None] * step, axis=-1)
            out = np.maximum(out, np.exp(-((distance / 0.0010) ** 2)))
    return np.asarray(0.8 * out * facing, np.float32)


@lru_cache(maxsize=1)
def skin_texture() -> SkinTexture:
    """The hand's texture, computed once per process from the rest pose."""
    hand = synth_hand()
    points = _cell_points(hand.template, hand.faces)
    normals = _cell_points(vertex_normals(hand.template, hand.faces), hand.faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    rng = np.random.default_rng(7)
    mottling = np.stack([_value_noise(points, cell, rng) for cell in (0.030, 0.012, 0.005, 0.002)], axis=-1)
    bend = _finger_or_palm_bend(points)
    palm = np.clip(0.5 + 1.2 * np.einsum("...c,...c->...", normals, bend), 0.0, 1.0)
    return SkinTexture(_nails(points, normals), _creases(points, normals), palm.astype(np.float32), mottling)


def _finger_or_palm_bend(points: Array) -> Array:
    """The direction the palm side faces at each point: the thumb's own, the palm's elsewhere, `[..., 3]`."""
    flat = points.reshape(-1, 3).astype(np.float64)
    thumb = finger_distance(flat, HAND["thumb"]) < 0.002
    out = np.where(thumb[:, None], HAND["thumb"].bend, -DORSAL)
    return np.asarray(out.reshape(points.shape), np.float32)


def sample_tone(rng: np.random.Generator) -> Array:
    """A skin colour between two neighbouring tones with a little tint of its own, linear RGB `[3]`."""
    place = rng.uniform(0, len(TONES) - 1)
    low = int(place)
    tone = TONES[low] + (place - low) * (TONES[min(low + 1, len(TONES) - 1)] - TONES[low])
    return np.asarray(tone * np.exp(rng.normal(0.0, 0.06, 3)), np.float32)


def skin_albedo(
    rng: np.random.Generator, tone: Array, face: NDArray[np.int32], bary: Array
) -> tuple[Array, Array]:
    """The appearance of skin at K points of the hand.

    Args:
        rng: the only source of randomness.
        tone: linear RGB, `[3]`.
        face: which face each point lies on, `[K]`.
        bary: its barycentric weights there, `[K, 3]`.

    Returns:
        Linear RGB `[K, 3]` and strength of the highlight `[K]`.
    """
    nail, crease, palm, mottling = skin_texture().lookup(face, bary)
    palm_tone = tone + (1.0 - tone) * np.array([0.16, 0.09, 0.08], np.float32) * rng.uniform(0.2, 1.3)
    nail_tone = np.clip(tone * np.array([1.12, 1.08, 1.12], np.float32) + 0.07, 0, 0.95)
    if rng.random() < 0.06:  # painted
        nail_tone = rng.uniform(0.02, 0.9, 3).astype(np.float32)
    strength = rng.normal(0.0, [0.05, 0.05, 0.04, 0.04]) + np.array([0.04, 0.05, 0.05, 0.05])
    redness = mottling @ np.array([0.05, 0.04, 0.02, 0.0], np.float32) * rng.uniform(0.2, 1.6)
    color = tone + palm[:, None] * (palm_tone - tone)
    color = color * (1.0 + (mottling @ strength.astype(np.float32)))[:, None]
    color = color * (1.0 + redness[:, None] * np.array([0.6, -0.8, -0.6], np.float32))
    darkness = rng.uniform(0.15, 0.55) * crease
    color = color * (1.0 - darkness[:, None] * np.array([0.8, 1.0, 1.0], np.float32))
    color = color + nail[:, None] * (nail_tone - color)
    return np.clip(color, 0.005, 1.0).astype(np.float32), (0.3 + 1.5 * nail).astype(np.float32)
