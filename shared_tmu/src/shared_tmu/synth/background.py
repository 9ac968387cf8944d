"""Procedural backgrounds: gradients, noise, shapes, stripes, and crops of pictures that scikit-image
ships."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
SAMPLES = (
    "brick.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png", "motorcycle_left.png", "rocket.jpg",
)  # fmt: skip
ALL_SAMPLES = (
    *SAMPLES,
    "astronaut.png", "coins.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "page.png", "retina.jpg",
    "text.png",
)  # fmt: skip
"""All pictures of scikit-image that show objects but no hand; plain pictures use only the first few."""


@lru_cache(maxsize=2)
def sample_pictures(names: tuple[str, ...] = SAMPLES) -> list[NDArray[np.uint8]]:
    """Sample pictures inside the installed scikit-image, `[H, W, 3]` RGB of any size."""
    from pathlib import Path

    import skimage.data
    from PIL import Image

    folder = Path(skimage.data.__file__).parent
    return [np.asarray(Image.open(folder / name, formats=("PNG", "JPEG")).convert("RGB")) for name in names]


def _color(rng: np.random.Generator) -> Array:
    tint = rng.beta(1.2, 1.6, 3) ** 1.2
    return np.asarray(tint.mean() + rng.uniform(0.1, 1.0) * (tint - tint.mean()), np.float32)


def _noise(rng: np.random.Generator, height: int, width: int) -> Array:
    """Cloudy colours: octaves of resized random grids between two or three colours."""
    field = np.zeros((height, width), np.float32)
    cells, weight = float(rng.integers(2, 6)), 1.0
    for _ in range(rng.integers(1, 5)):
        grid = rng.random((int(cells), int(cells))).astype(np.float32)
        field += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        cells, weight = cells * rng.uniform(1.8, 3.5), weight * rng.uniform(0.3, 0.7)
    field = (field - field.min()) / max(float(np.ptp(field)), 1e-6)
    first, second = _color(rng), _color(rng)
    return np.asarray(first + field[..., None] * (second - first), np.float32)


def _gradient(rng: np.random.Generator, height: int, width: int) -> Array:
    angle = rng.uniform(0, 2 * np.pi)
    v, u = np.mgrid[0:height, 0:width].astype(np.float32)
    t = (np.cos(angle) * u + np.sin(angle) * v) / max(height, width)
    t = (t - t.min()) / max(float(np.ptp(t)), 1e-6)
    first, second = _color(rng), _color(rng)
    return np.asarray(first + t[..., None] * (second - first), np.float32)


def _stripes(rng: np.random.Generator, height: int, width: int) -> Array:
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 60)
    v, u = np.mgrid[0:height, 0:width].astype(np.float32)
    wave = 0.5 + 0.5 * np.sin((np.cos(angle) * u + np.sin(angle) * v) * 2 * np.pi / period)
    if rng.random() < 0.5:
        wave = np.clip((wave - 0.5) * 8 + 0.5, 0, 1)
    first, second = _color(rng), _color(rng)
    return np.asarray(first + wave[..., None] * (second - first), np.float32)


def picture(rng: np.random.Generator, height: int, width: int, names: tuple[str, ...] = SAMPLES) -> Array:
    """A part of one of the sample pictures with changed lighting, linear RGB `[height, width, 3]`."""
    pictures = sample_pictures(names)
    whole = pictures[rng.integers(len(pictures))]
    rows, columns = whole.shape[:2]
    share = rng.uniform(0.3, 1.0)
    h = int(share * min(rows, columns * height / width))
    w = int(h * width / height)
    top, left = rng.integers(rows - h + 1), rng.integers(columns - w + 1)
    crop = cv2.resize(whole[top : top + h, left : left + w], (width, height), interpolation=cv2.INTER_AREA)
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    return np.asarray((crop.astype(np.float32) / 255.0) ** 2.2 * np.exp(rng.normal(0, 0.3, 3)), np.float32)


def _draw_shapes(rng: np.random.Generator, canvas: Array, count: int) -> Array:
    """Random polygons, ellipses and lines: edges that do not belong to the hand."""
    height, width = canvas.shape[:2]
    canvas = np.ascontiguousarray(canvas)
    for _ in range(count):
        color = tuple(float(c) for c in _color(rng))
        centre = rng.uniform([-20, -20], [width + 20, height + 20])
        size = np.exp(rng.uniform(np.log(6), np.log(110)))
        kind = rng.random()
        if kind < 0.45:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 7)))
            points = centre + size * rng.uniform(0.4, 1.0) * np.stack([np.cos(angles), np.sin(angles)], 1)
            cv2.fillPoly(canvas, [points.astype(np.int32)], color, cv2.LINE_AA)
        elif kind < 0.8:
            axes = (int(size), int(size * rng.uniform(0.15, 1.0)) + 1)
            where = (int(centre[0]), int(centre[1]))
            cv2.ellipse(canvas, where, axes, rng.uniform(0, 180), 0, 360, color, -1, cv2.LINE_AA)
        else:
            end = centre + rng.normal(0, size, 2)
            thickness = int(rng.integers(1, 14))
            first, last = centre.astype(int).tolist(), end.astype(int).tolist()
            cv2.line(canvas, first, last, color, thickness, cv2.LINE_AA)
    return canvas


def background(rng: np.random.Generator, height: int, width: int, clutter: float) -> Array:
    """A background in linear light.

    Args:
        rng: the only source of randomness.
        height: in pixels.
        width: in pixels.
        clutter: probability of more than a gradient, 0..1.

    Returns:
        RGB in 0..1, `[height, width, 3]`.
    """
    if rng.random() > clutter:
        return _gradient(rng, height, width)
    kinds = (_noise, _gradient, _stripes, picture)
    kind = kinds[rng.choice(4, p=[0.35, 0.2, 0.08, 0.37])]
    canvas = kind(rng, height, width)
    if rng.random() < 0.65:
        canvas = _draw_shapes(rng, canvas, int(rng.integers(1, 25)))
    if rng.random() < 0.5:
        sigma_px = float(np.exp(rng.uniform(np.log(0.6), np.log(7.0))))
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), sigma_px), np.float32)
    return np.clip(canvas, 0.0, 1.0)
