"""People for backgrounds: parts of SynthBody, made once per process, with new clothes and light each time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shared_tmu.pictures.render import RayScene, pixel_directions
from shared_tmu.synth.environment import Environment
from shared_tmu.synth.hand import vertex_normals
from shared_tmu.synth.skin import sample_tone
from shared_tmu.synth.textures import photo_color

Array = NDArray[np.float32]
PEOPLE = 32  # pieces that are kept; each takes half a megabyte
SIDE = 192
SEED = 1_000_033  # of the kept pieces; no training picture shows this sequence
FOCUS = (15, 15, 15, 12, 9, 9, 6, 0, 4, 18, 20)  # joints a piece may be centred on: heads most often
_FACES = [index for index in range(PEOPLE) if FOCUS[index % len(FOCUS)] == 15 and index % 4]


@dataclass(frozen=True)
class Piece:
    """A square view of a person: colour is `own + skin * tone` at each of K pixels.

    Attributes:
        rows, columns: where those pixels are, `[K]`.
        own, skin, normals: linear RGB, its share of the skin's tone, unit normals, `[K, 3]` float16.
        px_per_m: pixels per metre.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    own: NDArray[np.float16]
    skin: NDArray[np.float16]
    normals: NDArray[np.float16]
    px_per_m: float


@lru_cache(maxsize=PEOPLE)
def person(index: int) -> Piece:
    """Piece number `index`, always the same."""
    from shared_tmu.synth.body.model import synth_body
    from shared_tmu.synth.body.outfit import Wardrobe, sample_outfit
    from shared_tmu.synth.body.placing import place_body
    from shared_tmu.synth.body.scene import sample_body_scene
    from shared_tmu.synth.chance import ONE_GENERATOR
    from shared_tmu.synth.scene import Difficulty

    rng = np.random.default_rng([SEED, index])
    turn_deg = 60.0 if index % 4 else 180.0  # most face the camera
    body = place_body(sample_body_scene(SEED, index, Difficulty(turn_deg), ONE_GENERATOR))
    faces = synth_body().faces
    focus = body.joints[FOCUS[index % len(FOCUS)]]
    half_m = float(np.exp(rng.uniform(np.log(0.20), np.log(0.50))))
    distance_m = 1.6
    moved = body.vertices - focus + np.array([0.0, 0.0, distance_m], np.float32)
    px_per_m = SIDE / (2 * half_m)
    middle = (SIDE / 2, SIDE / 2)
    rays = pixel_directions(px_per_m * distance_m, middle, SIDE, SIDE).reshape(-1, 3).astype(np.float32)
    face, uv, _ = RayScene(moved, faces).cast(np.zeros_like(rays), rays)
    hit = np.flatnonzero(face >= 0)
    bary = np.stack([1.0 - uv[hit].sum(1), uv[hit, 0], uv[hit, 1]], axis=1).astype(np.float32)
    outfit, shift = sample_outfit(rng), float(rng.uniform(0, 100))
    tones = [np.full(3, level, np.float32) for level in (0.2, 0.6)]
    looks: list[Any] = [SimpleNamespace(tone=tone) for tone in tones]
    (dark, _, tilt), (light, _, _) = (Wardrobe(look, outfit, shift)(face[hit], bary) for look in looks)
    skin = (light - dark) / 0.4
    normals = np.einsum("kvc,kv->kc", vertex_normals(moved, faces)[faces[face[hit]]], bary) + tilt
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)
    own = np.clip(dark - 0.2 * skin, 0.0, 1.0)
    return Piece(
        hit // SIDE, hit % SIDE, own.astype(np.float16), skin.astype(np.float16),
        normals.astype(np.float16), px_per_m,
    )  # fmt: skip


def add_person(
    rng: np.random.Generator, canvas: Array, light: Environment, px_per_m: float, near: bool = False
) -> Array:
    """Put a person somewhere into a background.

    Args:
        rng: the only source of randomness.
        canvas: linear RGB, `[H, W, 3]`.
        light: light of the picture; most people in it have its skin.
        px_per_m: size of the background's pixels where the person is.
        near: put a face, or else another part, about the middle, most often with the picture's skin.

    Returns:
        The new background, `[H, W, 3]`.
    """
    kept = _FACES if near and rng.random() < 0.7 else range(PEOPLE)
    piece = person(int(kept[rng.integers(len(kept))]))
    tone = light.tone if rng.random() < (0.9 if near else 0.7) else sample_tone(rng)
    cloth = 2.5 * photo_color(rng, 0.3) if rng.random() < 0.6 else np.ones(3, np.float32)
    normals = piece.normals.astype(np.float32)
    flesh = np.clip(piece.skin.astype(np.float32), 0, 2)
    own = piece.own.astype(np.float32)
    if near:  # clothes of any colour would give the outline of the hand away
        own, cloth = own.mean(1, keepdims=True) + 0.2 * (own - own.mean(1, keepdims=True)), cloth.mean()
    dressed = flesh.max(1, keepdims=True) < 0.02
    albedo = np.clip(np.where(dressed, own * cloth, own) + flesh * tone, 0.004, 0.95)
    facing = np.clip((normals @ light.key + 0.15) / 1.15, 0.0, None)[:, None]
    color = albedo * (light.irradiance(normals) + facing * rng.uniform(0.3, 1.0) * light.key_color)
    sprite = np.zeros((SIDE, SIDE, 4), np.float32)
    sprite[piece.rows, piece.columns, :3] = color
    sprite[piece.rows, piece.columns, 3] = 1.0
    height, width = canvas.shape[:2]
    scale = px_per_m / piece.px_per_m
    mirrored = -1.0 if rng.random() < 0.5 else 1.0
    angle = rng.normal(0.0, 0.12)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.diag([mirrored, 1.0])
    place = np.array([width, height]) * (rng.normal(0.5, 0.15, 2) if near else rng.uniform(0.0, 1.0, 2))
    move = np.concatenate([turn, (place - turn @ [SIDE / 2, SIDE / 2])[:, None]], axis=1)
    drawn = cv2.warpAffine(sprite, move, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(canvas * (1.0 - drawn[..., 3:]) + drawn[..., :3], np.float32)
