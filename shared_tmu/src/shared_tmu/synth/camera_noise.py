"""From light to a photograph: exposure, tone curve, blur, motion, noise, low resolution, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def photograph(
    rng: np.random.Generator, light: Array, degrade: float, noise_rng: np.random.Generator | None = None
) -> NDArray[np.uint8]:
    """A camera's picture of a scene.

    Args:
        rng: the only source of randomness, apart from `noise_rng`.
        light: linear RGB, `[H, W, 3]`; one exposure is chosen for all of it.
        degrade: share of blur, noise, lost colour and compression, 0 (clean) to 1.
        noise_rng: draws the noise of the pixels; None for `rng`.

    Returns:
        RGB, `[H, W, 3]`.
    """
    exposure = np.exp(rng.normal(0.0, 0.25)) * 0.6 / max(float(np.percentile(light, 85)), 0.05)
    picture = np.clip(light * exposure, 0.0, None)
    picture = picture / (1.0 + 0.25 * picture)  # a soft shoulder instead of hard clipping
    picture = np.clip(picture, 0.0, 1.0) ** (1.0 / rng.uniform(1.9, 2.5))
    gray = picture.mean(-1, keepdims=True)
    picture = gray + (picture - gray) * np.clip(rng.normal(1.0, 0.2 * degrade), 0.0, 1.6)
    if rng.random() < 0.02 * degrade:
        picture = np.broadcast_to(gray, picture.shape).copy()
    picture = _blur(rng, np.ascontiguousarray(picture, np.float32), degrade)
    noise = degrade * np.exp(rng.uniform(np.log(0.002), np.log(0.04)))
    drawn = rng if noise_rng is None else noise_rng
    picture = picture + noise * drawn.standard_normal(picture.shape, dtype=np.float32)
    out = (np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return _jpeg(rng, out) if rng.random() < 0.6 * degrade else out


def _blur(rng: np.random.Generator, picture: Array, degrade: float) -> Array:
    height, width = picture.shape[:2]
    kind = rng.random() / max(degrade, 1e-6)
    if kind < 0.35:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 1.6))), np.float32)
    if kind < 0.47:
        length, angle = int(rng.integers(3, 10)), rng.uniform(0, 180)
        kernel = np.zeros((length, length), np.float32)
        kernel[length // 2] = 1.0
        turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), angle, 1.0)
        kernel = np.asarray(cv2.warpAffine(kernel, turn, (length, length)), np.float32)
        return np.asarray(cv2.filter2D(picture, -1, kernel / max(float(kernel.sum()), 1e-6)), np.float32)
    if kind < 0.62:  # a hand that was small in the picture
        share = rng.uniform(0.3, 0.8)
        small = cv2.resize(picture, (int(width * share), int(height * share)), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return picture


def _jpeg(rng: np.random.Generator, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    quality = int(rng.integers(35, 95))
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
