"""Turn a fine marching-cubes surface into a mesh of exactly MANO's size: even triangles, an open wrist.

Short edges are collapsed until the wanted number of vertices is left, edges are flipped towards valence six,
and vertices slide along the surface to even the spacing (after Botsch and Kobbelt 2004, "A remeshing approach
to multiresolution modeling"). Vertices on the boundary stay where they are unless two of them merge.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Faces = NDArray[np.int64]
Sizing = Callable[[Array], Array]


class _Collapser:
    """Mesh under edge collapse: faces around every vertex, a queue of edges by length over wanted length."""

    def __init__(self, vertices: Array, faces: Faces, sizing: Sizing) -> None:
        self.vertices = vertices.copy()
        corners = faces.tolist()
        self.faces: dict[int, tuple[int, int, int]] = {i: (a, b, c) for i, (a, b, c) in enumerate(corners)}
        self.around: list[set[int]] = [set() for _ in vertices]
        for i, face in self.faces.items():
            for v in face:
                self.around[v].add(i)
        self.size = sizing(vertices)
        self.boundary = np.zeros(len(vertices), dtype=bool)
        self.boundary[boundary_vertices(faces)] = True
        self.version = [0] * len(vertices)
        self.queue: list[tuple[float, int, int, int, int]] = []
        for a, b in unique_edges(faces).tolist():
            self._push(a, b)

    def neighbours(self, vertex: int) -> set[int]:
        """Vertices that share a face with this one."""
        return {v for i in self.around[vertex] for v in self.faces[i]} - {vertex}

    def _push(self, a: int, b: int) -> None:
        length = float(np.linalg.norm(self.vertices[a] - self.vertices[b]))
        wanted = 0.5 * (self.size[a] + self.size[b])
        heapq.heappush(self.queue, (length / wanted, a, b, self.version[a], self.version[b]))

    def _allowed(self, a: int, b: int, keep_boundary: int) -> bool:
        shared = self.around[a] & self.around[b]
        if len(self.neighbours(a) & self.neighbours(b)) != len(shared):
            return False  # the link condition: anything else would pinch the surface
        if self.boundary[a] and self.boundary[b]:
            return len(shared) == 1 and int(self.boundary.sum()) > keep_boundary
        corners = {v for i in shared for v in self.faces[i]}
        return not any(len(self.around[v]) <= 3 and not self.boundary[v] for v in corners)

    def _flips_a_face(self, a: int, b: int, place: Array) -> bool:
        for i in self.around[a] ^ self.around[b]:
            face = self.faces[i]
            old = self.vertices[list(face)]
            new = np.array([place if v in (a, b) else self.vertices[v] for v in face])
            n_old = np.cross(old[1] - old[0], old[2] - old[0])
            n_new = np.cross(new[1] - new[0], new[2] - new[0])
            if n_old @ n_new <= 0.2 * np.linalg.norm(n_old) * np.linalg.norm(n_new):
                return True
        return False

    def _merge(self, a: int, b: int, place: Array) -> None:
        for i in list(self.around[a] & self.around[b]):
            for v in self.faces.pop(i):
                self.around[v].discard(i)
        for i in self.around[b]:
            x, y, z = (a if v == b else v for v in self.faces[i])
            self.faces[i] = (x, y, z)
            self.around[a].add(i)
        self.around[b] = set()
        self.vertices[a] = place
        self.size[a] = 0.5 * (self.size[a] + self.size[b])
        self.boundary[b] = False
        self.version[a] += 1
        self.version[b] += 1
        for v in self.neighbours(a):
            self._push(a, v)

    def run(self, target: int, keep_boundary: int) -> tuple[Array, Faces]:
        """Collapse until `target` vertices are left, at least `keep_boundary` of them on the boundary."""
        alive = sum(1 for faces in self.around if faces)
        refilled_at = -1
        while alive > target:
            if not self.queue:  # an edge refused once may be allowed after its surroundings changed
                if refilled_at == alive:
                    raise RuntimeError(f"no edge left to collapse at {alive} vertices, wanted {target}")
                refilled_at = alive
                for a, b in unique_edges(np.array(list(self.faces.values()))).tolist():
                    self._push(a, b)
            _, a, b, version_a, version_b = heapq.heappop(self.queue)
            stale = self.version[a] != version_a or self.version[b] != version_b
            if stale or not self.around[a] or not self.around[b] or not self._allowed(a, b, keep_boundary):
                continue
            if self.boundary[b] and not self.boundary[a]:
                a, b = b, a
            one_sided = self.boundary[a] and not self.boundary[b]
            place = self.vertices[a] if one_sided else 0.5 * (self.vertices[a] + self.vertices[b])
            if self._flips_a_face(a, b, place):
                continue
            self._merge(a, b, place)
            alive -= 1
        used = np.array([bool(faces) for faces in self.around])
        index = np.cumsum(used) - 1
        return self.vertices[used], index[np.array(list(self.faces.values()))]


def unique_edges(faces: Faces) -> Faces:
    """Every edge once, `[E, 2]`, smaller index first."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    return np.asarray(np.unique(np.sort(pairs, axis=1), axis=0))


