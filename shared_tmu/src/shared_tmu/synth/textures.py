"""Textures from code: gray maps of materials, made once per process, and the muted colours of photographs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Map = NDArray[np.uint8]
SIDE = 512  # of a map, pixels
VARIANTS = 4  # maps per kind


def photo_color(rng: np.random.Generator, brightness: float = 0.18) -> Array:
    """A colour as photographs have them, linear RGB `[3]`: mostly muted and warm, seldom vivid.

    Args:
        rng: the only source of randomness.
        brightness: median of the brightest channel.
    """
    family = rng.random()
    if family < 0.5:
        hue = rng.normal(32.0, 16.0)
    elif family < 0.7:
        hue = rng.normal(215.0, 18.0)
    else:
        hue = rng.normal(95.0, 22.0) if family < 0.85 else rng.uniform(0.0, 360.0)
    saturation = rng.uniform(0.5, 0.97) if rng.random() < 0.13 else rng.beta(1.3, 2.6)
    value = float(np.clip(brightness * np.exp(rng.normal(0.0, 0.85)), 0.006, 0.92))
    ramp = np.abs((hue / 60.0 + np.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0
    return np.asarray(value * (1.0 - saturation * (1.0 - np.clip(ramp, 0.0, 1.0))), np.float32)


def _unit(values: NDArray[np.floating[Any]]) -> Array:
    """Stretched so that all but the extreme hundredths span 0..1."""
    low, high = np.percentile(values, [1, 99])
    return np.asarray(np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0), np.float32)


def _spectral(rng: np.random.Generator, slope: float, stretch: float = 1.0) -> Array:
    """Seamless noise whose amplitude falls with frequency to the power `slope`, stretched along rows."""
    rows, columns = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    frequency = np.maximum(np.hypot(rows / stretch, columns * stretch), 1.0 / SIDE)
    wave = rng.standard_normal((SIDE, SIDE // 2 + 1)) + 1j * rng.standard_normal((SIDE, SIDE // 2 + 1))
    return _unit(np.fft.irfft2(wave * frequency**-slope, s=(SIDE, SIDE)))


def _grid() -> tuple[Array, Array]:
    v, u = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    return u, v


def _cloud(rng: np.random.Generator) -> Array:
    return _spectral(rng, float(rng.uniform(1.0, 2.0)))


def _marble(rng: np.random.Generator) -> Array:
    return np.asarray(1.0 - np.abs(2.0 * _spectral(rng, 1.7) - 1.0) ** 0.6, np.float32)


def _wood(rng: np.random.Generator) -> Array:
    """Grain along the columns' direction, in planks now and then."""
    _, v = _grid()
    grain = _spectral(rng, 1.3, stretch=float(rng.uniform(3.0, 6.0))).T
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (v / rng.uniform(18, 50) + 3.0 * _spectral(rng, 2.0, 3.0).T))
    out = 0.55 * grain + 0.25 * rings + 0.2
    if rng.random() < 0.6:
        plank = (v // 128).astype(int) % 4
        out = out * rng.uniform(0.7, 1.0, 4)[plank] * (1.0 - 0.7 * ((v % 128) < 2))
    return np.asarray(out, np.float32)


def _weave(rng: np.random.Generator) -> Array:
    u, v = _grid()
    period = float(rng.choice([4, 8, 16]))
    over = (np.floor(u / period) + np.floor(v / period)) % 2
    bulge = np.where(over > 0, np.sin(np.pi * (u % period) / period), np.sin(np.pi * (v % period) / period))
    return np.asarray(0.25 + 0.45 * bulge + 0.3 * _spectral(rng, 1.5), np.float32)


def _knit(rng: np.random.Generator) -> Array:
    u, v = _grid()
    period = float(rng.choice([8, 16]))
    slant = np.abs((u % period) / period - 0.5) * period
    loops = 0.5 + 0.5 * np.sin(2 * np.pi * (v + slant) / (0.5 * period))
    return np.asarray(
        0.2 + 0.5 * loops * np.sin(np.pi * (u % period) / period) + 0.3 * _cloud(rng), np.float32
    )


def _folds(rng: np.random.Generator) -> Array:
    soft = _spectral(rng, 2.2, stretch=float(rng.uniform(1.2, 2.2)))
    return np.asarray(0.75 * (1.0 - np.abs(2.0 * soft - 1.0)) + 0.25 * _spectral(rng, 1.9), np.float32)


def _bricks(rng: np.random.Generator) -> Array:
    u, v = _grid()
    height = int(rng.choice([32, 64]))
    row = (v // height).astype(int)
    width = height * int(rng.choice([1, 2]))
    shifted = (u + (row % 2) * width * float(rng.choice([0.0, 0.5]))) % SIDE
    column = (shifted // width).astype(int)
    value = rng.uniform(0.35, 0.9, (SIDE, SIDE))[row, column]
    gap = ((v % height) < height * 0.1) | ((shifted % width) < height * 0.1)
    return np.asarray(np.where(gap, rng.choice([0.05, 1.0]), value * (0.75 + 0.25 * _cloud(rng))), np.float32)


def _shapes(rng: np.random.Generator, count: int, small: float, large: float, slim: float) -> Array:
    """Overlapping ellipses of sizes between two bounds, each of one value: leaves, pebbles, crowds."""
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    sizes = np.sort(np.exp(rng.uniform(np.log(small), np.log(large), count)))[::-1]
    sizes = np.where(rng.random(count) < 0.3, rng.permutation(sizes), sizes)
    for size in sizes:
        x, y = (int(c) for c in rng.integers(0, SIDE, 2))
        axes = (max(int(size), 1), max(int(size * rng.uniform(slim, 1.0)), 1))
        angle = float(rng.uniform(0, 180))
        value = int(rng.integers(20, 256))
        cv2.ellipse(canvas, (x, y), axes, angle, 0, 360, (value,), -1)
        if slim < 0.5 and size > 5:  # a leaf's darker half
            cv2.ellipse(canvas, (x, y), axes, angle, 0, 180, (int(0.75 * value),), -1)
    return np.asarray(canvas / 255.0, np.float32)


def _leaves(rng: np.random.Generator) -> Array:
    return _shapes(rng, 2500, 4.0, 38.0, 0.25)


def _pebbles(rng: np.random.Generator) -> Array:
    return 0.65 * _shapes(rng, 6000, 1.5, 9.0, 0.6) + 0.35 * _spectral(rng, 1.0)


def _pieces(rng: np.random.Generator) -> Array:
    """Dead leaves: overlapping shapes of every size, whose statistics are close to photographs'."""
    canvas = (255 * _shapes(rng, 900, 4.0, 120.0, 0.5)).astype(np.uint8)
    for _ in range(350):
        size = np.exp(rng.uniform(np.log(4), np.log(110)))
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
        points = rng.integers(0, SIDE, 2) + size * np.stack([np.cos(angles), np.sin(angles)], 1)
        cv2.fillPoly(canvas, [points.astype(np.int32)], (int(rng.integers(0, 256)),))
    return np.asarray(canvas / 255.0 * (0.8 + 0.2 * _spectral(rng, 1.2)), np.float32)


def _keys(rng: np.random.Generator) -> Array:
    """Rows of caps with marks on them."""
    canvas = np.full((SIDE, SIDE), 25, np.uint8)
    cap, mark, size = int(rng.integers(60, 150)), int(rng.choice([255, 200, 0])), 32
    for row in range(SIDE // size):
        x = -int(rng.integers(0, size))
        while x < SIDE:
            wide = size * int(rng.choice([1, 2, 5], p=[0.9, 0.08, 0.02]))
            corner = (x + 2, row * size + 2), (x + wide - 3, row * size + size - 3)
            cv2.rectangle(canvas, *corner, cap, -1)
            letter = chr(int(rng.integers(65, 91)))
            place = (x + 7, row * size + 19)
            cv2.putText(canvas, letter, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (mark,), 1, cv2.LINE_AA)
            x += wide
    return np.asarray(canvas / 255.0, np.float32)


def _print(rng: np.random.Generator) -> Array:
    """Lines of letters on a page."""
    canvas = np.full((SIDE, SIDE), 235, np.uint8)
    y, scale = 16, float(rng.uniform(0.35, 0.8))
    while y < SIDE:
        letters = "".join(chr(c) for c in rng.choice([32, *range(97, 123)], 70))
        if rng.random() < 0.85:
            cv2.putText(canvas, letters, (12, y), cv2.FONT_HERSHEY_DUPLEX, scale, (30,), 1, cv2.LINE_AA)
        y += int(30 * scale) + 3
    return np.asarray(canvas / 255.0, np.float32)


def _plaid(rng: np.random.Generator) -> Array:
    period = int(rng.choice([32, 64, 128]))
    stripes = np.repeat(rng.uniform(0, 1, period // 8), 8)
    line = np.tile(stripes, SIDE // period)
    one_way = rng.random() < 0.4
    across = line[None] if one_way else 0.5 * (line[None] + line[:, None])
    return np.asarray(np.broadcast_to(across, (SIDE, SIDE)) * 0.85 + 0.15 * _spectral(rng, 1.3), np.float32)


KINDS: dict[str, Callable[[np.random.Generator], Array]] = {
    "cloud": _cloud, "marble": _marble, "wood": _wood, "weave": _weave, "knit": _knit, "folds": _folds,
    "bricks": _bricks, "leaves": _leaves, "pebbles": _pebbles, "pieces": _pieces, "keys": _keys,
    "print": _print, "plaid": _plaid,
}  # fmt: skip


@cache
def material_map(kind: str, variant: int) -> Map:
    """A gray map `[SIDE, SIDE]` of one of `KINDS`, 0..255; there are `VARIANTS` of each."""
    field = KINDS[kind](np.random.default_rng([19, list(KINDS).index(kind), variant]))
    return (255.0 * np.clip(field, 0.0, 1.0) + 0.5).astype(np.uint8)


def any_map(rng: np.random.Generator, *kinds: str) -> Map:
    """Any variant of any of these kinds."""
    return material_map(kinds[rng.integers(len(kinds))], int(rng.integers(VARIANTS)))


def color_table(rng: np.random.Generator, colors: int = 3, contrast: float = 1.0) -> Array:
    """Linear RGB for gray values, `[256, 3]`: a ramp over a few colours that go together.

    Args:
        rng: the only source of randomness.
        colors: how many are blended.
        contrast: 0 all the same, 1 a wide range of brightness.
    """
    base = photo_color(rng)
    others = np.stack([base, *(photo_color(rng) for _ in range(colors - 1))])
    kin = base * np.exp(rng.normal(0.0, 0.7, (colors, 1)))  # mostly shades of the first
    picked = kin + rng.beta(0.6, 1.2, (colors, 1)) * (others - kin)
    picked = base + contrast * (picked - base)
    order = np.argsort(picked.sum(1)) if rng.random() < 0.75 else np.arange(colors)
    places = np.linspace(0, 255, colors)
    ramp = [np.interp(np.arange(256), places, picked[order, c]) for c in range(3)]
    return np.clip(np.stack(ramp, 1), 0.003, 0.95).astype(np.float32)


def cut(
    rng: np.random.Generator, gray: Map, height: int, width: int, scale: float, turn: float | None = None
) -> Map:
    """A turned piece of a map, `[height, width]`; `scale` is its pixels per pixel of the map.

    Without `turn`, in radians, it is turned by chance.
    """
    angle = float(rng.uniform(0, 2 * np.pi)) if turn is None else turn
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    dx, dy = rng.uniform(0, SIDE, 2)
    move = np.array([[c, -s, dx], [s, c, dy]])
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    if scale < 0.6:  # or fine grain would alias
        gray = np.asarray(cv2.blur(gray, (int(1 / scale + 0.5),) * 2), np.uint8)
    return np.asarray(
        cv2.warpAffine(gray, move, (width, height), flags=flags, borderMode=cv2.BORDER_WRAP), np.uint8
    )


def paint_map(rng: np.random.Generator, piece: Map, colors: int = 3, contrast: float = 1.0) -> Array:
    """A piece of a map in colours that go together, linear RGB `[H, W, 3]`."""
    return np.asarray(color_table(rng, colors, contrast)[piece], np.float32)
