"""Rays: where a pixel looks, what it meets there, and that windows and empty meshes are no special cases."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_tmu.errors import MissingDependencyError
from shared_tmu.pictures.render import RayScene, cast_rays

FOCAL_PX, CENTRE_PX, WIDTH, HEIGHT = (50.0, 40.0), (7.5, 6.25), 20, 12
FACE = np.array([[0, 1, 2]])
WIDE = ((-99.0, -99.0), (199.0, -99.0), (0.0, 199.0))  # corners of a triangle that fills the picture


def unproject(u: float, v: float, depth: float) -> np.ndarray:
    """The point at a depth that is seen at image coordinates (u, v)."""
    x, y = (u - CENTRE_PX[0]) / FOCAL_PX[0], (v - CENTRE_PX[1]) / FOCAL_PX[1]
    return depth * np.array([x, y, 1.0])


def see(vertices: np.ndarray, faces: np.ndarray, window: tuple[int, int, int, int] | None = None):
    return cast_rays(vertices, faces, FOCAL_PX, CENTRE_PX, WIDTH, HEIGHT, window)


def random_mesh(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Thirty triangles in view, 1 to 3 units away."""
    rng = np.random.default_rng(seed)
    places = rng.uniform([0, 0, 1], [WIDTH, HEIGHT, 3], (90, 3))
    return np.array([unproject(*place) for place in places]), np.arange(90).reshape(30, 3)


def test_a_point_is_seen_in_the_pixel_it_projects_to():
    corners = ((9.8, 3.9), (10.2, 3.9), (10.0, 4.2))
    hits = see(np.array([unproject(u, v, 2.5) for u, v in corners]), FACE)
    assert hits.face.shape == (HEIGHT, WIDTH)
    assert np.argwhere(hits.mask).tolist() == [[4, 10]]  # row, column
    assert hits.depth[4, 10] == pytest.approx(2.5, rel=1e-6)


def test_depth_is_z_and_not_the_distance_along_the_ray():
    plane = np.array([unproject(u, v, 3.0) for u, v in WIDE])
    hits = see(plane, FACE)
    assert hits.mask.all()
    np.testing.assert_allclose(hits.depth, 3.0, rtol=1e-5)


def test_the_nearer_face_is_seen_whatever_its_winding():
    vertices = np.array([unproject(u, v, z) for z in (2.0, 1.0) for u, v in WIDE])
    for near in ([3, 4, 5], [5, 4, 3]):
        hits = see(vertices, np.array([[0, 1, 2], near]))
        assert (hits.face == 1).all()


def test_a_mesh_behind_the_camera_is_not_seen():
    assert not see(np.array([unproject(u, v, -1.0) for u, v in WIDE]), FACE).mask.any()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_interpolated_positions_lie_where_the_pixel_looks(seed):
    vertices, faces = random_mesh(seed)
    hits = see(vertices, faces)
    rows, columns = np.nonzero(hits.mask)
    places = hits.interpolate(vertices, faces)[rows, columns]
    want = [unproject(u, v, z) for u, v, z in zip(columns, rows, hits.depth[rows, columns], strict=True)]
    np.testing.assert_allclose(places, np.reshape(want, (-1, 3)), atol=1e-3)
    np.testing.assert_allclose(hits.bary[rows, columns].sum(-1), 1.0, atol=1e-6)
    assert (hits.interpolate(vertices, faces)[~hits.mask] == 0).all()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    columns=st.tuples(st.integers(0, WIDTH), st.integers(0, WIDTH)),
    rows=st.tuples(st.integers(0, HEIGHT), st.integers(0, HEIGHT)),
)
def test_a_window_is_a_crop_of_the_whole(seed, columns, rows):
    (x0, x1), (y0, y1) = sorted(columns), sorted(rows)
    vertices, faces = random_mesh(seed)
    whole, part = see(vertices, faces), see(vertices, faces, (x0, y0, x1, y1))
    np.testing.assert_array_equal(part.face, whole.face[y0:y1, x0:x1])
    np.testing.assert_array_equal(part.bary, whole.bary[y0:y1, x0:x1])
    np.testing.assert_array_equal(part.depth, whole.depth[y0:y1, x0:x1])


@pytest.mark.parametrize("vertices", [0, 5])
def test_a_mesh_without_faces_is_never_hit(vertices):
    hits = see(np.ones((vertices, 3)), np.zeros((0, 3), np.int64))
    assert (hits.face == -1).all()
    assert (hits.bary == 0).all()
    assert np.isinf(hits.depth).all()
    assert hits.interpolate(np.ones((vertices, 2)), np.zeros((0, 3), np.int64)).shape == (HEIGHT, WIDTH, 2)


def test_results_have_the_types_that_the_docstring_promises():
    hits = see(*random_mesh(0))
    assert (hits.face.dtype, hits.bary.dtype, hits.depth.dtype) == (np.int32, np.float32, np.float32)


def test_only_what_lies_ahead_occludes():
    scene = RayScene(np.array([unproject(u, v, 2.0) for u, v in WIDE]), FACE)
    origins, ahead = np.zeros((3, 3), np.float32), np.array([[0, 0, 1], [0, 0, -1], [0, 0, 1]], np.float32)
    origins[2, 2] = 2.5
    assert scene.occluded(origins, ahead).tolist() == [True, False, False]


def test_without_embreex_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "embreex", None)
    with pytest.raises(MissingDependencyError, match=r"shared_tmu\[render\]"):
        see(*random_mesh(0))
