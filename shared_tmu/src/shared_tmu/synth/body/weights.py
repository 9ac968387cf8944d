"""Which joints move which vertex of SynthBody."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.mano import load_mano
from shared_tmu.synth.body.anatomy import GROUND, INDEX, JOINT_NAMES, SWAP
from shared_tmu.synth.body.head import EYE_LEVEL, MOUTH
from shared_tmu.synth.body.mesh import SKIN_VERTICES, Template
from shared_tmu.synth.rig import blend_with_neighbours, smoothstep

Array = NDArray[np.float64]
SMOOTHING_STEPS = 3


def skinning_weights(template: Template) -> Array:
    """Skinning weights `[10475, 55]`, smooth, mirrored left to right, in rows of sum one."""
    vertices = template.vertices
    folded = np.abs(vertices * [1.0, 0.0, 0.0]) + vertices * [0.0, 1.0, 1.0]
    weights = _left_weights(folded)
    on_right = vertices[:, 0] < 0
    weights[on_right] = weights[on_right][:, SWAP]
    _add_hands(weights, template, folded)
    smoothed = blend_with_neighbours(weights, template.faces, SMOOTHING_STEPS)
    head = smoothstep(_head_plane(folded), 0.035, 0.055)[:, None]  # lips stay sharp
    weights = (1.0 - head) * smoothed + head * weights
    weights[SKIN_VERTICES:] = 0.0
    eyes = np.where(vertices[SKIN_VERTICES:, 0] > 0, INDEX["left_eye"], INDEX["right_eye"])
    weights[np.arange(SKIN_VERTICES, len(vertices)), eyes] = 1.0
    weights[weights < 0.004] = 0.0
    weights = 0.5 * (weights + weights[template.mirror][:, SWAP])  # the middle plane belongs to both sides
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _head_plane(points: Array) -> Array:
    """Height above the slanted plane between neck and head: from the nape to below the chin, `[K]` metres."""
    return np.asarray(points[:, 1] - GROUND + 0.476 * points[:, 2] - 1.482)


def _left_weights(points: Array) -> Array:
    """Weights of points of the left half `[K, 3]`, without fingers, `[K, 55]`."""
    x, height, z = points[:, 0], points[:, 1] - GROUND, points[:, 2]
    share: dict[str, Array] = {}
    arm = _arm(x, height, share)
    leg = _leg(x, height, z, share)
    rest = (1.0 - arm) * (1.0 - leg)
    neck = smoothstep(height + 0.458 * z - 1.424, -0.032, 0.032)
    head = smoothstep(_head_plane(points), -0.026, 0.026)
    collar = 0.85 * smoothstep(x, 0.030, 0.115) * smoothstep(height, 1.27, 1.37)
    collar *= (1.0 - neck) * smoothstep(-height, -1.49, -1.45)
    share["left_collar"] = rest * collar
    rest = rest * (1.0 - collar)
    up = [smoothstep(height, low, high) for low, high in ((0.985, 1.125), (1.115, 1.250), (1.220, 1.330))]
    below = 1.0 - neck
    share["pelvis"] = rest * below * (1.0 - up[0])
    share["spine1"] = rest * below * up[0] * (1.0 - up[1])
    share["spine2"] = rest * below * up[1] * (1.0 - up[2])
    share["spine3"] = rest * below * up[2]
    share["neck"] = rest * neck * (1.0 - head)
    jaw = _jaw(points)
    share["head"] = rest * neck * head * (1.0 - jaw)
    share["jaw"] = rest * neck * head * jaw
    out = np.zeros((len(points), len(JOINT_NAMES)))
    for name, values in share.items():
        out[:, INDEX[name]] = values
    return out


def _arm(x: Array, height: Array, share: dict[str, Array]) -> Array:
    """Fill in the arm's joints; returns how much a point belongs to the arm at all."""
    arm = smoothstep(0.96 * (x - 0.166) + 0.26 * (height - 1.37), -0.038, 0.038)
    arm *= smoothstep(height, 1.10, 1.20) * smoothstep(-height, -1.49, -1.45)  # neither hips nor ears
    fore = smoothstep(x, 0.440 - 0.036, 0.440 + 0.036)
    hand = smoothstep(x, 0.690 - 0.024, 0.690 + 0.018)
    share["left_shoulder"] = arm * (1.0 - fore)
    share["left_elbow"] = arm * fore * (1.0 - hand)
    share["left_wrist"] = arm * fore * hand
    return arm


def _leg(x: Array, height: Array, z: Array, share: dict[str, Array]) -> Array:
    """Fill in the leg's joints; returns how much a point belongs to the leg at all.

    In front the leg begins at the groin, which rises to the side; behind, the lower half of the buttock
    follows it.
    """
    front = smoothstep(z, -0.06, 0.06)
    border = front * (0.822 + 0.92 * x) + (1.0 - front) * (0.868 + 0.30 * x)
    leg = smoothstep(border - height, -0.055, 0.055) * smoothstep(x, -0.012, 0.030)
    shank = smoothstep(0.475 - height, -0.048, 0.048)
    foot = smoothstep(0.5 * (z + 0.03) - (height - 0.090), -0.028, 0.028)
    toes = smoothstep(z, 0.098 - 0.022, 0.098 + 0.020) * smoothstep(0.10 - height, 0.0, 0.03)
    share["left_hip"] = leg * (1.0 - shank)
    share["left_knee"] = leg * shank * (1.0 - foot)
    share["left_ankle"] = leg * shank * foot * (1.0 - toes)
    share["left_foot"] = leg * shank * foot * toes
    return leg


def _below_mouth(points: Array, soft_beside: float) -> Array:
    """1 below the line from the jaw joint to the lips, 0 above; sharp between the lips, `[K]`."""
    x, up, z = np.abs(points[:, 0]), points[:, 1] - GROUND - EYE_LEVEL, points[:, 2]
    line = np.interp(z, [0.012, 0.080], [-0.030, MOUTH])
    beside = soft_beside * smoothstep(x, 0.022, 0.040)
    width = 0.0012 + beside
    return smoothstep(line - 0.6 * beside - up, -width, width)


def lower_lip_share(points: Array) -> Array:
    """1 on the lower lip and below it, 0 on the upper lip and above, `[K]`."""
    return _below_mouth(points, 0.004)


def _jaw(points: Array) -> Array:
    """How much a point of the head follows the jaw: sharp between the lips, soft on the cheek."""
    front = smoothstep(points[:, 2], -0.012, 0.030) * smoothstep(_head_plane(points), 0.004, 0.034)
    return np.asarray(_below_mouth(points, 0.022) * front)


def _add_hands(weights: Array, template: Template, folded: Array) -> None:
    """Replace the weights of the hands' vertices by SynthHand's; its palm follows wrist and forearm."""
    fingers = load_mano().weights.astype(np.float64)  # [778, 16]: wrist, then 15 finger joints
    for ids, side in ((template.left_hand, "left"), (template.right_hand, "right")):
        hand = smoothstep(folded[ids, 0], 0.690 - 0.024, 0.690 + 0.018)
        weights[ids] = 0.0
        weights[ids, INDEX[f"{side}_elbow"]] = fingers[:, 0] * (1.0 - hand)
        weights[ids, INDEX[f"{side}_wrist"]] = fingers[:, 0] * hand
        first = INDEX[f"{side}_index1"]
        weights[ids, first : first + 15] = fingers[:, 1:]
