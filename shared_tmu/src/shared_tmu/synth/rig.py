"""Skinning weights, shape directions, pose correctives and joint regressor of SynthHand."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from shared_tmu.synth.anatomy import DORSAL, FINGERS, HAND, PARENTS, WRIST, Finger, bone_ends, joints
from shared_tmu.synth.implicit import finger_distance, palm_distance
from shared_tmu.synth.remesh import unique_edges

Array = NDArray[np.float64]
SHAPE_NAMES = (
    "size", "finger_length", "thickness", "palm_width", "palm_length",
    "thumb_length", "little_finger_length", "fingertip_taper", "palm_thickness", "finger_spacing",
)  # fmt: skip


def smoothstep(x: Array, low: float | Array, high: float | Array) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def _chain_position(points: Array, finger: Finger) -> list[Array]:
    """Signed distance of K points past each of the finger's three joints, 3 x `[K]` metres."""
    axes = finger.axes
    mean = np.stack([axes[0], axes[0] + axes[1], axes[1] + axes[2]])
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    return [(points - finger.points[i]) @ mean[i] for i in range(3)]


def skinning_weights(vertices: Array, faces: NDArray[np.int64], smooth_steps: int = 2) -> Array:
    """Which joints move which vertex: smooth across joints, strict between neighbouring fingers.

    Args:
        vertices: at rest, `[V, 3]` metres.
        faces: `[F, 3]`.
        smooth_steps: rounds of blending with the neighbours.

    Returns:
        Weights `[V, 16]` in rows of sum one.
    """
    distance = np.stack([finger_distance(vertices, HAND[name]) for name in FINGERS], axis=1)
    share = np.exp(-np.maximum(distance, 0.0) / 0.0022)
    share /= share.sum(1, keepdims=True)
    palm = np.exp(-np.maximum(palm_distance(vertices), 0.0) / 0.004)
    weights = np.zeros((len(vertices), 16))
    for f, name in enumerate(FINGERS):
        finger, thumb = HAND[name], name == "thumb"
        at = _chain_position(vertices, finger)
        near = smoothstep(-distance[:, f], -0.012 if thumb else -0.007, 0.0)
        base = smoothstep(at[0], *((-0.004, 0.030) if thumb else (-0.011, 0.011))) * near * share[:, f]
        if thumb:  # the ball of the thumb follows the first thumb joint only in part
            base *= 1.0 - 0.35 * palm * (1.0 - smoothstep(at[1], -0.02, 0.0))
        middle = smoothstep(at[1], -0.0075, 0.0075)
        end = smoothstep(at[2], -0.006, 0.006)
        first = 1 + 3 * f
        weights[:, first] = base * (1.0 - middle)
        weights[:, first + 1] = base * middle * (1.0 - end)
        weights[:, first + 2] = base * middle * end
    weights[:, 0] = np.maximum(1.0 - weights[:, 1:].sum(1), 0.0)
    return blend_with_neighbours(weights, faces, smooth_steps)


def blend_with_neighbours(weights: Array, faces: NDArray[np.int64], steps: int) -> Array:
    """Smooth weights `[V, J]` along the edges of faces `[F, 3]`, drop traces, and make rows sum to one."""
    edges = unique_edges(faces)
    degree = np.bincount(edges.ravel(), minlength=len(weights))[:, None]
    for _ in range(steps):
        mean = np.zeros_like(weights)
        np.add.at(mean, edges[:, 0], weights[edges[:, 1]])
        np.add.at(mean, edges[:, 1], weights[edges[:, 0]])
        weights = 0.65 * weights + 0.35 * mean / degree
    weights[weights < 0.004] = 0.0
    return np.asarray(weights / weights.sum(1, keepdims=True))


class _Growth:
    """A small change of anatomy: each bone's length and flesh scaled, the palm along its three axes."""

    def __init__(self) -> None:
        self.along = np.ones(16)
        self.around = np.ones(16)
        self.palm = np.ones(3)  # along, up, radial
        self.base_shift = np.zeros((16, 3))

    def finger(self, name: str, along: float = 1.0, around: float = 1.0, last_around: float = 1.0) -> None:
        """Scale a finger's bones along and around, and the flesh of its last one once more."""
        first = 1 + 3 * FINGERS.index(name)
        self.along[first : first + 3] *= along
        self.around[first : first + 3] *= around
        self.around[first + 2] *= last_around

    def apply(self, points: Array, weights: Array) -> tuple[Array, Array]:
        """Moved points `[V, 3]` and moved joints `[16, 3]`."""
        rest, ends = joints(), bone_ends()
        moved = rest.copy()
        for j in range(1, 16):
            parent = PARENTS[j]
            step = rest[j] - rest[parent]
            moved[j] = moved[parent] + (step * self.palm if parent == 0 else step * self.along[parent])
            moved[j] += self.base_shift[j]
        out = weights[:, :1] * (WRIST + (points - WRIST) * self.palm)
        for j in range(1, 16):
            axis = ends[j] - rest[j]
            axis = axis / np.linalg.norm(axis)
            local = points - rest[j]
            length = (local @ axis)[:, None] * axis
            grown = moved[j] + self.along[j] * length + self.around[j] * (local - length)
            out = out + weights[:, j : j + 1] * grown
        return out, moved


