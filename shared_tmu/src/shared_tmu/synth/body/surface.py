"""The surface of SynthBody below the neck: torso, arms to the wrist, legs and feet, as a signed distance.

All tables describe the left half; the right one mirrors it. Heights are above the ground.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth.body.anatomy import GROUND, above_ground
from shared_tmu.synth.body.head import head_parts
from shared_tmu.synth.body.shapes import Cone, Ellipsoid, Loft, Part, combine, smooth_max

Array = NDArray[np.float64]

# height, centre z, half width, depth in front of the centre and behind it
_TORSO = (
    (0.800, -0.012, 0.085, 0.058, 0.062),
    (0.840, -0.012, 0.145, 0.080, 0.092),
    (0.880, -0.012, 0.166, 0.094, 0.112),
    (0.930, -0.011, 0.168, 0.100, 0.112),
    (0.980, -0.008, 0.158, 0.101, 0.098),
    (1.040, -0.005, 0.141, 0.098, 0.084),
    (1.095, -0.005, 0.133, 0.096, 0.080),
    (1.150, -0.008, 0.138, 0.098, 0.084),
    (1.210, -0.013, 0.150, 0.106, 0.094),
    (1.270, -0.018, 0.160, 0.110, 0.103),
    (1.320, -0.023, 0.164, 0.104, 0.106),
    (1.360, -0.028, 0.160, 0.088, 0.100),
    (1.395, -0.032, 0.140, 0.070, 0.086),
    (1.425, -0.036, 0.100, 0.056, 0.070),
    (1.450, -0.036, 0.062, 0.050, 0.058),
)
# height, centre z, half width, front, back
_NECK = (
    (1.380, -0.038, 0.068, 0.058, 0.062),
    (1.425, -0.034, 0.060, 0.054, 0.058),
    (1.465, -0.024, 0.055, 0.052, 0.056),
    (1.510, -0.014, 0.054, 0.052, 0.058),
    (1.560, -0.010, 0.054, 0.050, 0.060),
)
# x, centre height and z, up, down, front, back
_ARM = (
    (0.140, 1.368, -0.030, 0.046, 0.060, 0.056, 0.054),
    (0.180, 1.373, -0.032, 0.052, 0.058, 0.054, 0.052),
    (0.215, 1.378, -0.034, 0.051, 0.055, 0.051, 0.050),
    (0.260, 1.380, -0.037, 0.045, 0.050, 0.047, 0.046),
    (0.320, 1.380, -0.041, 0.040, 0.044, 0.045, 0.043),
    (0.380, 1.380, -0.044, 0.037, 0.039, 0.040, 0.040),
    (0.440, 1.380, -0.046, 0.035, 0.036, 0.037, 0.041),
    (0.490, 1.380, -0.045, 0.037, 0.038, 0.043, 0.043),
    (0.540, 1.380, -0.043, 0.036, 0.036, 0.042, 0.040),
    (0.600, 1.380, -0.040, 0.030, 0.030, 0.036, 0.034),
    (0.645, 1.380, -0.037, 0.0230, 0.0230, 0.0300, 0.0295),
    (0.675, 1.380, -0.036, 0.0196, 0.0196, 0.0276, 0.0276),
    (0.740, 1.380, -0.036, 0.0192, 0.0192, 0.0274, 0.0274),
)
# height, centre x and z, outwards, inwards, front, back
_LEG = (
    (0.060, 0.106, -0.030, 0.031, 0.031, 0.038, 0.040),
    (0.100, 0.106, -0.029, 0.033, 0.033, 0.036, 0.036),
    (0.150, 0.105, -0.025, 0.032, 0.032, 0.035, 0.037),
    (0.220, 0.103, -0.020, 0.040, 0.038, 0.039, 0.047),
    (0.290, 0.101, -0.016, 0.048, 0.047, 0.044, 0.060),
    (0.350, 0.100, -0.013, 0.051, 0.051, 0.047, 0.064),
    (0.420, 0.098, -0.008, 0.050, 0.049, 0.052, 0.052),
    (0.470, 0.097, -0.003, 0.050, 0.051, 0.056, 0.049),
    (0.510, 0.096, -0.001, 0.053, 0.053, 0.057, 0.052),
    (0.570, 0.094, 0.002, 0.059, 0.058, 0.062, 0.060),
    (0.650, 0.092, 0.003, 0.067, 0.066, 0.071, 0.069),
    (0.730, 0.091, 0.001, 0.074, 0.072, 0.079, 0.077),
    (0.800, 0.091, -0.002, 0.080, 0.076, 0.085, 0.085),
    (0.860, 0.089, -0.004, 0.079, 0.076, 0.084, 0.090),
    (0.930, 0.084, -0.005, 0.066, 0.068, 0.074, 0.074),
    (1.000, 0.078, -0.006, 0.040, 0.040, 0.040, 0.040),
)
# z, centre x and height, outwards, inwards, up, down
_FOOT = (
    (-0.088, 0.106, 0.034, 0.012, 0.012, 0.014, 0.026),
    (-0.075, 0.106, 0.036, 0.026, 0.026, 0.030, 0.036),
    (-0.050, 0.107, 0.038, 0.032, 0.032, 0.046, 0.040),
    (-0.010, 0.108, 0.038, 0.034, 0.033, 0.058, 0.040),
    (0.030, 0.110, 0.034, 0.037, 0.034, 0.048, 0.036),
    (0.075, 0.115, 0.025, 0.043, 0.039, 0.031, 0.027),
    (0.105, 0.117, 0.018, 0.044, 0.040, 0.020, 0.020),
    (0.128, 0.117, 0.013, 0.038, 0.036, 0.009, 0.015),
    (0.142, 0.115, 0.009, 0.026, 0.030, 0.003, 0.010),
)
# x and z of base and tip, radius of base and tip: from the big toe to the little one
TOES = (
    (0.0890, 0.105, 0.0870, 0.160, 0.0140, 0.0120),
    (0.1075, 0.110, 0.1075, 0.160, 0.0105, 0.0088),
    (0.1230, 0.106, 0.1243, 0.152, 0.0100, 0.0083),
    (0.1375, 0.098, 0.1395, 0.141, 0.0095, 0.0079),
    (0.1500, 0.088, 0.1525, 0.127, 0.0095, 0.0078),
)
SOLE_BLEND = 0.006


def _upright(rows: tuple[tuple[float, ...], ...], power: float) -> Loft:
    """A loft along y around the middle plane."""
    table = [(h + GROUND, 0.0, z, half, half, front, back) for h, z, half, front, back in rows]
    return Loft(1, table, power)


@lru_cache(maxsize=1)
def body_parts() -> tuple[Part, ...]:
    """Everything but head and feet, in the sequence in which it is joined."""
    arm = [(x, h + GROUND, z, *reach) for x, h, z, *reach in _ARM]
    leg = [(h + GROUND, x, z, *reach) for h, x, z, *reach in _LEG]
    return (
        Part(_upright(_TORSO, 2.4), 0.02),
        Part(_upright(_NECK, 2.1), 0.045),
        Part(
            Cone(above_ground(0.030, 1.462, -0.050), above_ground(0.150, 1.392, -0.040), 0.022, 0.030), 0.05
        ),
        Part(Loft(0, arm, 2.1), 0.040),
        Part(Ellipsoid(above_ground(0.186, 1.383, -0.033), (0.052, 0.046, 0.050)), 0.03),
        Part(Ellipsoid(above_ground(0.074, 1.290, 0.052), (0.070, 0.050, 0.036)), 0.04),
        Part(Ellipsoid(above_ground(0.078, 0.885, -0.080), (0.070, 0.075, 0.050)), 0.04),
        Part(Loft(1, leg, 2.1), 0.035),
    )


@lru_cache(maxsize=1)
def foot_parts() -> tuple[Part, ...]:
    """Foot and toes."""
    foot = [(z, x, h + GROUND, *reach) for z, x, h, *reach in _FOOT]
    toes = [
        Part(Cone(above_ground(x0, r0, z0), above_ground(x1, r1, z1), r0, r1), 0.010 if k == 0 else 0.005)
        for k, (x0, z0, x1, z1, r0, r1) in enumerate(TOES)
    ]
    return (Part(Loft(2, foot, 2.5), 0.03), *toes)


def person_distance(points: Array) -> Array:
    """Signed distance to the person without eyes and hands, negative inside, `[K, 3]` -> `[K]` metres."""
    folded = np.abs(points * [1.0, 0.0, 0.0]) + points * [0.0, 1.0, 1.0]
    out = combine(folded, body_parts())
    low = folded[:, 1] < GROUND + 0.16
    if low.any():
        foot = combine(folded[low], foot_parts(), out[low])
        out[low] = smooth_max(foot, GROUND - folded[low, 1], SOLE_BLEND)
    high = folded[:, 1] > GROUND + 1.40
    if high.any():
        out[high] = combine(folded[high], head_parts(), out[high])
    return out


def project(points: Array, steps: int = 6) -> Array:
    """Move points `[K, 3]` onto the surface along the gradient of the distance (Newton steps)."""
    eps = 2e-4
    for _ in range(steps):
        value = person_distance(points)
        gradient = np.stack(
            [
                (person_distance(points + o) - person_distance(points - o)) / (2 * eps)
                for o in np.eye(3) * eps
            ],
            axis=1,
        )
        step = value[:, None] * gradient / np.maximum((gradient**2).sum(1, keepdims=True), 0.2)
        points = points - np.clip(step, -0.01, 0.01)
    return points
