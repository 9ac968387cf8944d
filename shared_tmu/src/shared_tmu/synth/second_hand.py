"""A second hand near the first: touching, holding, beside, in front of or behind it. It has no labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from shared_tmu.synth.geometry3d import forearm
from shared_tmu.synth.hand import PosedHand, synth_hand, vertex_normals
from shared_tmu.synth.poses import BUSY_POSTURES, POSTURES, sample_hand_poses

Array = NDArray[np.float32]
Faces = NDArray[np.int32]
MIRROR = np.array([-1.0, 1.0, 1.0], np.float32)
TWINS = 0.35  # share of mirror images where there may be
LARGEST_COVER = 0.4  # share of the first hand that a second one may hide


@dataclass(frozen=True)
class OtherHand:
    """A hand and its forearm in the camera frame.

    Attributes:
        vertices: `[778, 3]` metres.
        faces: `[F, 3]`.
        arm: its forearm's vertices `[160, 3]`.
        arm_faces: `[G, 3]`.
        arm_ring: ring number of every face of the forearm, `[G]`.
    """

    vertices: Array
    faces: Faces
    arm: Array
    arm_faces: Faces
    arm_ring: NDArray[np.int64]

    def moved(self, shift: Array) -> OtherHand:
        """The same elsewhere."""
        return OtherHand(self.vertices + shift, self.faces, self.arm + shift, self.arm_faces, self.arm_ring)


def _posed(
    rng: np.random.Generator, root: Rotation, betas: Array, left: bool, fingers: Array | None = None
) -> OtherHand:
    """A hand about the origin, in a random pose without `fingers`; a left one is the mirror image of a right
    one.
    """
    geometry = synth_hand()
    turn = root.as_matrix()
    if left:
        turn = np.diag(MIRROR) @ turn @ np.diag([1.0, 1.0, -1.0])  # thumb to the other side
    axis_angle = Rotation.from_matrix(turn).as_rotvec().astype(np.float32)
    if fingers is None:
        fingers = sample_hand_poses(rng, 1, POSTURES | BUSY_POSTURES)[0].astype(np.float32)
    posed = geometry.pose(axis_angle, fingers, betas)
    bend = Rotation.from_euler("zy", rng.normal(0.0, [20.0, 10.0]), degrees=True).as_rotvec()
    arm, arm_faces, ring = forearm(geometry, posed, axis_angle, bend.astype(np.float32))
    vertices, faces = posed.vertices, geometry.faces
    if left:
        vertices, arm = vertices * MIRROR, arm * MIRROR
        faces, arm_faces = faces[:, ::-1], arm_faces[:, ::-1]
    middle = 0.5 * (vertices.min(0) + vertices.max(0))
    return OtherHand(vertices - middle, faces, arm - middle, arm_faces, ring)


def second_hand(
    rng: np.random.Generator, hand: PosedHand, root: Array, betas: Array, fingers: Array | None = None
) -> OtherHand | None:
    """Another hand near `hand`, or None if it would hide too much of it.

    Args:
        rng: the only source of randomness.
        hand: the first one, a right hand.
        root: its orientation, axis-angle `[3]`.
        betas: its shape, `[10]`.
        fingers: its pose, `[15, 3]` radians, if the other may be its mirror image: hands before a face, on a
            table, in prayer.
    """
    if fingers is not None and rng.random() < TWINS:
        return _beside(rng, hand, _twin(rng, root, betas, fingers))
    left = rng.random() < 0.85
    first = Rotation.from_rotvec(root)
    if rng.random() < 0.45:  # beside the first, turned about the same way: typing, carrying, clapping
        turn = Rotation.from_rotvec(rng.normal(0.0, 0.5, 3)) * first
    else:
        turn = Rotation.random(random_state=rng)
    kin = betas if rng.random() < 0.8 else rng.normal(0.0, 1.0, 10).astype(np.float32)
    return _beside(rng, hand, _posed(rng, turn, kin, left))


def _twin(rng: np.random.Generator, root: Array, betas: Array, fingers: Array) -> OtherHand:
    """About the mirror image of a hand."""
    turn = np.diag(MIRROR) @ Rotation.from_rotvec(root).as_matrix() @ np.diag([1.0, 1.0, -1.0])
    turned = Rotation.from_rotvec(rng.normal(0.0, 0.25, 3)) * Rotation.from_matrix(turn)
    return _posed(rng, turned, betas, left=True, fingers=fingers)


def _beside(rng: np.random.Generator, hand: PosedHand, other: OtherHand) -> OtherHand | None:
    """A hand about the origin moved to a place near another one, or None if it would hide too much of it."""
    middle = 0.5 * (hand.vertices.min(0) + hand.vertices.max(0))
    kind = rng.random()
    if kind < 0.6:  # touching
        aside = rng.normal(0.0, 1.0, 3) * np.array([1.0, 1.0, 0.8])
        aside = (aside / np.linalg.norm(aside)).astype(np.float32)
        start = other.moved(middle + rng.normal(0.0, 0.02, 3).astype(np.float32))
        other = _pushed_out(hand, start, aside)
    else:
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.10, 0.24)
        aside = distance * np.array([np.cos(angle), 0.6 * np.sin(angle), rng.normal(0.0, 0.5)])
        other = _pushed_out(
            hand, other.moved((middle + aside).astype(np.float32)), (aside / distance).astype(np.float32)
        )
    nearest = float(min(other.vertices[:, 2].min(), other.arm[:, 2].min()))
    if nearest < 0.12 or _covered(hand, other) > LARGEST_COVER:
        return None
    return other


def _pushed_out(hand: PosedHand, other: OtherHand, direction: Array) -> OtherHand:
    """The other hand moved along a direction until hardly any of it is inside the first."""
    tree = cKDTree(hand.vertices)
    normals = vertex_normals(hand.vertices, synth_hand().faces)
    sample = np.concatenate([other.vertices[::3], other.arm[:96:3]])
    for step in range(14):
        shifted = sample + 0.012 * step * direction
        distance, nearest = tree.query(shifted)
        within = np.einsum("kc,kc->k", shifted - hand.vertices[nearest], normals[nearest])
        if ((within < -0.002) & (distance < 0.03)).mean() < 0.012:
            return other.moved((0.012 * step * direction).astype(np.float32))
    return other.moved((0.17 * direction).astype(np.float32))


def _covered(hand: PosedHand, other: OtherHand) -> float:
    """Approximate share of the first hand that the other one hides from the camera."""
    points = hand.vertices[::6]
    blockers = np.concatenate([other.vertices[::3], other.arm[::2]])
    seen, blocking = (p[:, :2] / p[:, 2:] for p in (points, blockers))
    gap = np.linalg.norm(seen[:, None] - blocking[None], axis=2) * points[:, None, 2]
    hidden = (gap < 0.009) & (blockers[None, :, 2] < points[:, None, 2])
    return float(hidden.any(1).mean())
