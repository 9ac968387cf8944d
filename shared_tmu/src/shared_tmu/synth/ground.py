"""A surface that the hand rests on or hovers over: desk, keyboard, soil, cloth, wall; with shadows on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.textures import SIDE, any_map, color_table
from shared_tmu.synth.varied_stage import VariedStage

Array = NDArray[np.float32]
STEP = 3  # shadows are found at every third pixel
MAPS = (
    ("wood", 0.25, 900.0), ("keys", 0.20, 1750.0), ("weave", 0.10, 1500.0), ("pebbles", 0.12, 1200.0),
    ("leaves", 0.07, 1200.0), ("print", 0.08, 2000.0), ("cloud", 0.10, 800.0), ("plaid", 0.04, 1500.0),
    ("knit", 0.04, 2000.0),
)  # fmt: skip
"""Kinds of surfaces, how often each is used, and cells of its map per metre."""


@dataclass(frozen=True)
class Ground:
    """A plane in the camera frame: points x with `normal @ x == offset`, the normal on the camera's side.

    Attributes:
        normal: unit, `[3]`.
        offset: metres.
        reach: how far it extends from `middle`, metres.
        middle: a point on it, `[3]`.
        grain: size of its pattern relative to that of surfaces under hands.
    """

    normal: Array
    offset: float
    reach: float
    middle: Array
    grain: float = 1.0

    def drawn(self, rng: np.random.Generator, stage: VariedStage, rays: Array, behind: Array) -> Array:
        """The background with this surface in front of it.

        Args:
            rng: the only source of randomness.
            stage: what throws shadows, and its light.
            rays: rays of all pixels, `[H, W, 3]` with z = 1.
            behind: linear RGB, `[H, W, 3]`.
        """
        slope = rays @ self.normal
        depth = self.offset / np.where(np.abs(slope) < 1e-5, -1e-5, slope)
        first = np.cross(self.normal, rng.normal(0, 1, 3))
        first /= np.linalg.norm(first)
        second = np.cross(self.normal, first)
        points = rays * np.clip(depth, 0.0, 20.0)[..., None].astype(np.float32)
        away = points - self.middle
        u, v = away @ first.astype(np.float32), away @ second.astype(np.float32)
        squarish = np.maximum(np.abs(u), np.abs(v)) if rng.random() < 0.6 else np.abs(u)
        there = ((depth > 0.05) & (squarish < self.reach)).astype(np.float32)
        there = cv2.GaussianBlur(there, (0, 0), float(rng.uniform(0.5, 2.5)))[..., None]
        kind = rng.choice(len(MAPS), p=[share for _, share, _ in MAPS])
        name, _, cells = MAPS[kind]
        cells *= float(np.exp(rng.normal(0.0, 0.25))) / self.grain
        at = [(axis * cells + 5e3).astype(np.float32) % SIDE for axis in (u, v)]
        piece = cv2.remap(any_map(rng, name), at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        albedo = color_table(rng, 3, float(rng.uniform(0.3, 1.0)))[piece]
        light = self._light(stage, points, rng)
        return np.asarray(behind + there * (albedo * light - behind), np.float32)

    def _light(self, stage: VariedStage, points: Array, rng: np.random.Generator) -> Array:
        """The light that arrives at each pixel's point, with the shadows of the stage, `[H, W, 3]`."""
        height, width = points.shape[:2]
        coarse = points[STEP // 2 :: STEP, STEP // 2 :: STEP]
        flat = coarse.reshape(-1, 3) + 0.001 * self.normal
        normals = np.broadcast_to(self.normal, flat.shape)
        lit = 1.0 - stage.blocked(flat, stage.towards_key(len(flat)))
        lit *= stage.light.key_share(flat)
        free = 1.0 - stage.blocked(flat, stage.around(normals))
        sheet = np.stack([lit, free], 1).reshape(*coarse.shape[:2], 2)
        wide = cv2.GaussianBlur(sheet, (0, 0), 1.6)
        sheet[..., 1] = wide[..., 1]
        if stage.light.spread > 0.1:
            sheet[..., 0] = wide[..., 0]
        smooth = cv2.resize(sheet, (width, height), interpolation=cv2.INTER_LINEAR)
        facing = max(float(self.normal @ stage.light.key), 0.0)
        ambient = stage.light.irradiance(self.normal[None])[0]
        return np.asarray(
            smooth[..., 1:] * ambient + smooth[..., :1] * (facing * stage.light.key_color), np.float32
        )


def sample_ground(rng: np.random.Generator, points: Array, up: Array, scale: float = 1.0) -> Ground | None:
    """A plane that touches the given points from behind or below.

    Args:
        rng: the only source of randomness.
        points: points of the object that rests on it, camera frame, `[V, 3]` metres.
        up: approximate direction against gravity, `[3]`.
        scale: size of the scene relative to a hand.
    """
    middle = points.mean(0)
    towards_camera = -middle / np.linalg.norm(middle)
    normal = towards_camera * rng.uniform(0.25, 1.2) + up * rng.uniform(0.0, 1.2) + rng.normal(0, 0.25, 3)
    normal = (normal / np.linalg.norm(normal)).astype(np.float32)
    if normal @ towards_camera < 0.15:  # seen from its edge or from below
        return None
    gap = 0.0 if rng.random() < 0.7 else scale * float(np.exp(rng.uniform(np.log(0.01), np.log(0.15))))
    offset = float((points @ normal).min()) + 0.004 - gap
    base = middle - normal * (float(middle @ normal) - offset)
    reach = scale * float(np.exp(rng.uniform(np.log(0.12), np.log(0.9))))
    shift = rng.normal(0, 0.25, 3) * reach
    shift -= normal * float(normal @ shift)
    return Ground(normal, offset, reach, (base + shift).astype(np.float32), scale)
