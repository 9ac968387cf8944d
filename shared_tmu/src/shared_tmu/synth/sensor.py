"""Artefacts of real cameras: motion blur, defocus, noise, colour balance, sharpening, low resolution,
JPEG."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
GRAIN = 640  # side of the stored noise, pixels


@lru_cache(maxsize=1)
def _grain() -> tuple[Array, Array]:
    """Noise of unit strength: per pixel, and blotches of colour as demosaicking leaves them, `[S, S, 3]`."""
    rng = np.random.default_rng(23)
    fine = rng.standard_normal((GRAIN, GRAIN, 3), dtype=np.float32)
    bayer = cv2.GaussianBlur(fine, (0, 0), 0.8)
    raw = rng.standard_normal((GRAIN, GRAIN, 3), dtype=np.float32)
    coarse = np.asarray(cv2.GaussianBlur(raw, (0, 0), 1.8), np.float32)
    coarse -= coarse.mean(2, keepdims=True)
    blotches = bayer / bayer.std() + 0.7 * coarse / coarse.std()
    return fine, np.asarray(blotches / blotches.std(), np.float32)


def take_picture(rng: np.random.Generator, light: Array, degrade: float) -> Image:
    """A camera's picture of a scene.

    Args:
        rng: the only source of randomness.
        light: linear RGB, `[H, W, 3]`; one exposure is chosen for all of it.
        degrade: amount of artefacts, 0 (clean) to 1.

    Returns:
        RGB, `[H, W, 3]`.
    """
    exposure = np.exp(rng.normal(0.0, 0.25)) * _exposure(light[::4, ::4, 1])
    balance = np.exp(degrade * rng.normal(0.0, 1.0) * np.array([0.10, 0.0, -0.13]) + rng.normal(0, 0.015, 3))
    picture = light * (exposure * balance).astype(np.float32)
    picture = _optics(rng, picture, degrade)
    picture = _noisy(rng, picture, degrade)
    picture = _tone(rng, picture, degrade)
    if rng.random() < 0.35 * degrade:
        soft = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.7, 1.6)))
        picture = picture + np.float32(rng.uniform(0.2, 1.1)) * (picture - soft)
    out = (np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return _stored(rng, out, degrade)


def _exposure(luma: Array) -> float:
    """The exposure of a camera that weights the middle most and preserves the subject's highlights."""
    height, width = luma.shape
    middle = luma[height // 4 : -(height // 4), width // 4 : -(width // 4)]
    mean = 0.35 * float(np.minimum(luma, 2.0).mean()) + 0.65 * float(middle.mean())
    return min(0.24 / max(mean, 0.01), 0.8 / max(float(np.percentile(middle, 95)), 0.01))


def _optics(rng: np.random.Generator, picture: Array, degrade: float) -> Array:
    """Blur of movement or focus, low resolution, dark corners."""
    height, width = picture.shape[:2]
    kind = rng.random() / max(degrade, 1e-6)
    if kind < 0.22:
        sigma = float(np.exp(rng.uniform(np.log(0.4), np.log(2.2))))
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)
    elif kind < 0.37:
        picture = np.asarray(cv2.filter2D(picture, -1, _shake(rng)), np.float32)
    elif kind < 0.62:  # a hand that was small in the picture
        share = float(np.exp(rng.uniform(np.log(0.16), np.log(0.9))))
        size = (max(int(width * share), 24), max(int(height * share), 32))
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        small = _noisy(rng, np.asarray(small, np.float32), 0.5 * degrade)
        way = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(2)]
        picture = np.asarray(cv2.resize(small, (width, height), interpolation=way), np.float32)
    if rng.random() < 0.3 * degrade:
        v, u = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        shift = rng.normal(0, 0.4, 2)
        fall = 1.0 / (1.0 + rng.uniform(0.05, 0.45) * ((u - shift[0]) ** 2 + (v - shift[1]) ** 2))
        picture = picture * fall[..., None].astype(np.float32)
    return np.clip(picture, 0.0, None).astype(np.float32)


def _shake(rng: np.random.Generator) -> Array:
    """The path of a moving camera or hand as a kernel `[S, S]`."""
    length = float(np.exp(rng.uniform(np.log(2.5), np.log(14.0))))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.15, 40))
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1), axis=0) * (length / 40)
    path -= path.mean(0)
    side = 2 * int(np.ceil(np.abs(path).max())) + 3
    kernel = np.zeros((side, side), np.float32)
    np.add.at(kernel, tuple((np.round(path) + side // 2).astype(int).T[::-1]), 1.0)
    kernel = np.asarray(cv2.GaussianBlur(kernel, (3, 3), 0.6), np.float32)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _noisy(rng: np.random.Generator, picture: Array, degrade: float) -> Array:
    """Photons and readout: noise that grows with the root of the signal."""
    height, width = picture.shape[:2]
    strength = degrade * float(np.exp(rng.uniform(np.log(0.001), np.log(0.038))))
    if strength < 0.002 or height > GRAIN or width > GRAIN:
        return picture
    grain = _grain()[int(rng.random() < 0.75)]
    top, left = rng.integers(0, [GRAIN - height + 1, GRAIN - width + 1])
    piece = grain[top : top + height, left : left + width]
    return np.asarray(picture + strength * np.sqrt(np.maximum(picture, 0.0) + 0.01) * piece, np.float32)


@lru_cache(maxsize=1)
def _levels() -> Array:
    return np.linspace(0.0, 1.0, 1024, dtype=np.float32)


def _tone(rng: np.random.Generator, picture: Array, degrade: float) -> Array:
    """Tone curve and saturation, as set by a camera or by editing."""
    levels = 4.0 * _levels() ** 2  # finer where eyes are
    curve = levels * (1.0 + levels / 9.0) / (1.0 + levels)  # a long shoulder
    curve = np.clip(curve / curve[512], 0.0, 1.0) if rng.random() < 0.5 else np.clip(levels, 0.0, 1.0)
    curve = curve ** (1.0 / rng.uniform(1.9, 2.5))
    contrast = np.clip(rng.normal(0.25, 0.35 * degrade), -0.4, 0.9)
    curve = curve + contrast * (curve * curve * (3.0 - 2.0 * curve) - curve)
    if rng.random() < 0.12 * degrade:  # haze or a faded print
        curve = rng.uniform(0.02, 0.15) + curve * rng.uniform(0.7, 0.92)
    place = np.sqrt(np.clip(picture, 0.0, 4.0) * 0.25) * 1023.0
    out = curve.astype(np.float32)[place.astype(np.int32)]
    gray = out @ np.array([0.3, 0.59, 0.11], np.float32)
    vivid = np.float32(np.clip(rng.normal(1.0, 0.22 * degrade), 0.2, 1.6))
    if rng.random() < 0.04 * degrade:
        vivid = np.float32(0.0)
    return np.asarray(gray[..., None] + vivid * (out - gray[..., None]), np.float32)


def _stored(rng: np.random.Generator, picture: Image, degrade: float) -> Image:
    """JPEG compression, from hardly visible to strong, sometimes applied twice."""
    if rng.random() > 0.6 * degrade:
        return picture
    quality = int(rng.integers(15, 60)) if rng.random() < 0.35 else int(rng.integers(55, 96))
    bgr = np.ascontiguousarray(picture[..., ::-1])
    if rng.random() < 0.2:
        shift = int(rng.integers(1, 8))  # blocks of an earlier crop
        moved = cv2.imencode(
            ".jpg", np.roll(bgr, shift, 1), [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))]
        )[1]
        bgr = np.roll(cv2.imdecode(moved, cv2.IMREAD_COLOR), -shift, 1)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
