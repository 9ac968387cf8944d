"""All solids of a scene except the hand: forearm, sleeve, held objects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from shared_tmu.synth.hand import HandGeometry, PosedHand, vertex_normals

Array = NDArray[np.float32]
Faces = NDArray[np.int32]
RING_STEPS_M = (0.012, 0.014, 0.016, 0.022, 0.030, 0.040, 0.050, 0.060, 0.080)
RING_SCALES = (1.0, 1.02, 1.06, 1.14, 1.24, 1.34, 1.42, 1.48, 1.52)


@dataclass(frozen=True)
class Solid:
    """A mesh of one colour.

    Attributes:
        vertices: in the camera frame, `[V, 3]` metres.
        faces: vertex indices, `[F, 3]`.
        color: linear RGB, `[3]`; None is the colour of the hand's skin.
        normals: unit normals of the vertices, `[V, 3]`.
    """

    vertices: Array
    faces: Faces
    color: Array | None
    normals: Array


def forearm(
    hand: HandGeometry, posed: PosedHand, root: Array, bend: Array
) -> tuple[Array, Faces, NDArray[np.int64]]:
    """A tube that continues the wrist's rim, bent against the hand.

    Args:
        hand: the body model, whose rim is followed.
        posed: where it is now.
        root: orientation of the hand, axis-angle `[3]`.
        bend: turn of the forearm against it, axis-angle `[3]`.

    Returns:
        Vertices `[10 * 16, 3]` metres, faces `[F, 3]`, and the ring number of every face `[F]`.
    """
    rim = posed.vertices[hand.rim]
    local = hand.template[hand.rim] - hand.template[hand.rim].mean(0)
    start, full = Rotation.from_rotvec(root), Rotation.from_rotvec(root) * Rotation.from_rotvec(bend)
    path = Slerp([0.0, 1.0], Rotation.concatenate([start, full]))
    rings, centre = [rim], rim.mean(0)
    turns = path([1.0 / 3.0, 2.0 / 3.0, 1.0])  # straight from the third ring on
    for k, (step, scale) in enumerate(zip(RING_STEPS_M, RING_SCALES, strict=True)):
        turn = turns[min(k, 2)]
        centre = centre + step * turn.apply([1.0, 0.0, 0.0])
        rounder = np.array([1.0, 1.0 + 0.05 * k, 1.0])  # a forearm is rounder than a wrist
        rings.append(centre + turn.apply(scale * local * rounder))
    count = len(hand.rim)
    faces, ring_of_face = [], []
    following = np.roll(np.arange(count), -1)
    for k in range(len(rings) - 1):
        a, b = k * count + np.arange(count), k * count + following
        c, d = a + count, b + count
        faces += [np.stack([a, c, b], 1), np.stack([b, c, d], 1)]
        ring_of_face += [k] * (2 * count)
    vertices = np.concatenate(rings).astype(np.float32)
    return vertices, np.concatenate(faces).astype(np.int32), np.array(ring_of_face)


@lru_cache(maxsize=1)
def primitives() -> list[tuple[Array, Faces]]:
    """Unit sphere, box, cylinder and capsule."""
    import trimesh

    made = [
        trimesh.creation.icosphere(subdivisions=2, radius=1.0),
        trimesh.creation.box(extents=(2.0, 2.0, 2.0)),
        trimesh.creation.cylinder(radius=1.0, height=2.0, sections=20),
        trimesh.creation.capsule(height=2.0, radius=0.6, count=[10, 10]),
    ]
    return [(np.asarray(m.vertices, np.float32), np.asarray(m.faces, np.int32)) for m in made]


def occluder(rng: np.random.Generator, posed: PosedHand, held: bool) -> tuple[Array, Faces]:
    """Vertices `[V, 3]` metres and faces `[F, 3]` of an object in the palm (`held`) or before the hand."""
    vertices, faces = primitives()[rng.integers(4)]
    size = np.exp(rng.uniform(np.log(0.008), np.log(0.035), 3))
    if rng.random() < 0.4:
        size[2] *= rng.uniform(2.0, 5.0)  # sticks, pens, handles
    turned = Rotation.random(random_state=rng).apply(vertices * size)
    palm = posed.keypoints[[5, 9, 13, 17]].mean(0)
    if held:
        out_of_palm = posed.bone_rotmats[0] @ np.array([0.0, -1.0, 0.0], np.float32)
        along = posed.bone_rotmats[0] @ np.array([-1.0, 0.0, 0.0], np.float32)
        place = palm + out_of_palm * (0.018 + 0.6 * size.min()) + along * rng.normal(0.005, 0.015)
    else:
        towards = -palm / np.linalg.norm(palm)
        place = palm + towards * rng.uniform(0.06, 0.12) + rng.normal(0, 0.05, 3)
    return (turned + place).astype(np.float32), faces


def make_solid(vertices: Array, faces: Faces, color: Array | None) -> Solid:
    """A solid with smooth normals."""
    return Solid(vertices, faces, color, vertex_normals(vertices, faces))
