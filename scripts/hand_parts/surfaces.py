"""Nearest points on a hand's surface: of the same finger, and facing the same way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Faces = NDArray[np.int64]
FINGERS = ((1, 2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12), (13, 14, 15))
NORMAL_M = 0.008  # a point that faces the other way is as far as one at twice this distance
FINGER_M = 0.012  # likewise one on another finger
NEAREST = 6  # faces around the nearest sample that are tried


def normals_of(vertices: Array, faces: Faces) -> Array:
    """Unit normals of vertices `[V, 3]`, `[V, 3]`."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, faces[:, k], np.cross(b - a, c - a))
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12))


def finger_shares(weights: Array) -> Array:
    """How much of each vertex belongs to each finger, from skinning weights `[V, 16]`, `[V, 5]`."""
    return np.stack([weights[:, list(joints)].sum(1) for joints in FINGERS], axis=1)


@dataclass(frozen=True)
class Places:
    """Points on a surface.

    Attributes:
        face: `[K]`.
        bary: weights of its corners, `[K, 3]`.
    """

    face: NDArray[np.int64]
    bary: Array

    def on(self, values: Array, faces: Faces) -> Array:
        """Values of the vertices `[V, ...]` there, `[K, ...]`."""
        return np.asarray(np.einsum("kv,kv...->k...", self.bary, values[faces[self.face]]))


class Surface:
    """A surface that answers where its nearest points are.

    Args:
        vertices: `[V, 3]` metres.
        faces: `[F, 3]`.
        fingers: see `finger_shares`, `[V, 5]`.
        density: samples along each edge of a face, among which the nearest is looked for first.
    """

    def __init__(self, vertices: Array, faces: Faces, fingers: Array, density: int = 5) -> None:
        self.vertices, self.faces, self.fingers = vertices, faces, fingers
        self.normals = normals_of(vertices, faces)
        self.samples = _samples(len(faces), density)
        own = (self.samples.on(values, faces) for values in (vertices, self.normals, self.fingers))
        self.tree = cKDTree(_features(*own))

    def nearest(self, points: Array, normals: Array, fingers: Array) -> Places:
        """The nearest places to points `[K, 3]` with normals `[K, 3]` and shares of fingers `[K, 5]`."""
        _, found = self.tree.query(_features(points, normals, fingers), NEAREST)
        best = np.full(len(points), np.inf)
        face, bary = np.zeros(len(points), np.int64), np.zeros((len(points), 3))
        for column in found.T:
            tried = self.samples.face[column]
            corner = self.vertices[self.faces[tried]]
            where = closest_in_triangles(points, corner)
            away = np.linalg.norm(np.einsum("kv,kvc->kc", where, corner) - points, axis=1)
            nearer = away < best
            best[nearer], face[nearer], bary[nearer] = away[nearer], tried[nearer], where[nearer]
        return Places(face, bary)

    def distance(self, points: Array, normals: Array, fingers: Array) -> Array:
        """Distance of points from the surface, `[K]` metres; see `nearest`."""
        places = self.nearest(points, normals, fingers)
        return np.asarray(np.linalg.norm(places.on(self.vertices, self.faces) - points, axis=1))


def _features(points: Array, normals: Array, fingers: Array) -> Array:
    return np.concatenate([points, NORMAL_M * normals, FINGER_M * fingers], axis=1)


def _samples(faces: int, density: int) -> Places:
    """A lattice of points on every face."""
    steps = (np.arange(density) + 1 / 3) / density
    u, v = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    inside = u + v < 1.0
    bary = np.stack([1.0 - u - v, u, v], axis=1)[inside]
    return Places(np.repeat(np.arange(faces), len(bary)), np.tile(bary, (faces, 1)))


def closest_in_triangles(points: Array, corners: Array) -> Array:
    """Barycentric weights `[K, 3]` of the points nearest to `points` `[K, 3]` in triangles `[K, 3, 3]`."""
    first, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    to = points - first
    aa, bb, cc = (np.einsum("kc,kc->k", x, y) for x, y in ((ab, ab), (ab, ac), (ac, ac)))
    pb, pc = np.einsum("kc,kc->k", to, ab), np.einsum("kc,kc->k", to, ac)
    area = np.maximum(aa * cc - bb * bb, 1e-18)
    v, w = (cc * pb - bb * pc) / area, (aa * pc - bb * pb) / area
    best = np.stack([1.0 - v - w, v, w], axis=1)
    outside = (best < 0).any(1)
    nearest = np.full(len(points), np.inf)
    out = np.where(outside[:, None], 0.0, best)
    for i, j in ((0, 1), (1, 2), (2, 0)):  # outside: the nearest point of an edge
        edge = corners[:, j] - corners[:, i]
        length = np.maximum(np.einsum("kc,kc->k", edge, edge), 1e-18)
        t = np.clip(np.einsum("kc,kc->k", points - corners[:, i], edge) / length, 0.0, 1.0)
        away = np.linalg.norm(corners[:, i] + t[:, None] * edge - points, axis=1)
        better = np.flatnonzero(outside & (away < nearest))
        nearest[better] = away[better]
        out[better] = 0.0
        out[better, i], out[better, j] = 1.0 - t[better], t[better]
    return out
