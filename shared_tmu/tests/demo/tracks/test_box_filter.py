"""Boxes between detections: what is learned of motion and of meshes, and how both are weighed."""

import numpy as np
import pytest

from shared_tmu.demo.tracks.box_filter import BoxFilter, corners_of, mesh_numbers, numbers_of

STEP_S = 0.04


def even(frame, scale=1.0):
    """A box that moves and grows evenly."""
    size = 80 * 1.005**frame
    x, y = 100 + 3 * frame, 200 - 2 * frame
    return scale * np.array([x - size / 2, y - size / 2, x + size / 2, y + size / 2])


def mesh_in(box):
    """A mesh that is smaller than its box and aside, always alike."""
    x1, y1, x2, y2 = box
    side = np.sqrt((x2 - x1) * (y2 - y1))
    return numbers_of(box) + np.array([0.05 * side, -0.02 * side, -0.3, -0.1])


def looked_at(frames, way=even, scale=1.0):
    """A filter that the detector has shown some frames."""
    known = BoxFilter(way(0, scale), 0.0)
    for frame in range(frames):
        known.go_to(frame * STEP_S)
        known.found(way(frame, scale))
        known.compare(way(frame, scale), mesh_in(way(frame, scale)))
    return known


def test_numbers_are_those_of_the_box():
    box = (10.0, 20.0, 50.0, 35.0)
    np.testing.assert_allclose(corners_of(numbers_of(box)), box)


@pytest.mark.parametrize("points", [np.full((5, 2), np.nan), np.ones((5, 2)), [[0, 0], [0, 1], [0, np.inf]]])
def test_points_without_an_extent_are_no_mesh(points):
    assert mesh_numbers(np.array(points, np.float64)) is None


def test_even_motion_goes_on_without_meshes():
    known = looked_at(8)
    known.go_to(12 * STEP_S)
    np.testing.assert_allclose(known.box, even(12), atol=2.0)


def test_the_detector_s_later_box_is_a_bound():
    """Just before it the box is there; the farther away in time, the less it counts."""
    apart = []
    for later in (6, 8, 16):
        known = looked_at(6)
        known.go_to(5.9 * STEP_S)
        target = even(later) + np.array([30, 0, 30, 0])
        apart.append(abs(known.between(target, later * STEP_S) - even(5.9)).max())
    assert 15 < apart[0] < 31
    assert apart[0] > apart[1] > apart[2] > 0


def test_meshes_that_differ_alike_from_boxes_say_where_these_are():
    known = looked_at(8)
    np.testing.assert_allclose(known.expected(mesh_in(even(8))), even(8), atol=0.5)
    turned = even(8) + np.array([4, -3, 4, -3])
    known.go_to(8 * STEP_S)
    before = abs(known.box - turned).max()
    known.seen(mesh_in(turned))
    assert abs(known.box - turned).max() < before


def test_meshes_that_vary_count_less():
    moved = []
    for shake in (0.0, 0.2):
        known, rng = looked_at(2), np.random.default_rng(0)
        for frame in range(2, 10):
            known.go_to(frame * STEP_S)
            known.found(even(frame))
            known.compare(
                even(frame), mesh_in(even(frame)) + rng.normal(0, shake, 4) * np.array([80, 80, 1, 1])
            )
        known.go_to(10 * STEP_S)
        before = known.box
        known.seen(mesh_in(even(10) + np.array([6, 6, 6, 6])))
        moved.append(abs(known.box - before).max())
    assert moved[1] < 0.2 * moved[0]


def test_a_mesh_elsewhere_is_doubted_unless_meshes_often_are():
    known = looked_at(8)
    known.go_to(8 * STEP_S)
    assert not known.departs(mesh_in(even(8)))
    aside = mesh_in(even(8)) + np.array([20, 0, 0, 0])
    assert known.departs(aside)
    assert known.departs(mesh_in(even(8)) + np.array([0, 0, 0.5, 0]))
    for frame, shift in enumerate((40, -40, 30, -30), start=8):
        known.go_to(frame * STEP_S)
        known.found(even(frame))
        known.compare(even(frame), mesh_in(even(frame)) + np.array([shift, 0, 0, 0]))
    known.go_to(12 * STEP_S)
    assert not known.departs(mesh_in(even(12)) + np.array([20, 0, 0, 0]))


def test_it_knows_no_pixels():
    """Everything ten times as large gives boxes ten times as large."""
    small, large = looked_at(8), looked_at(8, scale=10.0)
    for known, scale in ((small, 1.0), (large, 10.0)):
        known.go_to(10 * STEP_S)
        known.seen(mesh_in(even(10, scale) + scale * np.array([3, 1, 3, 1])))
        known.go_to(11 * STEP_S)
    np.testing.assert_allclose(large.box, 10 * small.box, rtol=1e-9)
    later = even(14) + 5
    np.testing.assert_allclose(
        large.between(10 * later, 14 * STEP_S), 10 * small.between(later, 14 * STEP_S), rtol=1e-9
    )


def test_uneven_steps_in_time():
    """As in clips of variable frame rate: the same way, shown at other times."""
    known, times = BoxFilter(even(0), 0.0), [0, 1, 1.5, 4, 4.2, 7]
    for at in times:
        known.go_to(at * STEP_S)
        known.found(even(at))
    known.go_to(9 * STEP_S)
    np.testing.assert_allclose(known.box, even(9), atol=2.0)


def test_frames_of_the_same_time_do_not_harm():
    """As in damaged clips: twice the same moment, and everything at once."""
    known = BoxFilter(even(0), 0.0)
    for at in (0, 0, 1, 1, 1, 2):
        known.go_to(at * STEP_S)
        known.found(even(at))
    known.go_to(3 * STEP_S)
    np.testing.assert_allclose(known.box, even(3), atol=2.0)
    assert np.isfinite(known.between(even(3), 3 * STEP_S)).all()
