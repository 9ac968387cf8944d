"""The surface of SynthHand as a signed distance: flesh around bones, blended smoothly where parts meet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.anatomy import FINGERS, HAND, Finger, from_hand

Array = NDArray[np.float64]
CUT_MM = -14.0  # the wrist is cut open here, in mm along the hand


def capsule(
    points: Array, start: Array, end: Array, radius_start: float, radius_end: float, flat: float
) -> Array:
    """Distance to a tapering capsule whose height (y) is `flat` times its width, `[K, 3]` -> `[K]` metres."""
    squash = np.array([1.0, 1.0 / flat, 1.0])
    p, a, b = (points - start) * squash, np.zeros(3), (end - start) * squash
    t = np.clip(p @ b / (b @ b), 0.0, 1.0)
    radius = radius_start + (radius_end - radius_start) * t
    return np.asarray((np.linalg.norm(p - a - t[:, None] * b, axis=1) - radius) * min(flat, 1.0))


def smooth_min(first: Array, second: Array, width: float) -> Array:
    """Union of two distances, rounded over `width` metres (polynomial blend)."""
    h = np.maximum(width - np.abs(first - second), 0.0) / width
    return np.asarray(np.minimum(first, second) - h * h * width / 4.0)


def finger_distance(points: Array, finger: Finger) -> Array:
    """Distance to one finger, `[K, 3]` -> `[K]` metres.

    It has three phalanges, pads on the bending side and slight knuckles on the other.
    """
    out = np.full(len(points), np.inf)
    flat = 1.0 if finger.name == "thumb" else 0.94
    for i in range(3):
        a, b = finger.points[i], finger.points[i + 1]
        bone = capsule(points, a, b, finger.radii[i], finger.radii[i + 1], flat)
        belly = a + 0.5 * (b - a) + finger.bend * finger.radii[i + 1] * (0.22 if i < 2 else 0.10)
        half = 0.22 * (b - a)
        thick, thin = 0.93 * finger.radii[i], 0.93 * finger.radii[i + 1]
        pad = capsule(points, belly - half, belly + half, thick, thin, flat)
        bone = smooth_min(bone, pad, 0.004)
        out = bone if i == 0 else smooth_min(out, bone, 0.003)
    # a tip that tapers instead of a half ball
    end = finger.points[3] + 0.42 * finger.radii[3] * finger.axes[2]
    out = smooth_min(out, np.linalg.norm(points - end, axis=1) - 0.72 * finger.radii[3], 0.004)
    for i in (1, 2):
        knuckle = finger.points[i] - finger.bend * 0.16 * finger.radii[i]
        ball = np.linalg.norm(points - knuckle, axis=1) - 0.97 * finger.radii[i]
        out = smooth_min(out, ball, 0.004)
    return out


def _palm_parts(points: Array) -> list[tuple[Array, float]]:
    """Capsules of the palm with the width of their blend, metres."""
    parts = []
    carpal = {"index": (14, 1, 14), "middle": (14, 2, 3), "ring": (14, 1, -8), "pinky": (14, -1, -17)}
    for name, start in carpal.items():
        radius = {"index": 12.2, "middle": 12.0, "ring": 11.6, "pinky": 11.2}[name] * 1e-3
        base = HAND[name].points[0]
        parts.append((capsule(points, from_hand(*start), base, 1.25 * radius, 0.93 * radius, 0.92), 0.012))
        knuckle = base + np.array([-0.001, 0.0050, 0.0])
        parts.append((np.linalg.norm(points - knuckle, axis=1) - 0.0086, 0.008))
    wrist = capsule(points, from_hand(-60, 0, -1), from_hand(4, 0, -1), 0.0285, 0.0265, 0.70)
    parts.append((wrist, 0.016))
    thenar = capsule(points, from_hand(20, -8, 19), from_hand(52, -13, 40), 0.0155, 0.0105, 1.0)
    parts.append((thenar, 0.014))
    hypothenar = capsule(points, from_hand(20, -8, -17), from_hand(58, -9, -32), 0.0135, 0.0105, 1.0)
    parts.append((hypothenar, 0.014))
    web = capsule(points, from_hand(50, -7, 32), from_hand(70, -4, 24), 0.0085, 0.0095, 0.8)
    parts.append((web, 0.016))
    for near, far in (("index", "middle"), ("middle", "ring"), ("ring", "pinky")):
        a = HAND[near].points[0] + 0.20 * (HAND[near].points[1] - HAND[near].points[0])
        b = HAND[far].points[0] + 0.20 * (HAND[far].points[1] - HAND[far].points[0])
        parts.append((capsule(points, a, b, 0.0075, 0.0075, 0.9), 0.008))
    return parts


def palm_distance(points: Array) -> Array:
    """Distance to palm, wrist, ball of the thumb and webs, `[K, 3]` -> `[K]` metres."""
    out = np.full(len(points), 1.0)
    for part, width in _palm_parts(points):
        out = smooth_min(out, part, width)
    return out


def hand_distance(points: Array) -> Array:
    """Signed distance to the whole hand, negative inside, `[K, 3]` -> `[K]` metres.

    Fingers are blended with the palm but not with each other, because they would fuse along their sides.
    """
    fingers = np.min([finger_distance(points, HAND[name]) for name in FINGERS], axis=0)
    return smooth_min(palm_distance(points), fingers, 0.007)


def project(points: Array, steps: int = 6) -> Array:
    """Move points `[K, 3]` onto the surface along the gradient of the distance (Newton steps)."""
    eps = 2e-4
    offsets = np.eye(3) * eps
    for _ in range(steps):
        value = hand_distance(points)
        gradient = np.stack(
            [(hand_distance(points + o) - hand_distance(points - o)) / (2 * eps) for o in offsets], axis=1
        )
        points = points - value[:, None] * gradient / np.maximum((gradient**2).sum(1, keepdims=True), 0.2)
    return points
