"""Photograph-like backgrounds: rooms, desks, plants, cloth, people, often out of focus."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.background import ALL_SAMPLES, picture
from shared_tmu.synth.environment import Environment
from shared_tmu.synth.people import add_person
from shared_tmu.synth.textures import any_map, color_table, cut, paint_map, photo_color

Array = NDArray[np.float32]
EVERYTHING = (
    "cloud",
    "marble",
    "wood",
    "bricks",
    "leaves",
    "pebbles",
    "pieces",
    "keys",
    "print",
    "plaid",
    "weave",
)


def _scale(rng: np.random.Generator, low: float = 0.35, high: float = 2.5) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _ramp(rng: np.random.Generator, height: int, width: int, strength: float) -> Array:
    """Uneven light over a background, values around 1, `[H, W, 1]`."""
    grid = np.exp(strength * rng.normal(0, 1, (3, 3))).astype(np.float32)
    smooth = cv2.resize(
        grid, (width, height), interpolation=cv2.INTER_CUBIC
    )  # swings below zero beside peaks
    return np.asarray(np.maximum(smooth, 0.0)[..., None], np.float32)


def _plain(rng: np.random.Generator, height: int, width: int) -> Array:
    wall = photo_color(rng, 0.35)
    soft = cut(rng, any_map(rng, "cloud"), height, width, 2.5) / np.float32(255)
    return np.asarray(wall * (0.9 + 0.2 * soft[..., None] * rng.random()), np.float32)


def _texture(rng: np.random.Generator, height: int, width: int) -> Array:
    piece = cut(rng, any_map(rng, *EVERYTHING), height, width, _scale(rng, 0.3, 1.6))
    return paint_map(rng, piece, int(rng.integers(2, 5)))


def _pieces(rng: np.random.Generator, height: int, width: int) -> Array:
    """Overlapping objects of random colours."""
    piece = cut(rng, any_map(rng, "pieces", "leaves"), height, width, _scale(rng, 0.5, 3.0))
    colors = np.stack([photo_color(rng) for _ in range(32)])
    colors = colors.mean(0) + rng.uniform(0.25, 1.0) * (colors - colors.mean(0))
    table = np.repeat(np.clip(colors, 0.004, 0.9), 8, axis=0).astype(np.float32)
    fine = cut(rng, any_map(rng, "cloud", "marble", "wood"), height, width, 1.0)
    return np.asarray(table[piece] * (0.6 + 0.8 / 255 * fine[..., None]), np.float32)


def _cloth(rng: np.random.Generator, height: int, width: int) -> Array:
    """A garment or cover close by: folds over a weave or a pattern."""
    folds = cut(rng, any_map(rng, "folds"), height, width, _scale(rng, 0.8, 2.5)) / np.float32(255)
    weave = cut(rng, any_map(rng, "weave", "knit", "plaid", "cloud"), height, width, _scale(rng, 0.3, 1.2))
    table = color_table(rng, 2, contrast=float(rng.uniform(0.1, 0.8)))
    return np.asarray(table[weave] * (0.45 + 0.75 * folds[..., None]), np.float32)


def _room(rng: np.random.Generator, height: int, width: int) -> Array:
    """A wall, a floor or desk below it, objects with straight edges, and bright windows or lamps."""
    canvas = _plain(rng, height, width) if rng.random() < 0.6 else _texture(rng, height, width)
    canvas = np.ascontiguousarray(canvas)
    tilt = rng.normal(0, 0.06)
    for _ in range(int(rng.integers(1, 6))):
        _panel(rng, canvas, tilt)
    if rng.random() < 0.7:  # floor or desk
        level = rng.uniform(0.35, 1.0) * height
        edge = np.array([[0, level], [width, level + tilt * width], [width, height], [0, height]])
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [edge.astype(np.int32)], (1,))
        floor = cut(rng, any_map(rng, "wood", "bricks", "cloud", "pebbles"), height, width, _scale(rng), 0.0)
        canvas = np.where(mask[..., None] > 0, paint_map(rng, floor), canvas)
    return canvas


def _panel(rng: np.random.Generator, canvas: Array, tilt: float) -> None:
    """A frame, shelf, screen, door or window, in place."""
    height, width = canvas.shape[:2]
    size = np.exp(rng.uniform(np.log(15), np.log(160), 2))
    middle = rng.uniform([0, 0], [width, height])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.5 * size
    corners += middle + corners[:, ::-1] * [tilt, -tilt]
    corners[:2, 1] += rng.normal(0, 0.05) * size[1]
    color = photo_color(rng) if rng.random() < 0.8 else rng.uniform(0.7, 2.0) * np.array([0.9, 1.0, 1.05])
    edge = photo_color(rng, 0.1)
    points = [corners.astype(np.int32)]
    cv2.fillPoly(canvas, points, color.tolist(), cv2.LINE_AA)
    if rng.random() < 0.5:
        cv2.polylines(canvas, points, True, edge.tolist(), int(rng.integers(1, 7)), cv2.LINE_AA)
    if rng.random() < 0.25:  # books, slats, panes
        for share in np.linspace(0, 1, int(rng.integers(3, 12)))[1:-1]:
            first = corners[0] + share * (corners[1] - corners[0])
            last = corners[3] + share * (corners[2] - corners[3])
            line = [p.astype(int).tolist() for p in (first, last)]
            cv2.line(canvas, line[0], line[1], edge.tolist(), int(rng.integers(1, 5)), cv2.LINE_AA)


def _outdoor(rng: np.random.Generator, height: int, width: int) -> Array:
    """Sky, plants or walls, and ground, in bands with uneven edges."""
    sky = rng.uniform(0.5, 1.5) * np.array([0.75, 0.9, 1.1]) ** rng.uniform(0.2, 2.0)
    canvas = np.tile(sky.astype(np.float32), (height, width, 1))
    level, rough = rng.uniform(-0.2, 0.5) * height, np.float32(rng.uniform(5, 90))
    rows = np.arange(height, dtype=np.float32)[:, None]
    for kinds in (("leaves", "pieces", "bricks", "cloud"), ("pebbles", "leaves", "cloud", "bricks")):
        edge = cut(rng, any_map(rng, "cloud"), height, width, 2.0) / np.float32(255) - 0.5
        below = (rows + rough * edge > level)[..., None]
        piece = cut(rng, any_map(rng, *kinds), height, width, _scale(rng, 0.3, 1.5))
        canvas = np.where(below, paint_map(rng, piece, 4), canvas)
        level += rng.uniform(0.2, 0.8) * height
    return np.asarray(canvas, np.float32)


_photograph = partial(picture, names=ALL_SAMPLES)
Maker = Callable[[np.random.Generator, int, int], Array]
KINDS: tuple[tuple[Maker, float], ...] = (
    (_plain, 0.09), (_texture, 0.13), (_room, 0.25), (_outdoor, 0.14), (_photograph, 0.13), (_pieces, 0.13),
    (_cloth, 0.13),
)  # fmt: skip
"""Functions that make an albedo `[H, W, 3]` for a height and width, and how often each is used."""


def _clutter(rng: np.random.Generator, canvas: Array, count: int) -> Array:
    """Objects, cables and spots between the background and the scene."""
    height, width = canvas.shape[:2]
    canvas = np.ascontiguousarray(canvas, np.float32)
    for _ in range(count):
        color = photo_color(rng).tolist()
        centre = rng.uniform([-20, -20], [width + 20, height + 20])
        size = float(np.exp(rng.uniform(np.log(5), np.log(80))))
        kind = rng.random()
        if kind < 0.35:
            axes = (int(size) + 1, int(size * rng.uniform(0.2, 1.0)) + 1)
            where = centre.astype(int).tolist()
            cv2.ellipse(canvas, where, axes, rng.uniform(0, 180), 0, 360, color, -1, cv2.LINE_AA)
        elif kind < 0.65:
            _panel(rng, canvas, rng.normal(0, 0.3))
        else:  # a cable, stalk, wire or edge
            steps = np.cumsum(rng.normal(0, 1, (6, 2)) + rng.normal(0, 1.2, 2), axis=0) * size * 0.5
            curve = cv2.resize((centre + steps).astype(np.float32)[:, None], (1, 24)).astype(np.int32)
            cv2.polylines(canvas, [curve], False, color, int(rng.integers(1, 10)), cv2.LINE_AA)
    return canvas


def focus_blur(canvas: Array, radius_px: float) -> Array:
    """Out of focus: bright spots become discs, `[H, W, C]`."""
    if radius_px < 0.6:
        return canvas
    if radius_px > 4.5:  # a coarse copy holds all that is left
        height, width = canvas.shape[:2]
        small = cv2.resize(canvas, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        soft = focus_blur(np.asarray(small, np.float32), radius_px / 2)
        return np.asarray(cv2.resize(soft, (width, height)), np.float32)
    side = 2 * int(np.ceil(radius_px)) + 1
    grid = np.arange(side) - side // 2
    disc = np.clip(radius_px + 0.5 - np.hypot(grid[:, None], grid[None]), 0, 1).astype(np.float32)
    return np.asarray(cv2.filter2D(canvas, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT), np.float32)


def backdrop(
    rng: np.random.Generator, height: int, width: int, clutter: float, light: Environment, px_per_m: float
) -> Array:
    """A background in linear light.

    Args:
        rng: the only source of randomness.
        height: in pixels.
        width: in pixels.
        clutter: probability of more than a plain background, 0..1.
        light: light of the picture.
        px_per_m: pixels per metre at the scene's depth; objects in the background are smaller.

    Returns:
        RGB, `[height, width, 3]`; windows and lamps are brighter than 1.
    """
    if rng.random() > clutter:
        return _lit(rng, _plain(rng, height, width), light)
    kind = rng.choice(len(KINDS), p=[chance for _, chance in KINDS])
    canvas = KINDS[kind][0](rng, height, width)
    if rng.random() < 0.5:
        canvas = _clutter(rng, canvas, int(rng.integers(1, 14)))
    canvas = _lit(rng, canvas, light)
    blur_px = float(np.exp(rng.uniform(np.log(0.5), np.log(9.0)))) if rng.random() < 0.65 else 0.0
    if rng.random() < 0.38:
        for _ in range(int(rng.choice([1, 2], p=[0.75, 0.25]))):
            canvas = add_person(rng, canvas, light, px_per_m * rng.uniform(0.35, 1.0))
        blur_px *= rng.uniform(0.2, 1.0)
    return focus_blur(np.ascontiguousarray(canvas, np.float32), blur_px)


def _lit(rng: np.random.Generator, albedo: Array, light: Environment) -> Array:
    """Albedo under the picture's light, which falls unevenly."""
    height, width = albedo.shape[:2]
    level = light.irradiance(np.array([[0.0, -0.5, -0.866]], np.float32))[0]
    level = level + rng.uniform(0.0, 0.8) * light.key_color
    strength = rng.uniform(0.05, 0.5)
    return np.asarray(albedo * level * _ramp(rng, height, width, strength), np.float32)
