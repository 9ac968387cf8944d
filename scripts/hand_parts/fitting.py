"""Turns another hand into SynthHand's frame and rest pose, and finds SynthHand's vertices on its surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import spsolve
from scipy.spatial.transform import Rotation

from hand_parts.sources import Source
from hand_parts.surfaces import Places, Surface, finger_shares, normals_of
from shared_tmu.synth.anatomy import PARENTS
from shared_tmu.synth.hand import HandGeometry
from shared_tmu.synth.remesh import unique_edges

Array = NDArray[np.float64]
Faces = NDArray[np.int64]
JOINT_M, SURFACE_M, TURN_DEG, BETA = 0.004, 0.0015, 60.0, 2.0  # what counts as one unit of misfit
TWIST_DEG = np.array([3.0, 1.0, 1.0] * 4 + [10.0, 3.0, 1.0])  # a joint hardly turns about its own bone
ROUNDS = 12
STIFFNESS = (30.0, 10.0, 4.0, 2.0, 1.0, 0.5, 0.25)  # of the net that is drawn onto the surface


def posed(vertices: Array, joints: Array, weights: Array, turns: Array) -> tuple[Array, Array]:
    """Linear blend skinning.

    Args:
        vertices: `[V, 3]` metres.
        joints: `[16, 3]` metres.
        weights: `[V, 16]`.
        turns: of each joint against its parent, axis-angle `[16, 3]`.

    Returns:
        Vertices and joints, moved.
    """
    rotmats = Rotation.from_rotvec(turns).as_matrix()
    turn, place = rotmats.copy(), joints.copy()
    for j in range(1, 16):
        p = PARENTS[j]
        turn[j] = turn[p] @ rotmats[j]
        place[j] = place[p] + turn[p] @ (joints[j] - joints[p])
    shift = place - np.einsum("jab,jb->ja", turn, joints)
    blended = (weights @ turn.reshape(16, 9)).reshape(-1, 3, 3)
    return np.einsum("vab,vb->va", blended, vertices) + weights @ shift, place


def rigid(points: Array, targets: Array) -> tuple[Array, Array]:
    """Rotation `[3, 3]` and shift `[3]` that bring points `[K, 3]` nearest to targets `[K, 3]`."""
    a, b = points.mean(0), targets.mean(0)
    u, _, vt = np.linalg.svd((points - a).T @ (targets - b))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = (u @ flip @ vt).T
    return turn, b - turn @ a


@dataclass(frozen=True)
class Rested:
    """Hands in SynthHand's frame and rest pose; attributes as in `Source`, and how they got there.

    Attributes:
        turns: of each joint from the source's rest pose, axis-angle `[16, 3]`.
        betas: SynthHand's shape that is nearest to the first hand, `[10]`.
    """

    vertices: Array
    joints: Array
    faces: Faces
    weights: Array
    turns: Array
    betas: Array


def at_rest(source: Source, hand: HandGeometry) -> Rested:
    """Turn and straighten a hand until it lies as SynthHand does at rest.

    Its own joints are turned and SynthHand's shape is changed until both surfaces and joints are nearest.
    """
    template, directions = hand.template.astype(float), hand.shape_directions.astype(float)
    regressor, faces = hand.regressor.astype(float), hand.faces.astype(np.int64)
    own_fingers = finger_shares(hand.weights.astype(float))
    joints = regressor @ template
    turn, shift = rigid(source.joints[0], joints)
    moved, places = source.vertices @ turn.T + shift, source.joints @ turn.T + shift
    fingers, bones = finger_shares(source.weights), _bones(places[0])
    unknown = np.zeros(16 * 3 + 3 + 10)

    def parts(x: Array) -> tuple[Array, Array, Array]:
        vertices, at = posed(moved[0], places[0], source.weights, x[:48].reshape(16, 3))
        return vertices + x[48:51], at + x[48:51], template + directions @ x[51:]

    for round_number in range(ROUNDS):
        vertices, _, shaped = parts(unknown)
        surface = Surface(vertices, source.faces, fingers)
        normals = normals_of(shaped, faces)
        found = surface.nearest(shaped, normals, own_fingers)
        facing = np.einsum("kc,kc->k", found.on(surface.normals, source.faces), normals)
        use = (facing > 0.4) & ~_on_rim(found, source.faces)
        trust = min(1.0, round_number / 3.0)  # the joints alone at first

        def misfit(x: Array, found: Places = found, use: Array = use, trust: float = trust) -> Array:
            vertices, at, shaped = parts(x)
            away = (found.on(vertices, source.faces) - shaped)[use]
            scaled = trust * away / SURFACE_M / np.sqrt(len(away) / 60)
            soft = scaled / np.sqrt(1.0 + (scaled / 3.0) ** 2)
            turns = np.degrees(x[3:48].reshape(15, 3))
            twist = np.einsum("jc,jc->j", turns, bones) / TWIST_DEG
            apart = (at - regressor @ shaped) / JOINT_M
            return np.concatenate(
                [soft.ravel(), apart.ravel(), turns.ravel() / TURN_DEG, twist, x[51:] / BETA]
            )

        unknown = least_squares(misfit, unknown, max_nfev=6).x
    turns = unknown[:48].reshape(16, 3)
    rested = [posed(v, j, source.weights, turns) for v, j in zip(moved, places, strict=True)]
    vertices, at = (np.stack(values) + unknown[48:51] for values in zip(*rested, strict=True))
    return Rested(vertices, at, source.faces, source.weights, turns, unknown[51:])


def _bones(joints: Array) -> Array:
    """Unit vectors along the bones of joints 1..15, `[15, 3]`; an end bone goes on as the one before."""
    out = np.stack([joints[j + 1] - joints[j] if j % 3 else joints[j] - joints[j - 1] for j in range(1, 16)])
    return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True))


def _on_rim(places: Places, faces: Faces) -> NDArray[np.bool_]:
    """Whether places lie at the open end of the surface, where the nearest point is no counterpart."""
    half = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ordered = np.sort(half, axis=1)
    _, inverse, counts = np.unique(ordered, axis=0, return_inverse=True, return_counts=True)
    rim = np.unique(half[counts[inverse.reshape(-1)] == 1])
    corner = np.isin(faces[places.face], rim)
    return np.asarray(np.where(corner, places.bary, 0.0).sum(1) > 0.95)


def drawn_onto(rested: Rested, hand: HandGeometry, start: Array) -> Places:
    """Where SynthHand's vertices lie on the mean hand's surface.

    A net of SynthHand's edges is drawn onto the surface; its stiffness, which keeps neighbours together,
    becomes smaller and smaller.

    Args:
        rested: the other hand.
        hand: SynthHand.
        start: SynthHand's vertices in the shape that fits, `[778, 3]` metres.

    Returns:
        `[778]` places.
    """
    faces, fingers = hand.faces.astype(np.int64), finger_shares(hand.weights.astype(float))
    surface = Surface(rested.vertices[0], rested.faces, finger_shares(rested.weights))
    edges = unique_edges(faces)
    count = len(start)
    ends = np.concatenate([edges[:, 0], edges[:, 1]])
    others = np.concatenate([edges[:, 1], edges[:, 0]])
    near = coo_matrix((np.ones(len(ends)), (ends, others)), shape=(count, count)).tocsr()
    laplacian = diags(np.asarray(near.sum(1)).ravel()) - near
    points = start
    for stiffness in STIFFNESS:
        for _ in range(4):
            normals = normals_of(points, faces)
            found = surface.nearest(points, normals, fingers)
            target = found.on(surface.vertices, surface.faces)
            facing = np.einsum("kc,kc->k", found.on(surface.normals, surface.faces), normals)
            sure = np.where(_on_rim(found, surface.faces), 0.0, np.clip(facing, 0.0, 1.0) ** 2) + 1e-6
            system = (diags(sure) + stiffness * laplacian).tocsc()
            moves = np.stack([spsolve(system, sure * m) for m in (target - points).T], axis=1)
            points = points + moves
    return surface.nearest(points, normals_of(points, faces), fingers)
