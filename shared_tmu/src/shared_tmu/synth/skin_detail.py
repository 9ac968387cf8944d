"""Skin close by: relief of wrinkles, veins and pores, redness, spots, dirt, drawings; and gloves over it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.anatomy import DORSAL, FINGERS, HAND
from shared_tmu.synth.hand import synth_hand, vertex_normals
from shared_tmu.synth.skin import CELLS, _cell_points, _value_noise, skin_texture

Array = NDArray[np.float32]
Faces = NDArray[np.int32]
RELIEF = ("wrinkles", "veins", "pores")
DEPTH_M = (0.00030, 0.00045, 0.00004)  # of full relief


@dataclass(frozen=True)
class SkinDetail:
    """What each cell of each face is like, see `skin.SkinTexture`.

    Attributes:
        slopes: how the heights of `RELIEF` in metres change over the face's two edges, `[F, CELLS^2, 3, 2]`.
        red: 0..1 at knuckles, fingertips and the heel of the hand, `[F, CELLS^2]`.
        vein: 0..1, `[F, CELLS^2]`.
        spots: smooth noise of two scales whose peaks are freckles and stains, -1..1, `[F, CELLS^2, 2]`.
        fingertip: 1 beyond the fingers' middle joints, `[V]`.
    """

    slopes: Array
    red: Array
    vein: Array
    spots: Array
    fingertip: Array

    def cells(self, bary: Array) -> NDArray[np.int32]:
        """Which cell weights `[K, 3]` fall into, `[K]`."""
        u = np.minimum((bary[:, 1] * CELLS).astype(np.int32), CELLS - 1)
        v = np.minimum((bary[:, 2] * CELLS).astype(np.int32), CELLS - 1)
        return np.asarray(u * CELLS + v)

    def tilt(self, face: Faces, cell: NDArray[np.int32], edges: Array, strength: Array) -> Array:
        """How relief turns unit normals.

        Args:
            face: which face each point lies on, `[K]`.
            cell: which of its cells, `[K]`.
            edges: from a face's first corner to the two others, now, `[F, 2, 3]` metres.
            strength: strength of each of `RELIEF`, 1 is usual, `[3]`.

        Returns:
            What is to be added to the normals, `[K, 3]`.
        """
        slope = np.einsum("kri,r->ki", self.slopes[face, cell], strength)
        first, second = edges[face, 0], edges[face, 1]
        a, b, c = (
            np.einsum("kc,kc->k", x, y) for x, y in ((first, first), (first, second), (second, second))
        )
        area = np.maximum(a * c - b * b, 1e-14)
        along_first = (c * slope[:, 0] - b * slope[:, 1]) / area
        along_second = (a * slope[:, 1] - b * slope[:, 0]) / area
        out = -(along_first[:, None] * first + along_second[:, None] * second)
        return np.asarray(np.clip(out, -0.6, 0.6), np.float32)


def _veins(points: Array, normals: Array, rng: np.random.Generator) -> Array:
    """Branching ridges on the back of the hand that run towards the fingers."""
    stretched = points * np.array([0.4, 1.0, 1.0], np.float32)
    bent = stretched + 0.006 * _value_noise(points, 0.02, rng)[..., None]
    ridge = 1.0 - np.abs(_value_noise(bent, 0.011, rng)) / 0.16
    facing = np.clip(1.6 * (normals @ DORSAL) - 0.3, 0.0, 1.0)
    away = np.min([np.linalg.norm(points - HAND[n].points[1], axis=-1) for n in FINGERS], axis=0)
    return np.asarray(np.clip(ridge, 0, 1) * facing * np.clip((away - 0.012) / 0.012, 0, 1), np.float32)


def _redness(points: Array) -> Array:
    """Near joints, at fingertips and at the heel of the hand."""
    out = np.zeros(points.shape[:-1], np.float32)
    for name in FINGERS:
        finger = HAND[name]
        for k, point in enumerate(finger.points):
            reach = (1.3 if k == 3 else 1.0) * finger.radii[min(k, 3)]
            away = np.linalg.norm(points - point, axis=-1) / reach
            out = np.maximum(out, np.exp(-(away**2) * 0.8))
    return out


@lru_cache(maxsize=1)
def skin_detail() -> SkinDetail:
    """The hand's detail, computed once per process from the rest pose."""
    hand = synth_hand()
    points = _cell_points(hand.template, hand.faces)
    normals = _cell_points(vertex_normals(hand.template, hand.faces), hand.faces)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    rng = np.random.default_rng(29)
    texture = skin_texture()
    vein = _veins(points, normals, rng)
    lines = _value_noise(points * np.array([1.0, 0.35, 0.35], np.float32), 0.0011, rng)
    wrinkles = -texture.crease - 0.25 * np.clip(lines, 0, 1) * (1.0 - texture.palm) - 0.1 * np.abs(lines)
    heights = np.stack([wrinkles, vein, _value_noise(points, 0.0009, rng)], -1)
    heights = heights * np.array(DEPTH_M, np.float32) * (1.0 - texture.nail)[..., None]
    sheets = heights.reshape(len(hand.faces), CELLS, CELLS, 3)
    slopes = np.stack([np.gradient(sheets, axis=axis) * CELLS for axis in (1, 2)], -1)
    spots = np.stack([_value_noise(points, cell, rng) for cell in (0.0022, 0.016)], -1)
    beyond = np.isin(hand.part_of_vertex, [2, 3, 5, 6, 8, 9, 11, 12, 15]).astype(np.float32)
    return SkinDetail(
        slopes.reshape(*points.shape[:2], 3, 2).astype(np.float32),
        _redness(points) * (1.0 - texture.nail),
        vein,
        spots,
        beyond,
    )
