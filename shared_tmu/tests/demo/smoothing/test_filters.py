"""One-euro and Savitzky-Golay: what they leave alone, what they smooth, rotations as rotations."""

import itertools

import numpy as np
import pytest
from scipy.signal import savgol_filter
from scipy.spatial.transform import Rotation

from shared_tmu.temporal.smoothing.kinds import AROUND
from shared_tmu.temporal.smoothing.motion import Motion, from_place, to_place
from shared_tmu.temporal.smoothing.one_euro import OneEuro
from shared_tmu.temporal.smoothing.savgol import ORDER, fit, weights

EVEN = np.arange(60) / 25
UNEVEN = np.cumsum(np.random.default_rng(3).uniform(0.01, 0.08, 60))


def one_euro(times, motions):
    track = OneEuro()
    return [track.step(at, motion) for at, motion in zip(times, motions, strict=True)]


def savgol(times, motions):
    out = []
    for index in range(len(times)):
        part = slice(max(0, index - AROUND), index + AROUND + 1)
        out.append(fit(times[part], motions[part], index - max(0, index - AROUND)))
    return out


FILTERS = pytest.mark.parametrize("smooth", [one_euro, savgol])
TIMES = pytest.mark.parametrize("times", [pytest.param(EVEN, id="even"), pytest.param(UNEVEN, id="uneven")])


def motion(rotvecs, shape=0.0, place=(0.0, 0.0, 0.0)):
    return Motion(Rotation.from_rotvec(np.atleast_2d(rotvecs)), np.full(2, shape), np.array(place), 0.05)


def apart(one, other):
    """Angles between rotations, radians."""
    return (one.rotations.inv() * other.rotations).magnitude()


def shake(motions):
    """Mean second differences of rotations and places."""
    turns = [(a.rotations.inv() * b.rotations).as_rotvec() for a, b in itertools.pairwise(motions)]
    places = np.diff([one.place for one in motions], 2, axis=0)
    return np.linalg.norm(np.diff(turns, axis=0), axis=-1).mean(), np.linalg.norm(places, axis=-1).mean()


@FILTERS
@TIMES
def test_what_does_not_move_stays_exactly(smooth, times):
    still = motion([(2.9, 0.4, -0.3), (0, 0, 0)], 0.7, (0.1, -0.2, 1.5))
    for one in smooth(times, [still] * len(times)):
        assert apart(one, still).max() < 1e-7
        np.testing.assert_allclose(one.shape, still.shape, atol=1e-12)
        np.testing.assert_allclose(one.place, still.place, atol=1e-12)


@FILTERS
@TIMES
def test_noise_on_a_still_hand_shrinks(smooth, times):
    rng = np.random.default_rng(0)
    noisy = [motion(rng.normal(0, 0.05, (16, 3)) + 1.5, 0.0, rng.normal(0, 0.002, 3)) for _ in times]
    before, after = shake(noisy), shake(smooth(times, noisy))
    assert after[0] < 0.35 * before[0]
    assert after[1] < 0.35 * before[1]


@TIMES
def test_savgol_leaves_parabolas_and_even_turns_alone(times):
    """Also a turn over more than half a circle, where axis times angle jumps."""
    turning = [motion((0, 0, 2.5 * at), at**2, (at, 1 - at**2, 3 * at)) for at in times]
    for one, other in zip(savgol(times, turning), turning, strict=True):
        assert apart(one, other).max() < 1e-6
        np.testing.assert_allclose(one.shape, other.shape, atol=1e-9)
        np.testing.assert_allclose(one.place, other.place, atol=1e-9)


def test_savgol_is_scipys_at_an_even_rate():
    noise = np.random.default_rng(1).normal(size=(60, 3))
    ours = savgol(EVEN, [motion((0, 0, 0), place=place) for place in noise])
    theirs = savgol_filter(noise, 2 * AROUND + 1, ORDER, axis=0)
    inner = slice(AROUND, -AROUND)
    np.testing.assert_allclose([one.place for one in ours][inner], theirs[inner], atol=1e-12)
    assert weights(UNEVEN[:9], UNEVEN[4]).sum() == pytest.approx(1)


def test_one_frame_alone_stays():
    alone = motion((0.1, 0.2, 0.3), 1.0, (1, 2, 3))
    for smooth in (one_euro, savgol):
        (one,) = smooth([0.0], [alone])
        np.testing.assert_array_equal(one.place, alone.place)
        assert apart(one, alone).max() < 1e-9


def test_one_euro_lags_less_the_faster_it_goes():
    lags = []
    for speed in (0.5, 8.0):
        turning = [motion((0, 0, speed * at)) for at in EVEN]
        lags.append(apart(one_euro(EVEN, turning)[-1], turning[-1])[0] / speed)
    assert lags[1] < 0.5 * lags[0] < 0.06  # seconds


@FILTERS
def test_rotations_are_smoothed_as_rotations(smooth):
    """Turning the whole scene turns the result, which fails if numbers of a representation are smoothed."""
    rng = np.random.default_rng(2)
    noisy = [motion(rng.normal(0, 0.3, (4, 3)) + np.array((1.8, 2.0, 0))) for _ in EVEN]
    turn = Rotation.from_rotvec((2.0, -1.0, 0.5))
    turned = [Motion(turn * one.rotations, one.shape, one.place, one.size) for one in noisy]
    for one, other in zip(smooth(EVEN, noisy), smooth(EVEN, turned), strict=True):
        assert (one.rotations.inv() * (turn.inv() * other.rotations)).magnitude().max() < 1e-6


def test_signs_of_quaternions_do_not_matter():
    rng = np.random.default_rng(4)
    quats = [Rotation.from_rotvec(rng.normal(0, 0.2, (3, 3)) + np.array((3.0, 0, 0))).as_quat() for _ in EVEN]
    flipped = [quat * rng.choice([-1, 1], (3, 1)) for quat in quats]
    for smooth in (one_euro, savgol):
        one, other = (
            smooth(EVEN, [Motion(Rotation.from_quat(q), np.zeros(2), np.zeros(3), 0.1) for q in those])
            for those in (quats, flipped)
        )
        assert max(apart(a, b).max() for a, b in zip(one, other, strict=True)) < 1e-7


def test_a_place_is_a_point():
    point = np.array([0.3, -0.2, 7.0])
    np.testing.assert_allclose(from_place(to_place(point)), point, rtol=1e-12)
