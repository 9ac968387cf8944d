"""Shape and expression directions of SynthBody: small changes of anatomy, one standard deviation each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.smplx_model import PARENTS
from shared_tmu.synth.body.anatomy import INDEX, JOINT_NAMES, above_ground, joints
from shared_tmu.synth.body.head import MOUTH, face
from shared_tmu.synth.body.mesh import SKIN_VERTICES, Template
from shared_tmu.synth.body.weights import lower_lip_share
from shared_tmu.synth.rig import smoothstep

Array = NDArray[np.float64]
SHAPE_NAMES = (
    "height", "weight", "leg_length", "arm_length", "shoulder_width", "hip_width", "belly", "chest",
    "muscle", "head_size",
)  # fmt: skip
EXPRESSION_NAMES = (
    "mouth_open", "smile", "frown", "brows_up", "brows_down", "pucker", "cheeks_puffed", "eyes_closed",
    "nose_wrinkled", "mouth_wide",
)  # fmt: skip

_TRUNK = ("pelvis", "spine1", "spine2", "spine3")
_UPPER_ARM, _FOREARM = ("shoulder",), ("elbow",)
_FINGERS = tuple(name for name in JOINT_NAMES if name[-1].isdigit() and not name.startswith("spine"))
_HANDS = ("left_wrist", "right_wrist", *_FINGERS)


class _ShapeGrowth:
    """One affine map per joint: its flesh is scaled along the axes of space, and its children move along."""

    def __init__(self) -> None:
        self.scale = np.ones((len(JOINT_NAMES), 3))

    def grow(self, names: Sequence[str], x: float = 1.0, y: float = 1.0, z: float = 1.0) -> None:
        """Scale the flesh of the named joints; a name without a side means both."""
        for name in names:
            full = [name] if name in INDEX else [f"left_{name}", f"right_{name}"]
            for each in full:
                self.scale[INDEX[each]] *= (x, y, z)

    def apply(self, vertices: Array, weights: Array) -> tuple[Array, Array]:
        """Moved vertices `[V, 3]` and joints `[55, 3]`."""
        rest = joints()
        moved = rest.copy()
        for j, parent in enumerate(PARENTS):
            if parent >= 0:
                moved[j] = moved[parent] + (rest[j] - rest[parent]) * self.scale[parent]
        offset = moved - rest * self.scale
        return vertices * (weights @ self.scale) + weights @ offset, moved


def _growths() -> list[_ShapeGrowth]:
    """In the sequence of `SHAPE_NAMES`."""
    made = [_ShapeGrowth() for _ in SHAPE_NAMES]
    height, weight, legs, arms, shoulders, hips, _, chest, muscle, head = made
    height.grow(JOINT_NAMES, 1.042, 1.042, 1.042)
    height.grow(("head", "jaw", "left_eye", "right_eye"), 0.982, 0.982, 0.982)
    weight.grow(_TRUNK, x=1.075, z=1.10)
    weight.grow(("hip",), x=1.09, z=1.09)
    weight.grow(("knee",), x=1.06, z=1.06)
    weight.grow(("shoulder", "elbow"), y=1.08, z=1.08)
    weight.grow(("collar",), y=1.03, z=1.06)
    weight.grow(("neck",), x=1.07, z=1.07)
    weight.grow(("head", "jaw"), x=1.025, z=1.01)
    weight.grow(_HANDS, y=1.04, z=1.03)
    legs.grow(("hip", "knee"), y=1.05)
    legs.grow(("ankle", "foot"), x=1.02, y=1.02, z=1.03)
    arms.grow(("shoulder", "elbow"), x=1.05)
    arms.grow(_HANDS, 1.03, 1.03, 1.03)
    shoulders.grow(("collar",), x=1.10)
    shoulders.grow(("spine3",), x=1.05)
    shoulders.grow(("spine2",), x=1.03)
    hips.grow(("pelvis",), x=1.07, z=1.03)
    hips.grow(("hip",), x=1.05, z=1.03)
    hips.grow(("spine1",), x=1.02)
    chest.grow(("spine3",), z=1.04)
    muscle.grow(("shoulder", "elbow"), y=1.08, z=1.08)
    muscle.grow(("hip", "knee"), x=1.04, z=1.05)
    muscle.grow(("collar", "neck"), x=1.02, y=1.02, z=1.05)
    muscle.grow(("spine1",), x=0.985, z=0.975)
    head.grow(("head", "jaw", "left_eye", "right_eye"), 1.035, 1.035, 1.035)
    return made


def _bump(vertices: Array, centre: Array, radii: Sequence[float], push: Sequence[float]) -> Array:
    """A smooth displacement around a place on the left and its mirror image, `[V, 3]`."""
    out = np.zeros_like(vertices)
    for side in (1.0, -1.0):
        mirror = np.array([side, 1.0, 1.0])
        local = (vertices - centre * mirror) / radii
        fall = np.exp(-(local**2).sum(1))
        out += fall[:, None] * np.asarray(push) * mirror
    return out


def shape_directions(vertices: Array, weights: Array) -> tuple[Array, Array]:
    """Displacement per standard deviation: vertices `[V, 3, 10]`, joints `[55, 3, 10]`, metres."""
    by_vertex, by_joint = [], []
    for growth in _growths():
        moved, moved_joints = growth.apply(vertices, weights)
        by_vertex.append(moved - vertices)
        by_joint.append(moved_joints - joints())
    trunk = weights[:, [INDEX[name] for name in (*_TRUNK, "left_hip", "right_hip")]].sum(1)[:, None]
    belly, chest = SHAPE_NAMES.index("belly"), SHAPE_NAMES.index("chest")
    bump = _bump(vertices, above_ground(0.035, 1.04, 0.10), (0.10, 0.12, 0.11), (0.003, 0, 0.012))
    by_vertex[belly] += trunk * bump
    bump = _bump(vertices, above_ground(0.075, 1.275, 0.09), (0.055, 0.055, 0.055), (0.0, -0.002, 0.010))
    by_vertex[chest] += trunk * bump
    return np.stack(by_vertex, axis=-1), np.stack(by_joint, axis=-1)


# Place on the left of the face, reach, push; metres.
_CORNER = (0.0255, MOUTH, 0.082)
_EXPRESSIONS: dict[str, list[tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]]] = {
    "smile": [
        (_CORNER, (0.013, 0.013, 0.02), (0.0055, 0.0045, -0.0030)),
        ((0.040, -0.035, 0.070), (0.018, 0.016, 0.03), (0.0015, 0.0035, 0.0015)),
    ],
    "frown": [(_CORNER, (0.012, 0.012, 0.02), (0.0010, -0.0055, -0.0005))],
    "brows_up": [((0.028, 0.022, 0.078), (0.026, 0.014, 0.03), (0.0, 0.0060, 0.0005))],
    "brows_down": [((0.018, 0.020, 0.080), (0.018, 0.012, 0.03), (-0.0025, -0.0040, 0.0010))],
    "pucker": [
        (_CORNER, (0.014, 0.014, 0.02), (-0.0080, 0.0, 0.0030)),
        ((0.0, MOUTH, 0.095), (0.014, 0.012, 0.02), (0.0, 0.0, 0.0040)),
    ],
    "cheeks_puffed": [((0.042, -0.060, 0.062), (0.020, 0.022, 0.03), (0.0060, 0.0, 0.0045))],
    "nose_wrinkled": [((0.012, -0.038, 0.098), (0.010, 0.014, 0.02), (0.0015, 0.0030, 0.0))],
    "mouth_wide": [(_CORNER, (0.015, 0.015, 0.02), (0.0065, 0.0, -0.0030))],
}


def expression_directions(template: Template, weights: Array) -> Array:
    """Displacement per standard deviation, `[10475, 3, 10]` metres."""
    vertices = template.vertices
    out = np.zeros((len(vertices), 3, len(EXPRESSION_NAMES)))
    for k, name in enumerate(EXPRESSION_NAMES):
        for place, reach, push in _EXPRESSIONS.get(name, []):
            centre = face(*place)
            halves = 0.5 if place[0] == 0.0 else 1.0  # both bumps meet in the middle
            out[:, :, k] += halves * _bump(vertices, centre, reach, push)
    lower = lower_lip_share(vertices)
    mouth = EXPRESSION_NAMES.index("mouth_open")
    near = np.exp(-(((vertices - face(0, MOUTH, 0.09)) / (0.024, 0.020, 0.03)) ** 2).sum(1))
    out[:, 1, mouth] = near * (0.0015 * (1.0 - lower) - 0.0060 * lower)
    out[:, :, EXPRESSION_NAMES.index("eyes_closed")] = _lids(vertices)
    on_head = weights[:, [INDEX["head"], INDEX["jaw"]]].sum(1)
    out *= smoothstep(on_head, 0.5, 1.0)[:, None, None]
    out[SKIN_VERTICES:] = 0.0  # eyeballs only turn
    return out


def _lids(vertices: Array) -> Array:
    """Upper lids halfway down, lower ones a little up, `[V, 3]`."""
    upper = _bump(vertices, face(0.032, 0.0062, 0.078), (0.014, 0.0042, 0.012), (0.0, -0.0042, 0.0008))
    lower = _bump(vertices, face(0.032, -0.0066, 0.078), (0.014, 0.0040, 0.012), (0.0, 0.0012, 0.0004))
    return upper + lower
