"""Positions of SMPL-X's face landmarks on SynthBody: 51 fixed ones and 17 on the face's contour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.body_models.smplx_model import NUM_CONTOUR_TURNS
from shared_tmu.synth.body.anatomy import MIRROR
from shared_tmu.synth.body.head import MOUTH, face
from shared_tmu.synth.body.mesh import SKIN_VERTICES

Array = NDArray[np.float64]
Ids = NDArray[np.int64]

# x (of the person's left), up from the eyes; the sequence of the 68-point mark-up from 17 on. The middle and
# the left are given, the right is mirrored.
_BROW = ((0.013, 0.0205), (0.023, 0.0245), (0.033, 0.0250), (0.042, 0.0225), (0.050, 0.0165))
_BRIDGE = ((0.0, 0.002), (0.0, -0.010), (0.0, -0.022), (0.0, -0.035))
_NOSE_BASE = ((0.0, -0.0465), (0.006, -0.0460), (0.0125, -0.0440))
_EYE_INNER, _EYE_OUTER = (0.0180, -0.0008), (0.0462, -0.0004)
_LID = ((0.0270, 0.0056), (0.0370, 0.0056), (0.0370, -0.0062), (0.0270, -0.0062))
_CORNER = (0.0265, MOUTH)
_UPPER = ((0.0165, MOUTH + 0.0058), (0.0065, MOUTH + 0.0095), (0.0, MOUTH + 0.0085))
_LOWER = ((0.0165, MOUTH - 0.0085), (0.0080, MOUTH - 0.0120), (0.0, MOUTH - 0.0125))
_INNER_UPPER = ((0.0120, MOUTH + 0.0015), (0.0, MOUTH + 0.0018))
_INNER_LOWER = ((0.0120, MOUTH - 0.0017), (0.0, MOUTH - 0.0020))
# Of the left jaw from the ear to the chin: x, up, z. The last one is the middle of the chin.
_JAW = (
    (0.0715, -0.006, 0.012), (0.0700, -0.026, 0.010), (0.0670, -0.046, 0.010), (0.0610, -0.066, 0.014),
    (0.0520, -0.083, 0.024), (0.0410, -0.096, 0.038), (0.0280, -0.106, 0.054), (0.0145, -0.112, 0.067),
    (0.0, -0.1140, 0.072),
)  # fmt: skip


def _right(points: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    return [(-x, up) for x, up in points]


def fixed_places() -> list[tuple[float, float]]:
    """The 51 fixed landmarks, x and height relative to the eyes, metres."""
    lid, mirrored_lid = _LID, _right(_LID)
    right_eye = [(-_EYE_OUTER[0], _EYE_OUTER[1]), mirrored_lid[1], mirrored_lid[0]]
    right_eye += [(-_EYE_INNER[0], _EYE_INNER[1]), mirrored_lid[3], mirrored_lid[2]]
    left_eye = [_EYE_INNER, lid[0], lid[1], _EYE_OUTER, lid[2], lid[3]]
    outer = [(-_CORNER[0], _CORNER[1]), *_right(_UPPER), *_UPPER[1::-1], _CORNER]
    outer += [*_LOWER, *_right(_LOWER)[1::-1]]
    inner = [
        (-_CORNER[0] + 0.003, MOUTH),
        *_right(_INNER_UPPER),
        _INNER_UPPER[0],
        (_CORNER[0] - 0.003, MOUTH),
    ]
    inner += [*_INNER_LOWER, _right(_INNER_LOWER)[0]]
    nose = [*_BRIDGE, *_right(_NOSE_BASE)[:0:-1], *_NOSE_BASE]
    return [*_right(_BROW)[::-1], *_BROW, *nose, *right_eye, *left_eye, *outer, *inner]


def _seen_from_front(places: Array, vertices: Array, faces: Ids) -> tuple[Ids, Array]:
    """Face and weights of the frontmost surface at x and y `[K, 2]`."""
    corners = vertices[faces]
    a, b, c = (corners[:, i, :2] for i in range(3))
    area: Array = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    chosen, weights = [], []
    for x, y in places:
        wb = ((x - a[:, 0]) * (c[:, 1] - a[:, 1]) - (y - a[:, 1]) * (c[:, 0] - a[:, 0])) / area
        wc = ((b[:, 0] - a[:, 0]) * (y - a[:, 1]) - (b[:, 1] - a[:, 1]) * (x - a[:, 0])) / area
        bary = np.stack([1.0 - wb - wc, wb, wc], axis=1)
        depth = np.where((bary >= -1e-9).all(1) & (area > 0), (bary * corners[:, :, 2]).sum(1), -np.inf)
        best = int(depth.argmax())
        chosen.append(best)
        weights.append(np.clip(bary[best], 0.0, 1.0))
    out = np.array(weights)
    return np.array(chosen), out / out.sum(1, keepdims=True)


def closest_on_mesh(points: Array, vertices: Array, faces: Ids, candidates: int = 24) -> tuple[Ids, Array]:
    """Face and barycentric weights of the nearest place among the faces around each of K points.

    Args:
        points: `[K, 3]`.
        vertices: `[V, 3]`.
        faces: `[F, 3]`.
        candidates: how many faces with the nearest centres are looked at.
    """
    from scipy.spatial import cKDTree

    corners = vertices[faces]
    _, near = cKDTree(corners.mean(1)).query(points, k=candidates)
    a = corners[near][:, :, 0]
    u, v = corners[near][:, :, 1] - a, corners[near][:, :, 2] - a
    w = points[:, None] - a
    uu, uv, vv = ((p * q).sum(-1) for p, q in ((u, u), (u, v), (v, v)))
    wu, wv = (w * u).sum(-1), (w * v).sum(-1)
    scale = uu * vv - uv * uv
    b, c = (vv * wu - uv * wv) / scale, (uu * wv - uv * wu) / scale
    bary = np.clip(np.stack([1.0 - b - c, b, c], axis=-1), 0.0, None)
    bary /= bary.sum(-1, keepdims=True)
    place = np.einsum("kfi,kfic->kfc", bary, corners[near])
    best = np.linalg.norm(place - points[:, None], axis=-1).argmin(1)
    rows = np.arange(len(points))
    return near[rows, best], bary[rows, best]


def contour_places(turn_deg: float) -> Array:
    """The 17 contour points for a head turned about the vertical axis, `[17, 3]` metres, before projection.

    On the side that turns away the silhouette moves from the jaw's edge onto the cheek; the near side and the
    chin keep theirs.
    """
    left = np.array([face(*place) for place in _JAW])
    right = left[:-1] * MIRROR
    axis = face(0.0, 0.0, 0.005) * (1.0, 0.0, 1.0)
    fade = np.linspace(1.0, 0.0, len(_JAW))

    def slid(points: Array, degrees: float) -> Array:
        turn = Rotation.from_rotvec(np.radians(degrees) * fade[: len(points), None] * [0.0, 1.0, 0.0])
        return np.asarray(turn.apply(points - axis) + axis)

    if turn_deg > 0:  # towards the left: the left cheek turns away
        left = slid(left, -turn_deg)
    else:
        right = slid(right, -turn_deg)
    return np.concatenate([right, left[::-1]])


def landmark_arrays(vertices: Array, faces: Ids) -> dict[str, NDArray[np.generic]]:
    """The four landmark arrays of an SMPL-X file.

    Row i of the contour table is for a head turned i degrees to its right for i <= 39, else i - 39 degrees to
    its left, which is how the smplx package reads it.
    """
    skin = np.flatnonzero(
        (faces < SKIN_VERTICES).all(1) & (vertices[faces][:, :, 1].min(1) > face(0, -0.14, 0)[1])
    )
    skin_faces = faces[skin]
    places = np.array([face(x, up, 0.0)[:2] for x, up in fixed_places()])
    fixed, fixed_bary = _seen_from_front(places, vertices, skin_faces)
    turns = [-i if i <= 39 else i - 39 for i in range(NUM_CONTOUR_TURNS)]
    points = np.concatenate([contour_places(float(turn)) for turn in turns])
    moving, moving_bary = closest_on_mesh(points, vertices, skin_faces)
    shape = (NUM_CONTOUR_TURNS, -1)
    return {
        "lmk_faces_idx": skin[fixed].astype(np.int64),
        "lmk_bary_coords": fixed_bary.astype(np.float32),
        "dynamic_lmk_faces_idx": skin[moving].reshape(shape).astype(np.int64),
        "dynamic_lmk_bary_coords": moving_bary.reshape(*shape, 3).astype(np.float32),
    }
