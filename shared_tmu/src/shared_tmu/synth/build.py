"""Builds SynthHand: surface, mesh of MANO's size, rig, pose space, and the file in MANO's layout."""

from __future__ import annotations

import io
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import measure

from shared_tmu.files import replacing
from shared_tmu.synth import implicit, remesh, rig
from shared_tmu.synth.anatomy import FINGERS, HAND, PARENTS, WRIST, joints
from shared_tmu.synth.poses import sample_hand_poses

log = logging.getLogger(__name__)
Array = NDArray[np.float64]

VERTICES, FACES, RIM = 778, 1538, 16
TIP_IDS = {"thumb": 744, "index": 320, "middle": 443, "ring": 554, "pinky": 671}
MANO_SCANS = 1554  # rows of MANO's table of pose coefficients, one per scan it was made from
MEAN_CAMERA = (6.5, -0.09, 0.01)  # weak camera (s, tx, ty) of an average scene
# Ids that other data sets use for the same tips (FreiHAND, HO3D): they get the tip's nearest neighbours.
NEIGHBOUR_IDS = {"index": (333,), "middle": (444,), "ring": (555,), "pinky": (672,)}


def wanted_edge_length(points: Array) -> Array:
    """Edge length aimed at around points `[K, 3]`, `[K]` metres: fine on fingers, coarse on the palm."""
    size = np.full(len(points), 0.0105)
    for name in FINGERS:
        finger = HAND[name]
        near = implicit.finger_distance(points, finger) < 0.0035
        past_base = (points - finger.points[0]) @ finger.axes[0] > (0.012 if name == "thumb" else -0.004)
        size[near & past_base] = 0.0068
        tip = np.linalg.norm(points - finger.points[3], axis=1)
        size[tip < 0.013] = 0.0041
    return size


