"""Errors of motion: known accelerations, ends of clips, invariance to where the hand is."""

import numpy as np
import pytest

from shared_tmu.errors import InputError
from shared_tmu.metrics.clips import accelerations, score_clips

RNG = np.random.default_rng(0)


def hand(frames, joints=21):
    return RNG.normal(0, 0.05, (frames, joints, 3))


def test_known_acceleration():
    times = np.arange(7.0)[:, None, None]
    points = 0.5 * 0.003 * times**2 * np.ones((1, 4, 1)) * [1.0, 0.0, 0.0] + 5.0 + times
    found = accelerations(points, np.zeros(7))
    assert np.isnan(found[[0, -1]]).all()
    np.testing.assert_allclose(found[1:-1, :, 0], 0.003)


def test_no_acceleration_reaches_over_the_end_of_a_clip():
    points, clips = hand(9), np.repeat([0, 1, 2], [4, 4, 1])
    found = np.isfinite(accelerations(points, clips)).all((1, 2))
    assert found.tolist() == [False, True, True, False] * 2 + [False]


def test_a_shift_of_the_whole_hand_changes_nothing():
    true = hand(6)
    pred = true + RNG.normal(size=(6, 1, 3))
    scores = score_clips(pred, true, np.zeros(6), 30.0)
    head = scores.headline
    assert head["mpjpe_mm"] == pytest.approx(0, abs=1e-9)
    assert head["accel_error_mm"] == pytest.approx(0, abs=1e-9)
    assert head["jitter_mm"] == pytest.approx(head["true_jitter_mm"])


def test_a_zigzag_of_one_joint():
    true = np.tile(hand(1), (8, 1, 1))
    pred = true.copy()
    pred[::2, 5, 1] += 0.002
    head = score_clips(pred, true, np.zeros(8), 30.0).headline
    assert head["mpjpe_mm"] == pytest.approx(2 / 21 / 2)
    assert head["accel_error_mm"] == pytest.approx(4 / 21)
    assert head["jitter_mm"] == pytest.approx(4 / 21)
    assert head["true_jitter_mm"] == pytest.approx(0)
    assert head["accel_error_m_per_s2"] == pytest.approx(4 / 21 * 900 / 1000)


def test_single_frames_have_no_acceleration():
    scores = score_clips(hand(3), hand(3), np.arange(3), 30.0)
    assert np.isnan(scores.headline["accel_error_mm"])
    assert scores.as_dict()["accel_error_mm"] is None
    assert np.isfinite(scores.headline["mpjpe_mm"])


def test_bad_numbers_are_refused():
    pred = hand(3)
    pred[1, 0, 0] = np.nan
    with pytest.raises(InputError, match="not finite: 1"):
        score_clips(pred, hand(3), np.zeros(3), 30.0)