def _growths() -> list[_Growth]:
    """One standard deviation of each of the ten shape directions, in the sequence of `SHAPE_NAMES`."""
    made = [_Growth() for _ in SHAPE_NAMES]
    made[0].palm *= 1.065
    long_fingers = ("index", "middle", "ring", "pinky")
    for name in FINGERS:
        made[0].finger(name, along=1.065, around=1.065)
        made[2].finger(name, around=1.09)
        made[7].finger(name, last_around=0.90)
    made[2].palm *= (1.0, 1.05, 1.02)
    for name in long_fingers:
        made[1].finger(name, along=1.06)
    made[3].palm *= (1.0, 1.0, 1.07)
    made[4].palm *= (1.055, 1.0, 1.0)
    made[5].finger("thumb", along=1.07)
    made[6].finger("pinky", along=1.08)
    made[6].finger("ring", along=1.025)
    made[8].palm *= (1.0, 1.08, 1.0)
    for sign, name in ((1.0, "index"), (-0.5, "ring"), (-1.4, "pinky")):
        made[9].base_shift[1 + 3 * FINGERS.index(name)] = (0.0, 0.0, sign * 0.0016)
    return made


def shape_directions(vertices: Array, weights: Array) -> tuple[Array, Array]:
    """Displacement per standard deviation: of vertices `[V, 3, 10]`, of joints `[16, 3, 10]`, metres."""
    by_vertex, by_joint = [], []
    for growth in _growths():
        moved, moved_joints = growth.apply(vertices, weights)
        by_vertex.append(moved - vertices)
        by_joint.append(moved_joints - joints())
    return np.stack(by_vertex, axis=-1), np.stack(by_joint, axis=-1)


def pose_correctives(vertices: Array, weights: Array) -> Array:
    """Displacement per entry of R - I of joints 1..15, `[V, 3, 135]` metres, that gives lost flesh back.

    Blending two bones with weights w and 1-w across a joint bent by an angle a draws a point at distance d
    from the bending axis in by about d w (1-w) (1 - cos a); since trace(R - I) = -2 (1 - cos a), a
    displacement that is linear in the diagonal of R - I undoes it to first order.
    """
    rest = joints()
    out = np.zeros((len(vertices), 3, 135))
    for j in range(1, 16):
        with_children = weights[:, [k for k in range(16) if _descends(k, j)]].sum(1)
        shrink = with_children * (1.0 - with_children)
        near = np.exp(-((np.linalg.norm(vertices - rest[j], axis=1) / 0.030) ** 4))
        offset = vertices - rest[j]
        amount = -0.45 * (shrink * near)[:, None] * offset
        for entry in (0, 4, 8):
            out[:, :, 9 * (j - 1) + entry] = amount
    return out


def _descends(joint: int, ancestor: int) -> bool:
    while joint > 0 and joint != ancestor:
        joint = int(PARENTS[joint])
    return joint == ancestor


def joint_regressor(
    vertices: Array,
    rest_joints: Array,
    directions: Array,
    joint_directions: Array,
    nearest: int = 60,
    stress: float = 3.0,
) -> Array:
    """Non-negative rows of sum one that give the joints at rest and under every shape direction.

    Args:
        vertices: at rest, `[V, 3]` metres.
        rest_joints: joints at rest, `[J, 3]` metres.
        directions: displacement of vertices per shape direction, `[V, 3, 10]` metres.
        joint_directions: displacement of joints, `[J, 3, 10]` metres.
        nearest: vertices around a joint that may carry it.
        stress: how much one direction counts against the rest pose.

    Returns:
        `[J, V]`.
    """
    out = np.zeros((len(rest_joints), len(vertices)))
    for j, rest in enumerate(rest_joints):
        pick = np.argsort(np.linalg.norm(vertices - rest, axis=1))[:nearest]
        rows = [vertices[pick].T - rest[:, None]]
        targets = [np.zeros(3)]
        for k in range(directions.shape[2]):
            rows.append(stress * directions[pick, :, k].T)
            targets.append(stress * joint_directions[j, :, k])
        rows.append(np.ones((1, len(pick))))
        targets.append(np.ones(1))
        solution, _ = nnls(np.concatenate(rows), np.concatenate(targets))
        out[j, pick] = solution / solution.sum()
    return out


@lru_cache(maxsize=1)
def finger_frames() -> tuple[Array, Array]:
    """Flexion and abduction axes of joints 1..15 at rest, `[15, 3]` each, unit vectors in the template frame.

    A positive turn about the flexion axis closes the hand; a positive turn about the abduction axis moves a
    finger towards the thumb (for the thumb: away from the palm's plane).
    """
    flexion, abduction = [], []
    for name in FINGERS:
        finger = HAND[name]
        for axis in finger.axes:
            flex = np.cross(axis, finger.bend)
            flex /= np.linalg.norm(flex)
            flexion.append(flex)
            side = np.cross(flex, axis) if name == "thumb" else DORSAL - (DORSAL @ axis) * axis
            abduction.append(side / np.linalg.norm(side))
    return np.array(flexion), np.array(abduction)
