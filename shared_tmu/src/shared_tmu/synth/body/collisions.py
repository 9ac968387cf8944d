"""Checks whether a pose pushes one limb through another. Limbs are capsules; a small overlap is allowed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.body_models.smplx_model import PARENTS
from shared_tmu.synth.body.anatomy import INDEX, above_ground, joints

Array = NDArray[np.float64]
SAMPLES = 7
SLACK_M = 0.028

# Joint that carries the capsule, its two ends at rest as joints or places, radius.
_LIMBS: dict[str, tuple[str, str, str, float]] = {
    "upper_arm": ("left_shoulder", "left_shoulder", "left_elbow", 0.042),
    "forearm": ("left_elbow", "left_elbow", "left_wrist", 0.034),
    "hand": ("left_wrist", "left_wrist", "left_middle2", 0.028),
    "thigh": ("left_hip", "left_hip", "left_knee", 0.070),
    "shank": ("left_knee", "left_knee", "left_ankle", 0.046),
    "foot": ("left_ankle", "left_ankle", "left_foot", 0.038),
}
_TRUNK: tuple[tuple[str, Array, Array, float], ...] = (
    ("pelvis", above_ground(-0.065, 0.93, -0.012), above_ground(0.065, 0.93, -0.012), 0.105),
    ("spine1", above_ground(-0.040, 1.08, -0.005), above_ground(0.040, 1.08, -0.005), 0.093),
    ("spine2", above_ground(-0.050, 1.21, -0.010), above_ground(0.050, 1.21, -0.010), 0.098),
    ("spine3", above_ground(-0.060, 1.30, -0.020), above_ground(0.060, 1.30, -0.020), 0.100),
    ("head", above_ground(0.0, 1.53, 0.020), above_ground(0.0, 1.62, -0.010), 0.080),
)
_FREE = {"forearm", "hand", "shank", "foot"}  # limbs that can reach the trunk


@lru_cache(maxsize=1)
def _capsules() -> tuple[list[str], NDArray[np.int64], Array, Array]:
    """Names, carrying joints `[K]`, sample points at rest `[K, S, 3]` and radii `[K]`."""
    rest = joints()
    names, carriers, points, radii = [], [], [], []
    t = np.linspace(0.0, 1.0, SAMPLES)[:, None]
    for side in ("left", "right"):
        for name, (joint, start, end, radius) in _LIMBS.items():
            a, b = (rest[INDEX[p.replace("left", side)]] for p in (start, end))
            names.append(f"{side} {name}")
            carriers.append(INDEX[joint.replace("left", side)])
            points.append(a + t * (b - a))
            radii.append(radius)
    for joint, a, b, radius in _TRUNK:
        names.append(f"trunk {joint}")
        carriers.append(INDEX[joint])
        points.append(a + t * (b - a))
        radii.append(radius)
    return names, np.array(carriers), np.array(points), np.array(radii)


@lru_cache(maxsize=1)
def _pairs() -> NDArray[np.int64]:
    """Which capsules must keep apart, `[P, 2]`: free limbs and the trunk, and limbs that do not adjoin."""
    names = _capsules()[0]
    order = list(_LIMBS)
    out = []
    for i, first in enumerate(names):
        for k in range(i + 1, len(names)):
            (side_a, a), (side_b, b) = first.split(" ", 1), names[k].split(" ", 1)
            if side_b == "trunk":
                wanted = side_a != "trunk" and a in _FREE
            elif side_a == side_b:
                neighbours = abs(order.index(a) - order.index(b)) == 1
                wanted = not neighbours and (a, b) not in {("upper_arm", "hand"), ("thigh", "foot")}
                wanted = wanted and (a, b) != ("upper_arm", "thigh")
            else:
                wanted = (a, b) != ("thigh", "thigh")
            if wanted:
                out.append((i, k))
    return np.array(out)


def touches_itself(body: Array) -> bool:
    """Whether limbs of a pose go through each other or the trunk.

    Args:
        body: axis-angles of joints 1..21, `[21, 3]` radians.
    """
    _, carriers, points, radii = _capsules()
    rest = joints()
    turn = np.empty((22, 3, 3))
    place = np.empty((22, 3))
    turn[0], place[0] = np.eye(3), rest[0]
    local = Rotation.from_rotvec(body).as_matrix()
    for j in range(1, 22):
        parent = PARENTS[j]
        turn[j] = turn[parent] @ local[j - 1]
        place[j] = place[parent] + turn[parent] @ (rest[j] - rest[parent])
    moved = (
        np.einsum("kab,ksb->ksa", turn[carriers], points - rest[carriers][:, None]) + place[carriers][:, None]
    )
    first, second = _pairs().T
    gap = moved[first][:, :, None] - moved[second][:, None]
    apart = np.sqrt((gap**2).sum(-1)).min((1, 2))
    return bool((apart < radii[first] + radii[second] - SLACK_M).any())
