"""The template of SynthBody: a mesh with exactly SMPL-X's 10,475 vertices and 20,908 faces.

SMPL-X's counts determine how its parts are connected: a mesh with Euler number E and B vertices on open rims
has F = 2 V - 2 E - B faces. Ours is one closed skin (E = 2) that contains both of SynthHand's hands vertex by
vertex, and two eyeballs (546 vertices each) that are open at the back (E = 1 each) with a rim of 17: 2 *
10475 - 2 * 4 - 34 = 20908. The left half is modelled; the right one is its mirror image, vertices on the
middle plane are shared.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.mano import load_mano
from shared_tmu.body_models.smplx_model import EXTRA_VERTICES, NUM_FACES, NUM_VERTICES
from shared_tmu.synth import remesh
from shared_tmu.synth.body.anatomy import EYE_RADIUS, GROUND, HAND_SHIFT, INDEX, MIRROR, above_ground, joints
from shared_tmu.synth.body.head import MOUTH, face
from shared_tmu.synth.body.rims import loops, zipper
from shared_tmu.synth.body.shapes import Cone, Shape
from shared_tmu.synth.body.surface import TOES, person_distance, project

log = logging.getLogger(__name__)
Array = NDArray[np.float64]
Faces = NDArray[np.int64]
Ids = NDArray[np.int64]

HAND_VERTICES, EYE_VERTICES, EYE_RIM = 778, 546, 17
SKIN_VERTICES = NUM_VERTICES - 2 * EYE_VERTICES
WRIST_CUT = 0.667  # the skin's arms end here, a little before the hands begin
GROWTH = 0.22  # how fast edges may grow with the distance from a fine region

# Where edges are shorter than on the trunk: region, radius around it, edge length. Metres.
_FINE: tuple[tuple[Shape, float], ...] = (
    (Cone(face(0.020, 0.001, 0.075), face(0.044, 0.001, 0.070), 0.008, 0.008), 0.0027),
    (Cone(face(0, MOUTH, 0.093), face(0.026, MOUTH, 0.080), 0.008, 0.006), 0.0030),
    (Cone(face(0, -0.036, 0.105), face(0.010, -0.042, 0.098), 0.008, 0.008), 0.0033),
    (Cone(face(0.080, 0.014, -0.020), face(0.078, -0.034, -0.014), 0.016, 0.010), 0.0042),
    (Cone(face(0, 0.020, 0.075), face(0, -0.085, 0.070), 0.040, 0.035), 0.0066),
    (Cone(face(0, 0.020, 0.0), face(0, -0.060, 0.0), 0.100, 0.080), 0.0125),
    (Cone(above_ground(TOES[0][0], 0.01, 0.14), above_ground(TOES[4][0], 0.01, 0.12), 0.026, 0.020), 0.0058),
    (Cone(above_ground(0.106, 0.03, -0.06), above_ground(0.115, 0.02, 0.09), 0.05, 0.04), 0.0130),
    (Cone(above_ground(0.690, 1.38, -0.036), above_ground(0.660, 1.38, -0.036), 0.03, 0.03), 0.0090),
    (Cone(above_ground(0.440, 1.38, -0.045), above_ground(0.640, 1.38, -0.036), 0.06, 0.04), 0.0165),
    (Cone(above_ground(0.200, 1.38, -0.034), above_ground(0.440, 1.38, -0.045), 0.07, 0.05), 0.0200),
    (Cone(above_ground(0.097, 0.475, 0.0), above_ground(0.106, 0.100, -0.02), 0.07, 0.05), 0.0200),
    (Cone(above_ground(0.0, 1.38, -0.03), above_ground(0.0, 1.50, -0.01), 0.07, 0.06), 0.0160),
)
_COARSE = 0.0265


def wanted_edge_length(points: Array) -> Array:
    """Target edge length around points `[K, 3]`, `[K]` metres: fine on face, ears and toes."""
    points = np.abs(points * [1.0, 0.0, 0.0]) + points * [0.0, 1.0, 1.0]
    size = np.full(len(points), _COARSE)
    for region, length in _FINE:
        size = np.minimum(size, length + GROWTH * np.maximum(region.distance(points), 0.0))
    return size


def _axis(*knots: tuple[float, float]) -> Array:
    """Places along an axis: each knot is a start and the step from there to the next knot."""
    places = [np.array([knots[0][0]])]
    for (start, step), (end, _) in pairwise(knots):
        count = int(np.ceil((end - start) / step - 1e-9))
        places.append(np.linspace(start, end, count + 1)[1:])
    return np.concatenate(places)


def fine_surface() -> tuple[Array, Faces]:
    """Marching cubes of the left half on a grid that is fine at face and toes.

    Returns:
        Vertices `[K, 3]` metres, tens of thousands, open at the middle plane and at the wrist; faces
        `[F, 3]`.
    """
    from skimage import measure

    axes = [
        _axis((0.0, 0.002), (0.10, 0.004), (0.17, 0.007), (WRIST_CUT, 0)),
        _axis((-0.008, 0.003), (0.05, 0.007), (1.44, 0.002), (1.67, 0.004), (1.716, 0)) + GROUND,
        _axis((-0.150, 0.006), (-0.05, 0.004), (0.03, 0.0022), (0.12, 0.004), (0.18, 0)),
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = np.concatenate([person_distance(slab.reshape(-1, 3)) for slab in grid])
    marching_cubes: Any = measure.marching_cubes  # untyped in scikit-image
    vertices, faces, _, _ = marching_cubes(values.reshape(grid.shape[:3]), 0.0)
    places = [np.interp(vertices[:, i], np.arange(len(axes[i])), axes[i]) for i in range(3)]
    return np.stack(places, axis=1), faces.astype(np.int64)


def eyeball() -> tuple[Array, Faces]:
    """The left eye: `[546, 3]` metres, its first vertex at the front, a rim of 17 at the back."""
    rings, last = 22, 150.0
    angle = np.radians(last) * np.arange(1, rings + 1) / rings
    count = np.round(2 * EYE_RIM * np.sin(angle)).astype(int)
    count[-1] = EYE_RIM
    missing = EYE_VERTICES - 1 - int(count.sum())
    widest = np.argsort(-count, kind="stable")[: abs(missing)]
    count[widest] += int(np.sign(missing))
    points = [np.array([[0.0, 0.0, 1.0]])]
    faces: list[Faces] = []
    before = np.array([0])
    for theta, n in zip(angle, count, strict=True):
        turn = 2 * np.pi * np.arange(n) / n
        ring = np.stack(
            [np.sin(theta) * np.cos(turn), np.sin(theta) * np.sin(turn), np.full(n, np.cos(theta))], 1
        )
        ids = np.arange(n) + sum(map(len, points))
        points.append(ring)
        if len(before) == 1:
            faces.append(np.stack([np.zeros(n, int), ids, np.roll(ids, -1)], axis=1))
        else:
            faces.append(zipper(ids, before, np.concatenate(points)))
        before = ids
    centre = joints()[INDEX["left_eye"]]
    return centre + EYE_RADIUS * np.concatenate(points), np.concatenate(faces)


def half_skin() -> tuple[Array, Faces]:
    """The left half without its hand, even triangles of the wanted sizes.

    Its vertex count is such that two halves and two hands make `SKIN_VERTICES`.
    """
    vertices, faces = fine_surface()
    log.info("fine surface: %d vertices", len(vertices))
    wanted = SKIN_VERTICES - 2 * HAND_VERTICES  # of two halves that share the middle
    vertices, faces = remesh.collapse_freely(vertices, faces, wanted // 2 + 200, wanted_edge_length)
    middle = int((vertices[:, 0] == 0.0).sum())
    if (wanted + middle) % 2:
        vertices, faces = remesh.shrink_rim(vertices, faces, vertices[:, 0] == 0.0)
        middle -= 1
    vertices, faces = remesh.finish_inside(vertices, faces, (wanted + middle) // 2, wanted_edge_length)
    for _ in range(24):
        faces = remesh.flip_edges(vertices, faces)
        vertices = _relax_rims(vertices, faces)
        vertices = remesh.relax(vertices, faces, wanted_edge_length, lambda p: project(p, steps=2))
    vertices = _smooth_slivers(vertices, faces)
    vertices[(rim := vertices[:, 0] < 1e-6), 0] = 0.0
    if int(rim.sum()) != middle:
        raise RuntimeError(f"{int(rim.sum())} vertices on the middle plane, wanted {middle}")
    return vertices, faces


def triangle_quality(vertices: Array, faces: Faces) -> Array:
    """One for an equilateral triangle, zero for a degenerate one, `[F]`."""
    corners = vertices[faces]
    sides = ((corners - np.roll(corners, 1, axis=1)) ** 2).sum((1, 2))
    double = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(2 * np.sqrt(3) * np.linalg.norm(double, axis=1) / sides)


def _smooth_slivers(vertices: Array, faces: Faces, rounds: int = 12) -> Array:
    """Move the corners of very thin triangles (in narrow folds) to the mean of their neighbours."""
    edges = remesh.unique_edges(faces)
    inner = np.ones(len(vertices), bool)
    inner[remesh.boundary_vertices(faces)] = False
    degree = np.bincount(edges.ravel(), minlength=len(vertices))
    out = vertices.copy()
    for _ in range(rounds):
        bad = np.zeros(len(vertices), bool)
        bad[faces[triangle_quality(out, faces) < 0.3]] = True
        bad &= inner
        sums = np.zeros_like(out)
        np.add.at(sums, edges[:, 0], out[edges[:, 1]])
        np.add.at(sums, edges[:, 1], out[edges[:, 0]])
        out[bad] = 0.5 * out[bad] + 0.5 * (sums / degree[:, None])[bad]
    return out


def _relax_rims(vertices: Array, faces: Faces) -> Array:
    """Even out the vertices along the open rims; each rim stays in its plane and on the surface."""
    out = vertices.copy()
    size = wanted_edge_length(vertices)
    for rim in loops(faces):
        before, after = np.roll(rim, 1), np.roll(rim, -1)
        w_before, w_after = 2.0 / (size[rim] + size[before]), 2.0 / (size[rim] + size[after])
        mean = w_before[:, None] * vertices[before] + w_after[:, None] * vertices[after]
        mean = mean / (w_before + w_after)[:, None]
        moved = project(vertices[rim] + 0.5 * (mean - vertices[rim]), steps=3)
        moved[:, 0] = vertices[rim, 0]
        out[rim] = moved
    return out


@dataclass(frozen=True)
class Template:
    """SynthBody's mesh and the roles of its vertices.

    Attributes:
        vertices: `[10475, 3]` metres.
        faces: `[20908, 3]`, counter-clockwise from outside.
        left_hand, right_hand: for each of SynthHand's vertices, the one that carries it, `[778]`.
        mirror: each vertex' mirror image, `[10475]`.
    """

    vertices: Array
    faces: Faces
    left_hand: Ids
    right_hand: Ids
    mirror: Ids


def build_template() -> Template:
    """Put halves, hands and eyes together and number the vertices as SMPL-X's users expect."""
    half, half_faces = half_skin()
    hand = load_mano()
    left_hand = (hand.v_template.astype(np.float64) + HAND_SHIFT) * MIRROR
    count = len(half)
    vertices = np.concatenate([half, left_hand])
    faces = np.concatenate([half_faces, hand.faces.astype(np.int64)[:, ::-1] + count])
    wrist = next(rim for rim in loops(half_faces) if half[rim, 0].min() > 0.1)
    cuff = loops(faces[len(half_faces) :])[0]
    faces = np.concatenate([faces, zipper(wrist, cuff[::-1], vertices)])

    inner = np.flatnonzero(vertices[:, 0] > 0.0)
    other = np.arange(len(vertices))
    other[inner] = len(vertices) + np.arange(len(inner))
    vertices = np.concatenate([vertices, vertices[inner] * MIRROR])
    faces = np.concatenate([faces, other[faces][:, ::-1]])
    mirror = np.arange(len(vertices))
    mirror[inner], mirror[other[inner]] = other[inner], inner

    eye, eye_faces = eyeball()
    eyes = np.concatenate([eye, eye * MIRROR])
    eye_mirror = np.roll(np.arange(2 * EYE_VERTICES), EYE_VERTICES)
    start = len(vertices)
    vertices = np.concatenate([vertices, eyes])
    both = np.concatenate([eye_faces, eye_faces[:, ::-1] + EYE_VERTICES])
    faces = np.concatenate([faces, both + start])
    mirror = np.concatenate([mirror, eye_mirror + start])
    if (len(vertices), len(faces)) != (NUM_VERTICES, NUM_FACES):
        raise RuntimeError(f"got {len(vertices)} vertices and {len(faces)} faces")
    left_ids = count + np.arange(HAND_VERTICES)
    return _number(Template(vertices, faces, left_ids, mirror[left_ids], mirror))