def boundary_edges(faces: Faces) -> Faces:
    """Edges with one face only, `[E, 2]`."""
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, counts = np.unique(pairs, axis=0, return_counts=True)
    return np.asarray(edges[counts == 1])


def boundary_vertices(faces: Faces) -> NDArray[np.int64]:
    """Vertices on the rim of a hole, `[K]`, in rising order."""
    return np.asarray(np.unique(boundary_edges(faces)))


def collapse(vertices: Array, faces: Faces, target: int, rim: int, sizing: Sizing) -> tuple[Array, Faces]:
    """Collapse edges until `target` vertices are left, of which `rim` lie on the boundary.

    Args:
        vertices: `[V, 3]` metres.
        faces: `[F, 3]`.
        target: vertices to keep.
        rim: vertices of the boundary to keep.
        sizing: edge length wanted at points `[K, 3]`, `[K]` metres.

    Returns:
        Vertices `[target, 3]` and their faces.
    """
    coarse, coarse_faces = vertices, faces
    for stage in (8, 4, 2):  # flips between the stages keep valences low, which keeps edges collapsible
        if len(coarse) > stage * target:
            coarse, coarse_faces = _Collapser(coarse, coarse_faces, sizing).run(stage * target, rim)
            coarse_faces = flip_edges(coarse, coarse_faces)
    coarse, coarse_faces = _Collapser(coarse, coarse_faces, sizing).run(target + 60, rim)
    rims = len(boundary_vertices(coarse_faces))
    while rims > rim:  # finish the rim first: only boundary edges may shrink it
        coarse, coarse_faces = shrink_rim(coarse, coarse_faces)
        rims -= 1
    return _Collapser(coarse, coarse_faces, sizing).run(target, rim)


def collapse_freely(vertices: Array, faces: Faces, target: int, sizing: Sizing) -> tuple[Array, Faces]:
    """Collapse edges until `target` vertices are left, rims and inside alike.

    Args:
        vertices: `[V, 3]` metres.
        faces: `[F, 3]`.
        target: vertices to keep.
        sizing: edge length wanted at points `[K, 3]`, `[K]` metres.

    Returns:
        Vertices `[target, 3]` and their faces.
    """
    for stage in (8, 4, 2, 1):
        if len(vertices) > stage * target:
            vertices, faces = _Collapser(vertices, faces, sizing).run(stage * target, 3)
            faces = flip_edges(vertices, faces)
    return vertices, faces


def finish_inside(vertices: Array, faces: Faces, target: int, sizing: Sizing) -> tuple[Array, Faces]:
    """Collapse inner edges only, until `target` vertices are left: arguments as for `collapse_freely`."""
    return _Collapser(vertices, faces, sizing).run(target, len(boundary_vertices(faces)))


