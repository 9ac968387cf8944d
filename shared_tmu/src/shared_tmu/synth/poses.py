"""Plausible hand poses: finger angles within joint limits, sampled around common postures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.rig import finger_frames

Array = NDArray[np.float64]

# Degrees. Four long fingers: base flexion, base abduction, middle flexion, end flexion (follows middle).
# Ranges of motion as in hand-surgery tables (American Academy of Orthopaedic Surgeons), slightly narrowed.
LONG_LIMITS = {"base": (-22, 90), "side": (-16, 16), "middle": (-3, 105), "end": (-5, 75)}
# Thumb: base flexion across the palm, base abduction, base twist, then the two other joints.
THUMB_LIMITS = {
    "base": (-25, 32), "side": (-30, 25), "twist": (-15, 30), "middle": (-12, 55), "end": (-20, 75),
}  # fmt: skip

Posture = tuple[tuple[float, float, float, float], float, tuple[float, float, float, float]]
# Posture: curl of (index, middle, pinky, ring) from 0 straight to 1 closed, spread, and degrees of the thumb
# (base, side, middle, end).
POSTURES: dict[str, Posture] = {
    "flat": ((0.0, 0.0, 0.0, 0.0), 0.0, (0, 0, 0, 0)),
    "spread": ((0.0, 0.0, 0.0, 0.0), 1.0, (-20, 5, -5, -8)),
    "relaxed": ((0.25, 0.30, 0.38, 0.34), 0.1, (8, -6, 12, 12)),
    "fist": ((0.97, 1.0, 1.0, 1.0), -0.4, (26, -12, 38, 50)),
    "point": ((0.02, 0.92, 0.95, 0.95), 0.0, (24, -10, 35, 40)),
    "victory": ((0.02, 0.02, 0.95, 0.93), 0.8, (28, -10, 40, 35)),
    "three": ((0.02, 0.02, 0.95, 0.05), 0.6, (28, -10, 42, 40)),
    "thumb_up": ((0.95, 0.98, 0.98, 0.98), -0.2, (-18, 8, -5, -12)),
    "phone": ((0.93, 0.97, 0.05, 0.95), 0.5, (-20, 8, -4, -8)),
    "horns": ((0.03, 0.95, 0.05, 0.95), 0.4, (25, -10, 38, 38)),
    "ok": ((0.62, 0.16, 0.04, 0.10), 0.5, (18, -16, 18, 30)),
    "pinch": ((0.50, 0.42, 0.55, 0.48), 0.0, (16, -16, 16, 22)),
    "cylinder": ((0.55, 0.58, 0.62, 0.60), 0.15, (10, -20, 22, 24)),
    "sphere": ((0.38, 0.38, 0.40, 0.38), 0.9, (4, -22, 18, 20)),
    "claw": ((0.50, 0.50, 0.50, 0.50), 0.5, (0, -10, 15, 35)),
    "write": ((0.48, 0.55, 0.75, 0.68), -0.3, (18, -14, 22, 20)),
    "four": ((0.03, 0.03, 0.03, 0.03), 0.4, (30, -8, 40, 45)),
    "count_two": ((0.03, 0.90, 0.95, 0.95), 0.2, (-18, 6, -5, -8)),
}

# Postures that are more frequent in photographs than in `POSTURES`.
BUSY_POSTURES: dict[str, Posture] = {
    "typing": ((0.30, 0.34, 0.38, 0.36), 0.35, (4, -8, 6, 10)),
    "reaching_key": ((0.18, 0.42, 0.45, 0.44), 0.3, (6, -10, 10, 14)),
    "mouse": ((0.20, 0.20, 0.36, 0.32), 0.25, (2, -14, 8, 16)),
    "on_thigh": ((0.12, 0.12, 0.18, 0.15), 0.15, (-4, 0, 4, 4)),
    "bar": ((0.74, 0.76, 0.80, 0.78), -0.1, (20, -18, 32, 34)),
    "hook": ((0.66, 0.66, 0.68, 0.67), 0.0, (0, -4, 10, 15)),
    "ring_sign": ((0.58, 0.06, 0.0, 0.03), 0.6, (16, -18, 20, 34)),
    "pen": ((0.44, 0.52, 0.72, 0.62), -0.2, (16, -16, 24, 18)),
    "phone_hold": ((0.36, 0.44, 0.52, 0.48), 0.2, (-6, -16, 4, 6)),
    "mug": ((0.60, 0.62, 0.72, 0.66), 0.0, (8, -18, 18, 10)),
    "laced": ((0.34, 0.36, 0.40, 0.38), 0.8, (-6, -6, 6, 10)),
    "wide": ((0.02, 0.04, 0.04, 0.05), 1.4, (-22, 8, -6, -10)),
    "praying": ((-0.03, -0.03, -0.03, -0.03), -0.4, (-6, 0, 0, 0)),
    "pointing": ((0.04, 0.70, 0.78, 0.75), 0.1, (10, -12, 25, 28)),
    "covering": ((0.10, 0.10, 0.14, 0.12), 0.5, (-14, 2, 2, 2)),
    "digging": ((0.42, 0.44, 0.46, 0.45), -0.1, (6, -14, 14, 18)),
}


def _curl_to_angles(curl: Array, bias: Array) -> tuple[Array, Array, Array]:
    """Base, middle and end flexion of the long fingers in degrees; `bias` moves bend between joints."""
    base = 84.0 * np.clip(curl + 0.30 * bias * curl * (1.3 - curl), -0.22, 1.05)
    middle = 102.0 * np.clip(curl - 0.45 * bias * curl * (1.3 - curl), 0.0, 1.05)
    return base, middle, 0.62 * middle


def sample_hand_poses(
    rng: np.random.Generator, count: int, postures: Mapping[str, Posture] = POSTURES
) -> Array:
    """Draw finger poses.

    Args:
        rng: the only source of randomness.
        count: number of poses.
        postures: the postures around which they are sampled.

    Returns:
        Axis-angle per finger joint in MANO's sequence and template frame, `[count, 15, 3]` radians.
    """
    return axis_angle_of(sample_hand_angles(rng, count, postures))


def sample_hand_angles(
    rng: np.random.Generator, count: int, postures: Mapping[str, Posture] = POSTURES
) -> Array:
    """As `sample_hand_poses`, but how far each joint is bent, turned sideways and twisted: degrees
    `[count, 15, 3]`. The limits are a box in these angles, so a mixture of poses keeps them, too."""
    names = list(postures)
    curls = np.array([postures[name][0] for name in names])
    spreads = np.array([postures[name][1] for name in names])
    thumbs = np.array([postures[name][2] for name in names], dtype=float)
    first, second = rng.integers(len(names), size=(2, count))
    mix = np.where(rng.random(count) < 0.5, rng.beta(0.5, 0.5, count), 0.0)[:, None]
    curl = (1 - mix) * curls[first] + mix * curls[second] + rng.normal(0, 0.07, (count, 4))
    free = rng.random(count) < 0.25  # a quarter bends every finger on its own
    curl[free] = rng.beta(0.9, 0.9, (int(free.sum()), 4))
    spread = (1 - mix[:, 0]) * spreads[first] + mix[:, 0] * spreads[second] + rng.normal(0, 0.35, count)
    thumb = (1 - mix) * thumbs[first] + mix * thumbs[second] + rng.normal(0, 6.0, (count, 4))
    return _assemble(rng, curl, spread, thumb)


def posture_pose(name: str, postures: Mapping[str, Posture] = POSTURES) -> Array:
    """The axis-angle of one of `postures` without noise, `[15, 3]` radians."""
    curl, spread, thumb = postures[name]
    angles = _assemble(None, np.array([curl]), np.array([spread]), np.array([thumb], dtype=float))
    return np.asarray(axis_angle_of(angles)[0])


def _assemble(rng: np.random.Generator | None, curl: Array, spread: Array, thumb: Array) -> Array:
    """Angles `[K, 15, 3]` of curls `[K, 4]`, spread `[K]` and thumb `[K, 4]`; no noise without `rng`."""
    count = len(curl)

    def noise(scale: float, *shape: int) -> Array:
        return np.zeros((count, *shape)) if rng is None else rng.normal(0, scale, (count, *shape))

    flexion = np.zeros((count, 15))
    side = np.zeros((count, 15))
    twist = np.zeros((count, 15))
    base, middle, end = _curl_to_angles(np.clip(curl, -0.25, 1.05), noise(0.45, 4))
    fan = np.array([0.9, 0.15, -1.4, -0.6]) * 9.0  # towards the thumb is positive
    long = np.array([0, 3, 6, 9])
    open_share = np.clip(1.0 - base / 110.0, 0.15, 1.0)  # bent fingers cannot be spread
    flexion[:, long] = np.clip(base + noise(4.0, 4), *LONG_LIMITS["base"])
    side[:, long] = np.clip(open_share * (spread[:, None] * fan + noise(2.5, 4)), *LONG_LIMITS["side"])
    flexion[:, long + 1] = np.clip(middle + noise(4.0, 4), *LONG_LIMITS["middle"])
    flexion[:, long + 2] = np.clip(end + noise(5.0, 4), *LONG_LIMITS["end"])
    flexion[:, 12] = np.clip(thumb[:, 0], *THUMB_LIMITS["base"])
    side[:, 12] = np.clip(thumb[:, 1], *THUMB_LIMITS["side"])
    twist[:, 12] = np.clip(0.5 * thumb[:, 0] + noise(5.0), *THUMB_LIMITS["twist"])
    flexion[:, 13] = np.clip(thumb[:, 2], *THUMB_LIMITS["middle"])
    flexion[:, 14] = np.clip(thumb[:, 3], *THUMB_LIMITS["end"])
    return np.stack((flexion, side, twist), axis=-1)


def axis_angle_of(angles: Array) -> Array:
    """Finger rotations from flexion, side turn and twist, degrees `[K, 15, 3]` -> radians `[K, 15, 3]`.

    Convention: side turn, then twist, then flexion in the moved frame.
    """
    from scipy.spatial.transform import Rotation

    flexion, side, twist = np.moveaxis(angles, -1, 0)

    flex_axis, side_axis = finger_frames()
    bone_axis = np.cross(side_axis, flex_axis)

    def turn(angle: Array, axis: Array) -> Rotation:
        return Rotation.from_rotvec((np.radians(angle)[..., None] * axis).reshape(-1, 3))

    total = turn(side, side_axis) * turn(twist, bone_axis) * turn(flexion, flex_axis)
    return np.asarray(total.as_rotvec().reshape(*flexion.shape, 3))
