"""Open edges of triangle meshes: finding them, and closing the gap between two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Faces = NDArray[np.int64]
Ids = NDArray[np.int64]


def loops(faces: Faces) -> list[Ids]:
    """The rims of a mesh, each in walking order against its faces' winding."""
    half = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = {(int(a), int(b)) for a, b in half}
    following = {b: a for a, b in edges if (b, a) not in edges}
    out = []
    while following:
        walk = [min(following)]
        while (step := following.pop(walk[-1])) != walk[0]:
            walk.append(step)
        out.append(np.array(walk))
    return out


def zipper(first: Ids, second: Ids, vertices: Array) -> Faces:
    """Triangles between two loops that run the same way, `[len(first) + len(second), 3]`.

    Args:
        first: vertex ids in walking order; triangles keep it on the left.
        second: the same for the other loop.
        vertices: `[V, 3]`.
    """
    gap = np.linalg.norm(vertices[second] - vertices[first[0]], axis=1)
    second = np.roll(second, -int(gap.argmin()))
    a, b = np.append(first, first[0]), np.append(second, second[0])
    i = j = 0
    faces = []
    while i < len(first) or j < len(second):
        step_a = np.linalg.norm(vertices[a[i + 1]] - vertices[b[j]]) if i < len(first) else np.inf
        step_b = np.linalg.norm(vertices[a[i]] - vertices[b[j + 1]]) if j < len(second) else np.inf
        if step_a <= step_b:
            faces.append((a[i], a[i + 1], b[j]))
            i += 1
        else:
            faces.append((a[i], b[j + 1], b[j]))
            j += 1
    return np.array(faces, dtype=np.int64)
