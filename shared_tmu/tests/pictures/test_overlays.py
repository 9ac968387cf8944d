"""Shaded meshes over pictures: where they appear, what hides what, how they mirror."""

import subprocess
import sys

import numpy as np
import pytest

from shared_tmu.body_models.mano import load_mano
from shared_tmu.pictures.overlays import LEFT_RGB, Mesh, View, draw_meshes, draw_side_view, vertex_normals

VIEW = View(400.0, (49.5, 39.5), 100, 80)


def square(size=0.2, depth=4.0, rgb=(1.0, 1.0, 1.0), x=0.0):
    half = size / 2
    corners = [
        [x - half, -half, depth],
        [x + half, -half, depth],
        [x + half, half, depth],
        [x - half, half, depth],
    ]
    return Mesh(np.array(corners), np.array([[0, 2, 1], [0, 3, 2]]), rgb)


@pytest.fixture(scope="module")
def hand():
    mano = load_mano()
    return Mesh(mano.v_template @ np.diag([1.0, 1.0, 1.0]) + [0, 0, 1.0], mano.faces)


@pytest.fixture
def grey():
    return np.full((80, 100, 3), 90, np.uint8)


def test_a_mesh_covers_the_pixels_it_projects_to(grey):
    drawn = draw_meshes(grey, [square()], VIEW)  # 20 pixels wide around (49.5, 39.5)
    changed = np.abs(drawn.astype(int) - grey).max(axis=2) > 30
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 49, 40, 59)
    assert changed.sum() == 400
    assert np.array_equal(grey, np.full((80, 100, 3), 90, np.uint8))


def test_the_nearer_mesh_hides_the_farther(grey):
    red, blue = square(rgb=(1, 0, 0)), square(depth=3.0, rgb=(0, 0, 1))
    for order in ([red, blue], [blue, red]):
        middle = draw_meshes(grey, order, VIEW)[40, 50]
        assert middle[0] > 100
        assert middle[2] == 0


def test_edges_are_smooth_and_meshes_out_of_sight_leave_the_picture(grey):
    drawn = draw_meshes(np.zeros_like(grey), [square(0.2 + 0.005)], VIEW)
    full, edge = int(drawn[40, 50, 0]), int(drawn[40, 39, 0])
    assert 0 < edge < full
    for mesh in (square(x=100.0), square(depth=-4.0)):
        assert np.array_equal(draw_meshes(grey, [mesh], VIEW), grey)
    assert np.array_equal(draw_meshes(grey, [], VIEW), grey)


def test_a_zoomed_view_shows_the_same_hand(grey, hand):
    view = View(300.0, (49.5, 39.5), 100, 80)
    small = draw_meshes(grey, [hand], view)
    centre, size = (40.0, 35.0), 50.0
    large = draw_meshes(np.full((200, 200, 3), 90, np.uint8), [hand], view.zoom(centre, size, 200))
    for row, column in ((20, 30), (35, 44), (50, 50)):
        u, v = (column - centre[0]) * 4 + 100, (row - centre[1]) * 4 + 100
        assert np.abs(large[int(v), int(u)].astype(int) - small[row, column]).max() < 25


def test_normals_point_outward(hand):
    normals = vertex_normals(hand.vertices, hand.faces)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    outward = ((hand.vertices - hand.vertices.mean(axis=0)) * normals).sum(axis=1)
    assert (outward > 0).mean() > 0.7


def test_a_mirrored_hand_gives_the_mirrored_silhouettes(hand):
    left = Mesh(hand.vertices * [-1, 1, 1], hand.faces[:, ::-1], LEFT_RGB)
    view = View(300.0, (49.5, 39.5), 100, 80)
    white = np.full((80, 100, 3), 255, np.uint8)
    for a, b in (
        (draw_meshes(white, [hand], view), draw_meshes(white, [left], view)),
        (draw_side_view(hand, view, True), draw_side_view(left, view, False)),
    ):
        assert (a < 250).any()
        assert ((a < 250).any(axis=2) != (b < 250).any(axis=2)[:, ::-1]).mean() < 0.002


def test_large_windows_are_cast_coarsely(monkeypatch, hand):
    import shared_tmu.pictures.overlays

    monkeypatch.setattr(shared_tmu.pictures.overlays, "MAX_CAST_PIXELS", 400)
    drawn = draw_meshes(np.zeros((80, 100, 3), np.uint8), [square()], VIEW)
    assert drawn[40, 50, 0] > 100
    assert drawn[5, 5, 0] == 0


def test_bands_fit_together(monkeypatch, hand):
    import shared_tmu.pictures.overlays as overlays

    view, black = View(300.0, (49.5, 39.5), 100, 80), np.zeros((80, 100, 3), np.uint8)
    for rays in (6_000_000, 9_000, 1_000):  # two rays a pixel, one, and one for several pixels
        monkeypatch.setattr(overlays, "MAX_CAST_PIXELS", rays)
        monkeypatch.setattr(overlays, "BAND_RAYS", 10**9)
        whole = draw_meshes(black, [hand], view)
        monkeypatch.setattr(overlays, "BAND_RAYS", 700)
        assert np.array_equal(draw_meshes(black, [hand], view), whole)


MEMORY = """
import io, resource
import numpy as np
from PIL import Image
from shared_tmu.pictures import overlays
from shared_tmu.pictures.body_crops import body_crop
from shared_tmu.pictures.hand_crops import hand_crop
from shared_tmu.pictures.images import decode_image

overlays.MAX_CAST_PIXELS = 400_000
corners = np.array([[-1, -1, 2], [1, -1, 2], [1, 1, 2], [-1, 1, 2]], float)
mesh = overlays.Mesh(corners, np.array([[0, 2, 1], [0, 3, 2]]))
for side in (200, 4000):
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "PNG", compress_level=1)
    image = decode_image(file.getvalue(), "x").bgr
    hand_crop(image, (0, 0, side, side), True), body_crop(image, (0, 0, side, side))
    drawn = overlays.draw_meshes(image, [mesh], overlays.View(1.1 * side, (side / 2, side / 2), side, side))
    assert drawn.min() > 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_memory_is_that_of_the_picture_and_its_copy():
    told = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, check=True).stdout
    small, large = map(int, told.split())
    assert large - small < 7 * 4000**2 + 200_000_000