def fine_surface(step: float = 0.0016) -> tuple[Array, NDArray[np.int64]]:
    """Marching cubes of the hand's distance, cut open at the wrist.

    Args:
        step: side of a cube, metres.

    Returns:
        Vertices `[K, 3]` metres and faces `[F, 3]`, tens of thousands of both.
    """
    low, high = np.array([-0.115, -0.045, -0.075]), np.array([0.125, 0.042, 0.095])
    axes = [np.arange(a, b, step) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    points = np.array_split(grid.reshape(-1, 3), 40)
    values = np.concatenate([implicit.hand_distance(part) for part in points])
    marching_cubes: Any = measure.marching_cubes  # untyped in scikit-image
    vertices, faces, _, _ = marching_cubes(values.reshape(grid.shape[:3]), 0.0, spacing=(step,) * 3)
    vertices = vertices.astype(np.float64) + low
    cut = WRIST[0] - implicit.CUT_MM * 1e-3
    keep = (vertices[faces][:, :, 0] <= cut).all(axis=1)
    return _largest_piece(vertices, faces[keep].astype(np.int64))


def _largest_piece(vertices: Array, faces: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = remesh.unique_edges(faces)
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2)
    _, label = connected_components(graph, directed=False)
    biggest = np.bincount(label[faces[:, 0]]).argmax()
    faces = faces[label[faces[:, 0]] == biggest]
    used, inverse = np.unique(faces, return_inverse=True)
    return vertices[used], inverse.reshape(-1, 3)


def _even_rim(vertices: Array, faces: NDArray[np.int64]) -> Array:
    """Put the rim's vertices on the cutting plane, at even angles on the wrist's outline."""
    rim = remesh.boundary_vertices(faces)
    out = vertices.copy()
    centre = out[rim].mean(0)
    angle = np.arctan2(out[rim, 1] - centre[1], out[rim, 2] - centre[2])
    order = rim[np.argsort(angle)]
    even = np.sort(angle)[0] + np.linspace(0, 2 * np.pi, len(rim), endpoint=False)
    out[order] = centre + 0.025 * np.stack([np.zeros(len(rim)), np.sin(even), np.cos(even)], axis=1)
    for _ in range(4):
        out[rim] = implicit.project(out[rim], steps=2)
        out[rim, 0] = WRIST[0] - implicit.CUT_MM * 1e-3
    return out


def hand_mesh() -> tuple[Array, NDArray[np.int64]]:
    """The template: vertices `[778, 3]` metres, faces `[1538, 3]`, a rim of 16, fingertips at MANO's ids."""
    vertices, faces = fine_surface()
    log.info("fine surface: %d vertices", len(vertices))
    vertices, faces = remesh.collapse(vertices, faces, VERTICES, RIM, wanted_edge_length)
    vertices = _even_rim(vertices, faces)
    for _ in range(30):
        faces = remesh.flip_edges(vertices, faces)
        vertices = remesh.relax(vertices, faces, wanted_edge_length, implicit.project)
    found = (len(vertices), len(faces), len(remesh.boundary_vertices(faces)))
    if found != (VERTICES, FACES, RIM):
        raise RuntimeError(f"got {found} vertices, faces and rim vertices, wanted {(VERTICES, FACES, RIM)}")
    return _pin_fingertips(vertices, faces)


def _pin_fingertips(vertices: Array, faces: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Renumber so that each fingertip has the id that the smplx package expects."""
    new_of_old = np.full(len(vertices), -1)
    for name, new in TIP_IDS.items():
        finger = HAND[name]
        reach = vertices @ finger.axes[2]
        reach[np.linalg.norm(vertices - finger.points[3], axis=1) > 0.02] = -np.inf
        tip = int(np.argmax(reach))
        new_of_old[tip] = new
        by_distance = np.argsort(np.linalg.norm(vertices - vertices[tip], axis=1))[1:]
        for other, neighbour in zip(NEIGHBOUR_IDS.get(name, ()), by_distance, strict=False):
            new_of_old[neighbour] = other
    free = np.setdiff1d(np.arange(len(vertices)), new_of_old)
    rest = np.flatnonzero(new_of_old < 0)
    new_of_old[rest[np.argsort(-vertices[rest, 0])]] = free  # the others from the wrist outwards
    out = np.empty_like(vertices)
    out[new_of_old] = vertices
    return out, new_of_old[faces]


def build_hand(seed: int = 0, pose_samples: int = 20_000) -> dict[str, NDArray[np.generic]]:
    """Build the right hand.

    Args:
        seed: seed of the sampled poses from which the pose space is computed.
        pose_samples: how many of them, at least 1554.

    Returns:
        All arrays of a MANO file under MANO's own names and in its shapes, metres and radians, float32 where
        MANO's consumers cast anyway.
    """
    vertices, faces = hand_mesh()
    weights = rig.skinning_weights(vertices, faces)
    directions, joint_directions = rig.shape_directions(vertices, weights)
    regressor = rig.joint_regressor(vertices, joints(), directions, joint_directions)
    poses = sample_hand_poses(np.random.default_rng(seed), pose_samples).reshape(pose_samples, 45)
    mean = poses.mean(0)
    _, scale, components = np.linalg.svd(poses - mean, full_matrices=False)
    coefficients = (poses - mean)[:MANO_SCANS] @ components.T
    log.info("joints regressed to %.3f mm", 1e3 * np.abs(regressor @ vertices - joints()).max())
    log.info("variance kept by 6 components: %.2f", (scale[:6] ** 2).sum() / (scale**2).sum())
    kintree = np.stack([PARENTS, np.arange(16)]).astype(np.int64)
    kintree[0, 0] = 2**32 - 1
    return {
        "v_template": vertices.astype(np.float32),
        "f": faces.astype(np.uint32),
        "J_regressor": regressor.astype(np.float32),
        "J": (regressor @ vertices).astype(np.float32),
        "weights": weights.astype(np.float32),
        "shapedirs": directions.astype(np.float32),
        "posedirs": rig.pose_correctives(vertices, weights).astype(np.float32),
        "hands_components": components.astype(np.float32),
        "hands_mean": mean.astype(np.float32),
        "hands_coeffs": coefficients.astype(np.float32),
        "kintree_table": kintree,
        "bs_style": np.array("lbs"),
        "bs_type": np.array("lrotmin"),
    }


def save_npz(path: Path, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write a compressed `.npz` in one step, with fixed time stamps so that equal arrays give equal files."""
    with (
        replacing(path) as beside,
        zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (2026, 1, 1, 0, 0, 0))
            archive.writestr(entry, buffer.getvalue(), zipfile.ZIP_DEFLATED)


def mean_parameters(hands_mean: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
    """The initial prediction of a regressor: the mean hand, upright, its back towards an average camera.

    Args:
        hands_mean: mean hand pose, axis-angle `[45]` radians.

    Returns:
        The layout of HaMeR's `mano_mean_params.npz`: `pose` `[96]`, six numbers per rotation, the first two
        columns of its matrix one after the other; `shape` `[10]`; `cam` `[3]`, a weak camera.
    """
    from scipy.spatial.transform import Rotation

    from shared_tmu.synth.scene import UPRIGHT_BACK

    fingers = Rotation.from_rotvec(np.asarray(hands_mean, np.float64).reshape(15, 3)).as_matrix()
    rotmats = np.concatenate([UPRIGHT_BACK[None], fingers])
    return {
        "pose": rotmats[:, :, :2].transpose(0, 2, 1).reshape(96).astype(np.float32),
        "shape": np.zeros(10, np.float32),
        "cam": np.array(MEAN_CAMERA, np.float32),
    }