def shrink_rim(vertices: Array, faces: Faces, where: NDArray[np.bool_] | None = None) -> tuple[Array, Faces]:
    """Collapse the shortest edge of the boundary, of those with both ends in `where` `[V]` if it is given."""
    edges = boundary_edges(faces)
    if where is not None:
        edges = edges[where[edges].all(axis=1)]
    a, b = edges[np.argmin(np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1))]
    vertices = vertices.copy()
    vertices[a] = 0.5 * (vertices[a] + vertices[b])
    merged = np.where(faces == b, a, faces)
    merged = merged[(merged != np.roll(merged, 1, axis=1)).all(axis=1)]  # the face at the edge is gone
    merged = np.where(merged > b, merged - 1, merged)
    return np.delete(vertices, b, axis=0), merged


def flip_edges(vertices: Array, faces: Faces) -> Faces:
    """One pass of edge flips that bring valences nearer to six (four on the rim): faces `[F, 3]` anew."""
    faces = faces.copy()
    rim = set(boundary_vertices(faces).tolist())
    valence = np.bincount(unique_edges(faces).ravel(), minlength=len(vertices))
    wanted = np.array([4 if v in rim else 6 for v in range(len(vertices))])
    owner: dict[tuple[int, int], int] = {}
    for i, (a, b, c) in enumerate(faces.tolist()):
        owner.update({(a, b): i, (b, c): i, (c, a): i})
    for a, b in unique_edges(faces).tolist():
        if (a, b) not in owner or (b, a) not in owner:
            continue
        i, j = owner[a, b], owner[b, a]
        c = int(next(v for v in faces[i] if v not in (a, b)))
        d = int(next(v for v in faces[j] if v not in (a, b)))
        if (c, d) in owner or (d, c) in owner or (c in rim and d in rim):
            continue
        four = np.array([a, b, c, d])
        change = np.array([-1, -1, 1, 1])
        before = ((valence[four] - wanted[four]) ** 2).sum()
        after = ((valence[four] + change - wanted[four]) ** 2).sum()
        chord = a in rim and b in rim  # an inner edge between rim vertices would be double after mirroring
        if not chord and (after >= before or not _flip_is_flat(vertices, a, b, c, d)):
            continue
        valence[four] += change
        faces[i], faces[j] = (c, a, d), (d, b, c)
        for key in ((a, b), (b, a)):
            del owner[key]
        owner.update({(c, a): i, (a, d): i, (d, c): i, (d, b): j, (b, c): j, (c, d): j})
    return faces


def _flip_is_flat(vertices: Array, a: int, b: int, c: int, d: int) -> bool:
    """Whether flipping edge (a, b) to (c, d) leaves the surface facing as it did."""

    def normal(x: int, y: int, z: int) -> Array:
        n = np.cross(vertices[y] - vertices[x], vertices[z] - vertices[x])
        return np.asarray(n / max(float(np.linalg.norm(n)), 1e-12))

    old, new = (normal(a, b, c), normal(b, a, d)), (normal(c, a, d), normal(d, b, c))
    return min(float(n @ o) for n in new for o in old) > 0.6


def relax(vertices: Array, faces: Faces, sizing: Sizing, project: Callable[[Array], Array]) -> Array:
    """Slide inner vertices towards the size-weighted mean of their neighbours, then back onto the surface.

    Args:
        vertices: `[V, 3]` metres.
        faces: `[F, 3]`.
        sizing: edge length wanted at points `[K, 3]`, `[K]` metres.
        project: moves points `[K, 3]` onto the surface.
    """
    edges = unique_edges(faces)
    rim = boundary_vertices(faces)
    size = sizing(vertices)
    weight = 1.0 / (0.5 * (size[edges[:, 0]] + size[edges[:, 1]]))
    total, sums = np.zeros(len(vertices)), np.zeros_like(vertices)
    for i, j in ((0, 1), (1, 0)):
        np.add.at(total, edges[:, i], weight)
        np.add.at(sums, edges[:, i], weight[:, None] * vertices[edges[:, j]])
    moved = vertices + 0.6 * (sums / total[:, None] - vertices)
    inner = np.ones(len(vertices), dtype=bool)
    inner[rim] = False
    out = vertices.copy()
    out[inner] = project(moved[inner])
    return out
