"""Hand meshes as files.

Convention: metres, x right, y up, z towards the viewer (the camera frame turned by 180 degrees about x, as
glTF and most viewers expect), the camera at the origin; faces counter-clockwise from outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError, MissingDependencyError
from shared_tmu.pictures.overlays import Mesh

if TYPE_CHECKING:
    from trimesh import Trimesh

TO_VIEWER = (1.0, -1.0, -1.0)
"""Turns the camera frame by 180 degrees about x: the frame of mesh files."""


def mesh_files(
    vertices_camera_m: NDArray[np.floating[Any]],
    faces: NDArray[np.integer[Any]],
    rgb: tuple[float, float, float],
) -> dict[str, bytes]:
    """A mesh as `obj` and `glb`.

    Args:
        vertices_camera_m: `[V, 3]` in the camera frame.
        faces: `[F, 3]`, outward for this hand (reversed for a left hand).
        rgb: colour, 0 to 1.

    Returns:
        Suffix to content.

    Raises:
        MissingDependencyError: trimesh is not installed.
    """
    mesh = to_trimesh(_turned(vertices_camera_m), faces, rgb)
    text: Any = mesh.export(
        file_type="obj", include_normals=False, header="metres, x right, y up, z to viewer"
    )
    binary: Any = mesh.export(file_type="glb")
    return {"obj": text.encode(), "glb": bytes(binary)}


def scene_file(meshes: Sequence[Mesh], one: str) -> bytes:
    """Meshes as one `glb`, in the same frame as `mesh_files`.

    Args:
        meshes: in the camera frame.
        one: what each is; nodes are called `hand_0`, `hand_1`, ...

    Raises:
        InputError: there are none: the format knows no empty scene.
        MissingDependencyError: trimesh is not installed.
    """
    if not meshes:
        raise InputError("a .glb file was asked for, and there are no meshes for it: save .npz or .json.")
    made = [to_trimesh(_turned(mesh.vertices), mesh.faces, mesh.rgb) for mesh in meshes]
    import trimesh

    scene: Any = trimesh.Scene([])
    for index, mesh in enumerate(made):
        scene.add_geometry(mesh, node_name=f"{one}_{index}", geom_name=f"{one}_{index}")
    binary: bytes = scene.export(file_type="glb", include_normals=True)
    return bytes(binary)


def to_trimesh(
    vertices: NDArray[np.floating[Any]], faces: NDArray[np.integer[Any]], rgb: tuple[float, float, float]
) -> Trimesh:
    """A mesh of one colour as trimesh's, with vertices and faces in the same order.

    Raises:
        MissingDependencyError: trimesh is not installed.
    """
    try:
        from trimesh import Trimesh
    except ImportError as error:
        raise MissingDependencyError(
            "a mesh was asked for, but trimesh is not installed: pip install 'shared_tmu[demo]'"
        ) from error
    colour = [*(round(255 * part) for part in rgb), 255]
    return Trimesh(np.asarray(vertices, np.float64), np.asarray(faces), vertex_colors=colour, process=False)


def _turned(vertices_camera_m: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    return np.asarray(vertices_camera_m, np.float64) * TO_VIEWER
