"""Orientation and scale: what an alignment would hide."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from shared_tmu.metrics import orientation_error_deg, picture_errors


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
