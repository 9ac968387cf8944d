"""Rings, watches and bracelets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.geometry3d import primitives
from shared_tmu.synth.hand import PosedHand
from shared_tmu.synth.things import CYLINDER, Thing, torus

Array = NDArray[np.float32]
Faces = NDArray[np.int32]


def ring(rng: np.random.Generator, hand: PosedHand) -> Thing:
    """A ring on one of the long fingers."""
    base = 5 + 4 * int(rng.choice(4, p=[0.15, 0.25, 0.45, 0.15]))
    first, last = hand.keypoints[base], hand.keypoints[base + 1]
    axis = (last - first) / np.linalg.norm(last - first)
    place = first + rng.uniform(0.5, 0.68) * (last - first)
    near = hand.vertices[np.abs((hand.vertices - place) @ axis) < 0.004] - place
    away = np.linalg.norm(near - (near @ axis)[:, None] * axis, axis=1)
    radius = float(np.median(away[away < 0.016])) if (away < 0.016).any() else 0.009
    side = np.cross(axis, [0.3, 0.5, 0.8])
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(axis, side), axis], axis=1).astype(np.float32)
    vertices, faces = torus()
    size = np.array([1.0, 1.0, rng.uniform(0.6, 1.8)], np.float32) * (1.02 * radius)
    return Thing(
        ((vertices * size) @ frame.T + place).astype(np.float32), faces, axis.astype(np.float32), True
    )


def wristband(
    rng: np.random.Generator, arm: Array, faces: Faces, ring_of_face: NDArray[np.int64], back: Array
) -> list[Thing]:
    """A strap round the wrist, with a watch's case on it as often as not.

    Args:
        rng: the only source of randomness.
        arm: the forearm's vertices in rings of 16, `[160, 3]` metres.
        faces: its faces, `[F, 3]`.
        ring_of_face: ring number of each, `[F]`.
        back: unit direction out of the back of the hand, `[3]`.
    """
    first = int(rng.integers(1, 4))
    middles = arm.reshape(-1, 16, 3).mean(1)
    axis = middles[first + 1] - middles[first]
    axis = (axis / np.linalg.norm(axis)).astype(np.float32)
    spread = middles.repeat(16, 0)
    wide = (spread + (arm - spread) * rng.uniform(1.04, 1.09)).astype(np.float32)
    strap = Thing(wide, faces[ring_of_face == first], axis, True)
    if rng.random() < 0.45:
        return [strap]
    vertices, case_faces = primitives()[CYLINDER]
    side = np.cross(axis, back)
    side /= np.linalg.norm(side)
    frame = np.stack([axis, side, np.cross(axis, side)], axis=1).astype(np.float32)
    middle = 0.5 * (middles[first] + middles[first + 1])
    size = np.array([rng.uniform(0.014, 0.022), rng.uniform(0.014, 0.019), 0.005], np.float32)
    out = frame[:, 2] * np.sign(frame[:, 2] @ back)
    rise = float(((wide[16 * first : 16 * first + 32] - middle) @ out).max())
    case = (vertices * size) @ frame.T + middle + out * rise
    return [strap, Thing(case.astype(np.float32), case_faces, axis, True)]
