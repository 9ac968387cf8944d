"""The appearance of solids: skin, cloth, and other materials."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.paint import Paint, Painter
from shared_tmu.synth.textures import SIDE, any_map, color_table, photo_color

Array = NDArray[np.float32]
Faces = NDArray[np.int32]


class Planar:
    """A gray map laid over space along two axes.

    Args:
        rng: the only source of randomness.
        gray: the map, 0..255.
        first: its first axis, `[3]`; the second is a random one perpendicular to it.
        cells_per_m: its resolution.
    """

    def __init__(
        self, rng: np.random.Generator, gray: NDArray[np.uint8], first: Array, cells_per_m: float
    ) -> None:
        second = np.cross(first, rng.normal(0, 1, 3))
        second /= np.linalg.norm(second)
        third = np.cross(first, second)
        self.axes = np.stack([first, second + 0.6 * third], axis=1).astype(np.float32)
        self.gray, self.cells = gray, np.float32(cells_per_m)

    def __call__(self, points: Array) -> NDArray[np.uint8]:
        """Gray values at `[K, 3]` metres, `[K]`."""
        at = (points @ self.axes * self.cells + 1e4).astype(np.int32) % SIDE
        return np.asarray(self.gray[at[:, 0], at[:, 1]])

    def tilt(self, points: Array) -> Array:
        """How a bumpy surface of this height turns its normals, about 1 at steep places, `[K, 3]`."""
        at = (points @ self.axes * self.cells + 1e4).astype(np.int32)
        step = 3

        def height(rows: Array, columns: Array) -> Array:
            return np.asarray(self.gray[rows % SIDE, columns % SIDE], np.float32)

        down = height(at[:, 0] + step, at[:, 1]) - height(at[:, 0] - step, at[:, 1])
        right = height(at[:, 0], at[:, 1] + step) - height(at[:, 0], at[:, 1] - step)
        return np.asarray((np.stack([down, right], 1) / -90.0) @ self.axes.T, np.float32)


def arm_skin(rng: np.random.Generator, tone: Array) -> Painter:
    """Skin without a texture of its own: forearms."""
    spots = Planar(rng, any_map(rng, "cloud"), rng.normal(0, 0.6, 3).astype(np.float32), 4000.0)
    strength = np.float32(rng.uniform(0.1, 0.35))

    def paint(points: Array, face: Faces, bary: Array) -> Paint:
        rough = spots(points)[:, None] / np.float32(255) - 0.5
        albedo = tone * (1.0 + strength * rough * np.array([0.7, 1.0, 1.1], np.float32))
        gloss = np.full(len(points), 0.35, np.float32)
        return Paint(np.clip(albedo, 0.004, 0.95), gloss, None, np.ones(len(points), bool))

    return paint


def cloth(rng: np.random.Generator, along: Array) -> Painter:
    """Sleeves: a fabric with folds and a weave or pattern; `along` is the arm's direction, `[3]`."""
    base = photo_color(rng, 0.25)
    plain = rng.random() < 0.6
    table = base * np.linspace(0.75, 1.1, 256)[:, None] if plain else color_table(rng, 2)
    kinds = ("weave", "knit", "cloud") if plain else ("plaid", "plaid", "leaves", "pieces")
    pattern = Planar(rng, any_map(rng, *kinds), along, float(np.exp(rng.uniform(7.0, 8.2))))
    folds = Planar(rng, any_map(rng, "folds"), along, float(np.exp(rng.uniform(6.9, 8.0))))
    strength, shine = np.float32(rng.uniform(0.3, 1.1)), np.float32(rng.uniform(0.05, 0.4))

    def paint(points: Array, face: Faces, bary: Array) -> Paint:
        albedo = table.astype(np.float32)[pattern(points)] * (0.7 + 0.3 / 255 * folds(points)[:, None])
        gloss = np.full(len(points), shine, np.float32)
        return Paint(albedo, gloss, strength * folds.tilt(points), np.zeros(len(points), bool))

    return paint


def material(rng: np.random.Generator, along: Array, middle: Array) -> Painter:
    """Materials of objects: plastic, metal, wood, paper, glazed or printed; `along` is the long axis."""
    kind = rng.random()
    base = photo_color(rng, 0.25)
    if kind < 0.35:  # one colour
        table = np.repeat(base[None], 256, axis=0)
    elif kind < 0.5:  # dark or bright gray, as most devices and metals are
        table = np.repeat(np.full((1, 3), rng.choice([0.015, 0.03, 0.3, 0.6, 0.8])), 256, axis=0)
    else:
        table = color_table(rng, int(rng.integers(2, 5)))
    gray = any_map(rng, "wood", "marble", "cloud", "pieces", "print", "plaid", "pebbles", "weave")
    pattern = Planar(rng, gray, along, float(np.exp(rng.uniform(6.5, 8.3))))
    shine = np.float32(np.exp(rng.uniform(np.log(0.1), np.log(12.0))))
    banded = rng.random() < 0.25
    edges = np.sort(rng.uniform(-0.08, 0.08, 4))
    bands = np.stack([photo_color(rng) for _ in range(5)])

    def paint(points: Array, face: Faces, bary: Array) -> Paint:
        albedo = table.astype(np.float32)[pattern(points)]
        if banded:
            band = np.searchsorted(edges, (points - middle) @ along)
            albedo = np.where((band % 2 > 0)[:, None], bands[band], albedo)
        return Paint(albedo, np.full(len(points), shine, np.float32), None, np.zeros(len(points), bool))

    return paint
