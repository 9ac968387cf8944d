"""Building blocks of a surface given as a signed distance: lofts, ellipsoids, cones, and their unions.

Distances are approximate away from the surface; only their zero set and their sign matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from shared_tmu.synth.implicit import smooth_min

Array = NDArray[np.float64]
FAR = 1.0  # metres; what a union starts from
SAMPLES = 512


class Shape(Protocol):
    """Anything with a signed distance and a box around it."""

    low: Array
    high: Array

    def distance(self, points: Array) -> Array:
        """Signed distance, negative inside, `[K, 3]` -> `[K]` metres."""
        ...


class Loft:
    """Ellipse-like sections along one axis of space, interpolated smoothly.

    Args:
        axis: 0, 1 or 2, the axis along which the sections follow each other.
        table: one row per section: place on the axis; centre on the two other axes, in their order; reach
            from the centre to the positive and negative side of the first of them, then of the second.
            `[K, 7]` metres, places rising.
        power: 2 is an ellipse, more is boxier.
    """

    def __init__(self, axis: int, table: Sequence[Sequence[float]], power: float = 2.2) -> None:
        rows = np.array(table, dtype=np.float64)
        self.axis, self.others = axis, [a for a in range(3) if a != axis]
        self.power = power
        self.places = np.linspace(rows[0, 0], rows[-1, 0], SAMPLES)
        self.columns = PchipInterpolator(rows[:, 0], rows[:, 1:])(self.places).T.copy()  # [6, SAMPLES]
        u, v, u_pos, u_neg, v_pos, v_neg = self.columns
        self.low, self.high = np.empty(3), np.empty(3)
        self.low[axis], self.high[axis] = rows[0, 0], rows[-1, 0]
        self.low[self.others] = (u - u_neg).min(), (v - v_neg).min()
        self.high[self.others] = (u + u_pos).max(), (v + v_pos).max()

    def distance(self, points: Array) -> Array:
        """Signed distance, `[K, 3]` -> `[K]` metres."""
        at = points[:, self.axis]
        inside = np.clip(at, self.places[0], self.places[-1])
        u0, v0, u_pos, u_neg, v_pos, v_neg = (np.interp(inside, self.places, c) for c in self.columns)
        u, v = points[:, self.others[0]] - u0, points[:, self.others[1]] - v0
        a, b = np.where(u > 0, u_pos, u_neg), np.where(v > 0, v_pos, v_neg)
        share = (np.abs(u / a) ** self.power + np.abs(v / b) ** self.power) ** (1.0 / self.power)
        radius = np.hypot(u, v)
        side = np.where(share > 1e-3, radius - radius / np.maximum(share, 1e-3), -np.minimum(a, b))
        beyond = np.abs(at - inside)
        return np.where(beyond > 0, np.hypot(np.maximum(side, 0.0), beyond), side)


class Ellipsoid:
    """An ellipsoid, optionally turned.

    Args:
        centre: `[3]` metres.
        radii: `[3]` metres.
        turn: rotation matrix from its own axes to space, `[3, 3]`.
    """

    def __init__(self, centre: ArrayLike, radii: ArrayLike, turn: Array | None = None) -> None:
        self.centre, self.radii = np.array(centre, float), np.array(radii, float)
        self.turn = np.eye(3) if turn is None else turn
        reach = np.abs(self.turn) @ self.radii
        self.low, self.high = self.centre - reach, self.centre + reach

    def distance(self, points: Array) -> Array:
        """Signed distance, `[K, 3]` -> `[K]` metres."""
        scaled = (points - self.centre) @ self.turn / self.radii
        length = np.sqrt(np.einsum("kc,kc->k", scaled, scaled))
        scaled /= self.radii
        slope = np.sqrt(np.einsum("kc,kc->k", scaled, scaled))
        return np.where(length > 1e-3, length * (length - 1.0) / np.maximum(slope, 1e-9), -self.radii.min())


class Cone:
    """A capsule whose radius changes evenly along it.

    Args:
        start: `[3]` metres.
        end: `[3]` metres.
        radius_start: metres.
        radius_end: metres.
    """

    def __init__(self, start: ArrayLike, end: ArrayLike, radius_start: float, radius_end: float) -> None:
        self.start, self.step = np.array(start, float), np.array(end, float) - np.array(start, float)
        self.radii = (radius_start, radius_end)
        reach = max(self.radii)
        ends = np.stack([self.start, self.start + self.step])
        self.low, self.high = ends.min(0) - reach, ends.max(0) + reach

    def distance(self, points: Array) -> Array:
        """Signed distance, `[K, 3]` -> `[K]` metres."""
        local = points - self.start
        along = np.clip(local @ self.step / (self.step @ self.step), 0.0, 1.0)
        gap = local - along[:, None] * self.step
        radius = self.radii[0] + (self.radii[1] - self.radii[0]) * along
        return np.asarray(np.sqrt(np.einsum("kc,kc->k", gap, gap)) - radius)


@dataclass(frozen=True)
class Part:
    """A shape and how it joins what comes before it.

    Attributes:
        shape: what is added, or carved away.
        blend: width over which the joint is rounded, metres.
        carve: whether the shape is taken away.
    """

    shape: Shape
    blend: float
    carve: bool = False


def smooth_max(first: Array, second: Array, width: float) -> Array:
    """Intersection of two distances, rounded over `width` metres."""
    return -smooth_min(-first, -second, width)


def combine(points: Array, parts: Sequence[Part], start: Array | None = None) -> Array:
    """Signed distance to parts joined one after another, `[K, 3]` -> `[K]` metres.

    Args:
        points: `[K, 3]` metres.
        parts: in the sequence in which they are added or carved.
        start: distance to what is there before the first, `[K]`; nothing by default.
    """
    out = np.full(len(points), FAR) if start is None else start.copy()
    for part in parts:
        reach = 2.0 * part.blend + 0.01
        near = ((points > part.shape.low - reach) & (points < part.shape.high + reach)).all(1)
        if not part.carve:  # a distance is wanted everywhere that is not yet close to something
            near |= out > 0.9 * FAR
        if not near.any():
            continue
        value = part.shape.distance(points[near])
        out[near] = (
            smooth_max(out[near], -value, part.blend)
            if part.carve
            else smooth_min(out[near], value, part.blend)
        )
    return out
