"""Objects in and in front of hands: bars, pens, phones, mugs, balls, tools, with sizes that fit the
fingers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.synth.geometry3d import Faces, occluder, primitives
from shared_tmu.synth.hand import PosedHand

Array = NDArray[np.float32]
KNUCKLES, MIDDLES, ENDS, TIPS = ([k + f for f in (0, 4, 8, 12)] for k in (5, 6, 7, 8))
SPHERE, BOX, CYLINDER, CAPSULE = range(4)


@dataclass(frozen=True)
class Thing:
    """A mesh in the camera frame, metres.

    Attributes:
        vertices: `[V, 3]`.
        faces: `[F, 3]`.
        axis: its long axis, unit `[3]`.
        smooth: whether its sides are round; else faces stay flat.
    """

    vertices: Array
    faces: Faces
    axis: Array
    smooth: bool


@lru_cache(maxsize=1)
def torus() -> tuple[Array, Faces]:
    """A ring of radius 1 about the third axis."""
    import trimesh

    made = trimesh.creation.torus(1.0, 0.18, major_sections=16, minor_sections=8)
    return np.asarray(made.vertices, np.float32), np.asarray(made.faces, np.int32)


def _frame(axis: Array, rng: np.random.Generator) -> Array:
    """A rotation matrix whose third column is the axis."""
    axis = axis / np.linalg.norm(axis)
    first = np.cross(axis, rng.normal(0, 1, 3))
    first /= np.linalg.norm(first)
    return np.asarray(np.stack([first, np.cross(axis, first), axis], axis=1), np.float32)


def _placed(shape: int, size: Array, turn: Array, place: Array) -> Thing:
    vertices, faces = primitives()[shape]
    moved = (vertices * size.astype(np.float32)) @ turn.T + place
    if shape == BOX:  # corners apart, so that sides shade flat
        moved, faces = moved[faces.reshape(-1)], np.arange(3 * len(faces), dtype=np.int32).reshape(-1, 3)
    return Thing(moved.astype(np.float32), faces, turn[:, 2], shape != BOX)


def _joined(parts: list[Thing]) -> Thing:
    offsets = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    faces = np.concatenate([p.faces + o for p, o in zip(parts, offsets, strict=True)]).astype(np.int32)
    return Thing(np.concatenate([p.vertices for p in parts]), faces, parts[0].axis, parts[0].smooth)


def _grip(points: Array) -> tuple[Array, Array, float]:
    """Middle, axis and free radius of the tunnel that four bent fingers form, from key points `[21, 3]`,
    metres."""
    rings = points[[KNUCKLES, MIDDLES, ENDS, TIPS]]  # [4 joints, 4 fingers, 3]
    centres = rings.mean(0)
    axis = centres[0] - centres[3]
    axis = axis / np.linalg.norm(axis)
    away = rings - centres
    away = away - (away @ axis)[..., None] * axis
    radius = float(np.median(np.linalg.norm(away, axis=-1))) - 0.009
    return centres.mean(0), axis.astype(np.float32), radius


def _bar(rng: np.random.Generator, points: Array) -> Thing | None:
    """A bar, handle, bottle or barbell through a closed hand."""
    middle, axis, radius = _grip(points)
    if not 0.006 < radius < 0.045:
        return None
    radius *= rng.uniform(0.8, 1.05)
    half = float(np.exp(rng.uniform(np.log(0.06), np.log(0.5))))
    turn = _frame(axis + rng.normal(0, 0.06, 3), rng)
    shift = axis * rng.uniform(-0.7, 0.7) * max(half - 0.05, 0.0)
    bar = _placed(CYLINDER, np.array([radius, radius, half]), turn, middle + shift)
    ends = rng.random()
    if ends < 0.25:  # a weight, hammer's head or pan at one end
        end = middle + shift + turn[:, 2] * half
        wide = rng.uniform(0.02, 0.09)
        shape = int(rng.choice([CYLINDER, BOX, SPHERE]))
        size = np.array([wide, wide * rng.uniform(0.4, 1.2), rng.uniform(0.01, 0.05)])
        return _joined([bar, _placed(shape, size, turn, end)])
    if ends < 0.40 and radius > 0.02:  # a mug's or can's body beside the handle
        wide = rng.uniform(0.032, 0.045)
        outwards = middle - points[0]
        outwards -= axis * (outwards @ axis)
        place = middle + outwards / np.linalg.norm(outwards) * (wide + 0.03)
        return _joined([bar, _placed(CYLINDER, np.array([wide, wide, 0.05]), turn, place)])
    return bar


def _pinched(rng: np.random.Generator, points: Array) -> Thing | None:
    """Something between thumb and forefinger: pen, card, phone, ball, ring of keys."""
    gap = points[8] - points[4]
    apart = float(np.linalg.norm(gap))
    if not 0.008 < apart < 0.10:
        return None
    middle = 0.5 * (points[8] + points[4])
    free = max(apart - 0.014, 0.004)
    web = 0.5 * (points[5] + points[2]) - middle
    kind = rng.random()
    if free < 0.02 and kind < 0.55:  # a pen leans on the web
        turn = _frame(web + rng.normal(0, 0.015, 3), rng)
        long, radius = rng.uniform(0.06, 0.09), max(0.5 * free, 0.0035) * rng.uniform(0.8, 1.0)
        pen = _placed(CYLINDER, np.array([radius, radius, long]), turn, middle + turn[:, 2] * (long - 0.035))
        tip = _placed(SPHERE, np.array([radius, radius, 0.012]), turn, middle - turn[:, 2] * 0.035)
        return _joined([pen, tip])
    if kind < 0.75:  # card, phone, book, leaf: thin across the gap
        turn = _frame(gap + 0.1 * apart * rng.normal(0, 1, 3), rng)
        half = np.exp(rng.uniform(np.log(0.02), np.log(0.10), 2))
        out = -web / np.linalg.norm(web) * rng.uniform(0.0, 0.6) * half.min()
        return _placed(BOX, np.array([*half, 0.5 * min(free, 0.02)]), turn, middle + out)
    if kind < 0.85:
        vertices, faces = torus()
        turn = _frame(np.cross(gap, web) + 1e-6, rng)
        size = rng.uniform(0.008, 0.03)
        place = middle - web / np.linalg.norm(web) * size
        return Thing((vertices * size @ turn.T + place).astype(np.float32), faces, turn[:, 2], True)
    radius = 0.5 * free * rng.uniform(0.85, 1.05)
    return _placed(SPHERE, radius * np.exp(rng.normal(0, 0.1, 3)), _frame(gap, rng), middle)


def _palmed(rng: np.random.Generator, hand: PosedHand) -> Thing:
    """Something that the palm lies on or carries: mouse, phone, ball, stone, bag."""
    points, turn0 = hand.keypoints, hand.bone_rotmats[0]
    out_of_palm = turn0 @ np.array([0.0, -1.0, 0.0], np.float32)
    palm = points[[0, *KNUCKLES]].mean(0) + 0.3 * (points[MIDDLES].mean(0) - points[KNUCKLES].mean(0))
    kind = rng.random()
    if kind < 0.4:
        size, shape = np.array([0.055, 0.018, 0.032]) * np.exp(rng.normal(0, 0.12, 3)), SPHERE  # a mouse
    elif kind < 0.7:
        size, shape = (
            np.array([rng.uniform(0.05, 0.09), rng.uniform(0.003, 0.02), rng.uniform(0.025, 0.05)]),
            BOX,
        )
    else:
        size = np.exp(rng.uniform(np.log(0.018), np.log(0.05))) * np.exp(rng.normal(0, 0.2, 3))
        shape = int(rng.choice([SPHERE, CYLINDER, CAPSULE]))
    wobble = Rotation.from_rotvec(rng.normal(0, 0.2, 3)).as_matrix()
    place = palm + out_of_palm * (0.016 + float(size[1]))
    return _placed(shape, size, (turn0 @ wobble).astype(np.float32), place)


def held_thing(rng: np.random.Generator, hand: PosedHand) -> Thing:
    """An object that suits the fingers' posture; a random one where none does."""
    points = hand.keypoints
    curl = np.linalg.norm(points[TIPS] - points[KNUCKLES], axis=1).mean() / 0.085
    chance = rng.random()
    made = None
    if curl < 0.75 and chance < 0.75:
        made = _bar(rng, points)
    elif chance < 0.6:
        made = _pinched(rng, points)
    if made is None and rng.random() < 0.75:
        made = _palmed(rng, hand)
    return made or loose_thing(rng, hand, held=rng.random() < 0.5)


def loose_thing(rng: np.random.Generator, hand: PosedHand, held: bool) -> Thing:
    """A random shape in the palm or before the hand."""
    vertices, faces = occluder(rng, hand, held)
    axis = vertices.max(0) - vertices.min(0)
    return Thing(vertices, faces, (axis / np.linalg.norm(axis)).astype(np.float32), len(faces) > 12)
