"""Positions of SynthBody's bones: the numbers that all later steps use.

Convention: SMPL-X's rest pose. Metres, x to the person's left, y up, z to the front; T-pose with palms down
and thumbs forward. The ground is at y = -1.30 and the person is 1.70 m tall. Lengths follow tables of body
proportions for an average adult; they were chosen by us, not measured on any licensed model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared_tmu.synth import anatomy as hand

Array = NDArray[np.float64]
GROUND = -1.30
HEIGHT = 1.70
MIRROR = np.array([-1.0, 1.0, 1.0])

BODY_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "jaw", "left_eye", "right_eye",
)  # fmt: skip
JOINT_NAMES = BODY_NAMES + tuple(
    f"{side}_{finger}{k}" for side in ("left", "right") for finger in hand.FINGERS for k in (1, 2, 3)
)
INDEX = {name: i for i, name in enumerate(JOINT_NAMES)}


def mirrored(name: str) -> str:
    """The joint of the other side, or the same for one in the middle."""
    side, _, rest = name.partition("_")
    return {"left": "right_", "right": "left_"}[side] + rest if rest else name


SWAP = np.array([INDEX[mirrored(name)] for name in JOINT_NAMES])
"""Index of each joint's mirror image, `[55]`."""

# Height above the ground, then x and z, of the joints in the middle and on the left.
_PLACES = {
    "pelvis": (0.000, 0.945, 0.000),
    "left_hip": (0.083, 0.880, 0.000),
    "spine1": (0.000, 1.055, -0.018),
    "left_knee": (0.097, 0.475, -0.003),
    "spine2": (0.000, 1.185, -0.024),
    "left_ankle": (0.106, 0.085, -0.030),
    "spine3": (0.000, 1.270, -0.020),
    "left_foot": (0.114, 0.022, 0.098),
    "neck": (0.000, 1.435, -0.034),
    "left_collar": (0.060, 1.375, -0.024),
    "head": (0.000, 1.520, -0.010),
    "left_shoulder": (0.178, 1.380, -0.032),
    "left_elbow": (0.440, 1.380, -0.045),
    "left_wrist": (0.690, 1.380, -0.035),
    "jaw": (0.000, 1.560, 0.012),
    "left_eye": (0.0315, 1.588, 0.0655),
}
EYE_RADIUS = 0.0122
HAND_SHIFT = np.array([-0.690, 1.380 + GROUND, -0.035]) - hand.WRIST  # SynthHand's frame to the right arm


def above_ground(x: float, height: float, z: float) -> Array:
    """A point given by its height above the ground, `[3]` metres."""
    return np.array([x, height + GROUND, z])


def joints() -> Array:
    """The 55 joints at rest in SMPL-X's sequence, `[55, 3]` metres."""
    out = np.empty((len(JOINT_NAMES), 3))
    for name, place in _PLACES.items():
        out[INDEX[name]] = above_ground(*place)
        if name.startswith("left"):
            out[INDEX[name.replace("left", "right")]] = above_ground(*place) * MIRROR
    fingers = hand.joints()[1:] + HAND_SHIFT
    out[INDEX["right_index1"] :] = fingers
    out[INDEX["left_index1"] : INDEX["right_index1"]] = fingers * MIRROR
    return out
