"""Orientation and scale: what an alignment would hide."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from shared_tmu.metrics import hand_posture, orientation_error_deg, picture_errors
from shared_tmu.metrics.posture import are_together


def test_orientation_is_the_angle_of_the_turn_whatever_the_scale():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(5, 40, 3))
    angles = np.array([0.0, 1.0, 45.0, 120.0, 179.0])
    axes = rng.normal(size=(5, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    turns = Rotation.from_rotvec(np.radians(angles)[:, None] * axes).as_matrix()
    prediction = 1.7 * truth @ turns + rng.normal(size=(5, 1, 3))
    np.testing.assert_allclose(orientation_error_deg(prediction, truth), angles, atol=1e-4)


def test_scale_is_how_large_it_looks_wherever_it_lies():
    truth = np.random.default_rng(0).normal(size=(3, 21, 2))
    prediction = np.array([0.9, 1.0, 1.2])[:, None, None] * truth + 30.0
    found = picture_errors(prediction, truth)
    assert found["scale_bias_pct"].tolist() == pytest.approx([-10.0, 0.0, 20.0], abs=1e-9)
    assert found["scale_error_pct"].tolist() == pytest.approx([10.0, 0.0, 20.0], abs=1e-9)
    size = np.sqrt(((truth - truth.mean(1, keepdims=True)) ** 2).sum(-1).mean(1))
    away = np.linalg.norm((prediction - truth).mean(1), axis=-1)
    np.testing.assert_allclose(found["place_error_pct"], 100 * away / size)


def test_boxes_overlap_as_far_as_they_share_area():
    square = np.array([[[0.0, 0.0], [4.0, 4.0], [1.0, 2.0]]])
    aside, inside, away = square + np.array([2.0, 0.0]), 0.5 * square, square + 10.0
    found = [float(picture_errors(points, square)["box_overlap_pct"][0]) for points in (aside, inside, away)]
    assert found == pytest.approx([100 / 3, 25.0, 0.0])


def test_hands_elsewhere_turned_and_larger_are_told_apart():
    rng = np.random.default_rng(1)
    xyz, verts = rng.normal(size=(2, 21, 3)), rng.normal(size=(2, 40, 3))
    verts += (0, 0, 10.0)
    xyz += (0, 0, 10.0)

    def project(points, index):
        return 500 * points[:, :2] / points[:, 2:]

    right = hand_posture({"xyz_m": xyz, "verts_m": verts, "camera_wrist_m": xyz[:, 0]}, xyz, verts, project)
    np.testing.assert_allclose(right.pop("box_overlap_pct"), 100)
    for name, values in right.items():
        np.testing.assert_allclose(values, 0, atol=1e-4, err_msg=name)
    moved = (0.3, 0.0, 0.4)  # joints and vertices alike: only the camera is wrong
    placed = {"xyz_m": xyz + moved, "verts_m": verts + moved, "camera_wrist_m": xyz[:, 0] + moved}
    found = hand_posture(placed, xyz, verts, project)
    np.testing.assert_allclose(found["wrist_mpvpe_mm"], 0, atol=1e-9)
    np.testing.assert_allclose(found["translation_error_mm"], 500)
    assert found["place_error_pct"].min() > 1
    turned = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    about = lambda points: (points - xyz[:, :1]) @ turned + xyz[:, :1]  # noqa: E731
    placed = {"xyz_m": about(xyz), "verts_m": about(verts)}
    found = hand_posture(placed, xyz, verts, project)
    np.testing.assert_allclose(found["orientation_error_deg"], 30, atol=1e-6)
    assert found["wrist_mpvpe_mm"].min() > 100
    assert "translation_error_mm" not in found  # nobody says where the camera put it


def test_joints_at_another_place_than_their_vertices_are_noticed():
    rng = np.random.default_rng(0)
    xyz, verts = (rng.normal(0.6, 0.03, (4, count, 3)) for count in (21, 778))
    assert are_together({"xyz_m": xyz + 0.5, "verts_m": verts + 0.5}, xyz, verts)
    relative = {"xyz_m": xyz - xyz[:, :1], "verts_m": verts}
    assert not are_together(relative, xyz, verts)
