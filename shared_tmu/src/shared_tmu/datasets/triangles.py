"""Whether a model's mesh is numbered as that of a data set: two bodies can have equally many vertices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAMPLES, _PAIRS = 16, 4096
_NEAR = (
    0.25  # of the distance of any two vertices; 0.09 for hands and 0.01 for bodies, 1 for a random numbering
)


def faces_of(model: Any) -> NDArray[np.int64] | None:
    """Triangles `[F, 3]` of the mesh that a model predicts; None if it has no body layer of smplx's kind."""
    layers = model.modules() if hasattr(model, "modules") else ()
    found = next((layer.faces_tensor for layer in layers if hasattr(layer, "faces_tensor")), None)
    return None if found is None else found.cpu().numpy().astype(np.int64)


def faces_fit(faces: NDArray[np.integer[Any]], vertices: NDArray[np.floating[Any]]) -> bool:
    """Whether triangles join vertices that are near each other.

    Args:
        faces: `[F, 3]`.
        vertices: `[N, V, 3]`, of any poses.
    """
    if faces.max() >= vertices.shape[1]:
        return False
    shown = np.asarray(vertices[:_SAMPLES], np.float64)
    edges = _lengths(shown, faces[:, 0], faces[:, 1])
    pairs = np.random.default_rng(0).integers(0, shown.shape[1], (2, _PAIRS))
    return bool(np.median(edges / _lengths(shown, *pairs)) < _NEAR)


def _lengths(
    vertices: NDArray[np.float64], a: NDArray[np.integer[Any]], b: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Mean distance of pairs of vertices, `[N]`."""
    found: NDArray[np.float64] = np.linalg.norm(vertices[:, a] - vertices[:, b], axis=-1).mean(axis=1)
    return found