def _number(raw: Template) -> Template:
    """Give the vertices that SMPL-X's users know by number those numbers."""
    known = _landmark_vertices(raw)
    free = np.setdiff1d(np.arange(NUM_VERTICES), EXTRA_VERTICES)
    new_of_old = np.full(NUM_VERTICES, -1)
    new_of_old[known] = EXTRA_VERTICES
    eyes_from = SKIN_VERTICES
    rest = np.flatnonzero(new_of_old < 0)
    new_of_old[rest] = free
    if set(new_of_old[eyes_from:].tolist()) != set(range(eyes_from, NUM_VERTICES)):
        raise RuntimeError("the eyes are not the last vertices")
    order = np.argsort(new_of_old)
    return Template(
        raw.vertices[order],
        new_of_old[raw.faces],
        new_of_old[raw.left_hand],
        new_of_old[raw.right_hand],
        new_of_old[raw.mirror[order]],
    )


def _landmark_vertices(raw: Template) -> Ids:
    """The 21 vertices behind `EXTRA_VERTICES`, in its order."""
    v, mirror = raw.vertices, raw.mirror
    skin = np.arange(len(v)) < SKIN_VERTICES
    left = skin & (v[:, 0] > 1e-6)

    def best(score: Array, where: NDArray[np.bool_]) -> int:
        return int(np.flatnonzero(where)[score[where].argmax()])

    nose = best(v[:, 2], skin & (v[:, 0] == 0.0) & (np.abs(v[:, 1] - face(0, -0.036, 0)[1]) < 0.02))
    ear = best(v[:, 0], left & (np.linalg.norm(v - face(0.078, -0.008, -0.018), axis=1) < 0.03))
    eye = SKIN_VERTICES  # the front of the left eye, the first of its vertices
    foot = left & (v[:, 1] < GROUND + 0.06)
    big = best(v[:, 2], foot & (np.abs(v[:, 0] - TOES[0][2]) < 0.009))
    small = best(v[:, 2], foot & (np.abs(v[:, 0] - TOES[4][2]) < 0.006))
    heel = best(-v[:, 2], foot)
    from shared_tmu.synth.build import TIP_IDS

    tips = [int(raw.left_hand[TIP_IDS[name]]) for name in ("thumb", "index", "middle", "ring", "pinky")]
    feet = [big, small, heel]
    lefts = [*feet, *mirror[feet], *tips, *mirror[tips]]
    return np.array([nose, mirror[eye], eye, mirror[ear], ear, *lefts], dtype=np.int64)
