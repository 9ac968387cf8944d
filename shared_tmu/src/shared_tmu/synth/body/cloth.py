"""Cloth: its pattern, and the noise that patterns are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.rig import smoothstep as _smoothstep

Array = NDArray[np.float32]
LATTICE = 32


def smoothstep(x: Array, low: float, high: float) -> Array:
    """`rig.smoothstep` in single precision."""
    return _smoothstep(x.astype(np.float64), low, high).astype(np.float32)


@lru_cache(maxsize=1)
def _lattice() -> Array:
    return np.random.default_rng(11).uniform(-1.0, 1.0, (LATTICE**3, 3)).astype(np.float32)


def vector_noise(points: Array, cell_m: float, shift: float = 0.0, channels: int = 3) -> Array:
    """Smooth noise in -1..1 with cells of `cell_m`, `[K, 3]` metres -> `[K, channels]`, three at most."""
    at = points / np.float32(cell_m) + np.float32(200.0 + shift)
    low = at.astype(np.int32)  # all positive: people are smaller than 200 cells
    t = at - low
    near, far = 1.0 - t, t
    low %= LATTICE
    high = (low + 1) % LATTICE
    lattice = _lattice()[:, :channels]
    out = np.zeros((len(points), channels), np.float32)
    for ix, wx in ((low[:, 0], near[:, 0]), (high[:, 0], far[:, 0])):
        for iy, wy in ((low[:, 1], near[:, 1]), (high[:, 1], far[:, 1])):
            row, weight = (ix * LATTICE + iy) * LATTICE, wx * wy
            for iz, wz in ((low[:, 2], near[:, 2]), (high[:, 2], far[:, 2])):
                out += lattice[row + iz] * (weight * wz)[:, None]
    return out


def value_noise(points: Array, cell_m: float, shift: float = 0.0) -> Array:
    """The same with one channel, `[K]`."""
    return vector_noise(points, cell_m, shift, 1)[:, 0]


@dataclass(frozen=True)
class Cloth:
    """A fabric.

    Attributes:
        colors: two linear RGB colours, `[2, 3]`.
        pattern: 0 plain, 1 stripes across, 2 stripes down, 3 checks, 4 blotches.
        period_m: period of the pattern.
        wrinkles: how uneven it shades, 0..1.
        gloss: strength of its highlight.
    """

    colors: Array
    pattern: int
    period_m: float
    wrinkles: float
    gloss: float

    def albedo(self, points: Array) -> Array:
        """Colour at places of the rest pose, `[K, 3]` metres -> linear RGB `[K, 3]`."""
        x, y, z = (points[:, i] / self.period_m for i in range(3))
        if self.pattern == 1:
            mix = (np.sin(2 * np.pi * y) > 0).astype(np.float32)
        elif self.pattern == 2:
            mix = (np.sin(2 * np.pi * (x + 0.5 * z)) > 0).astype(np.float32)
        elif self.pattern == 3:
            mix = 0.5 * (np.sin(2 * np.pi * y) > 0.3) + 0.5 * (np.sin(2 * np.pi * (x + 0.5 * z)) > 0.3)
        elif self.pattern == 4:
            mix = np.clip(0.5 + 2.0 * value_noise(points, 2.0 * self.period_m), 0.0, 1.0)
        else:
            mix = np.zeros(len(points), np.float32)
        color = self.colors[0] + mix[:, None] * (self.colors[1] - self.colors[0])
        return np.asarray(color * (1.0 + 0.10 * value_noise(points, 0.035))[:, None], np.float32)


def sample_cloth(rng: np.random.Generator) -> Cloth:
    """Any fabric; plain ones are most common."""
    tint = rng.beta(0.9, 1.6, (2, 3)) ** 1.3
    gray = tint.mean(1, keepdims=True)
    colors = np.clip(gray + rng.uniform(0.1, 1.0, (2, 1)) * (tint - gray), 0.008, 0.9).astype(np.float32)
    pattern = int(rng.choice(5, p=[0.58, 0.13, 0.08, 0.09, 0.12]))
    period = float(np.exp(rng.uniform(np.log(0.02), np.log(0.12))))
    return Cloth(colors, pattern, period, float(rng.uniform(0.2, 1.0)), float(rng.uniform(0.05, 0.6)))
