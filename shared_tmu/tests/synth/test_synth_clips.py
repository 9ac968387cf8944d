"""Motion and clips of SynthHand: smooth, within joint limits, repeatable, and labelled as drawn."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from shared_tmu.synth.clip_set import CLIPS_SEED, write_clip_set
from shared_tmu.synth.clips import SIZE, sample_clip
from shared_tmu.synth.evalset import CALIB_SEED, EVAL_SEED
from shared_tmu.synth.hand import synth_hand
from shared_tmu.synth.motion import sample_finger_angles, sample_motion
from shared_tmu.synth.poses import LONG_LIMITS, THUMB_LIMITS

FRAMES = 90


@pytest.mark.parametrize("seed", range(5))
def test_fingers_stay_within_their_limits_at_any_time(seed):
    angles = sample_finger_angles(np.random.default_rng(seed), np.arange(400) / 30.0)  # [T, 15, 3]
    flexion, side, twist = np.moveaxis(angles, -1, 0)
    long = np.array([0, 3, 6, 9])
    named = {
        "base": flexion[:, long], "side": side[:, long], "middle": flexion[:, long + 1],
        "end": flexion[:, long + 2],
    }  # fmt: skip
    thumb = {
        "base": flexion[:, 12], "side": side[:, 12], "twist": twist[:, 12], "middle": flexion[:, 13],
        "end": flexion[:, 14],
    }  # fmt: skip
    for limits, found in ((LONG_LIMITS, named), (THUMB_LIMITS, thumb)):
        for name, (low, high) in limits.items():
            assert found[name].min() >= low - 1e-9
            assert found[name].max() <= high + 1e-9
    assert np.ptp(angles, axis=0).max() > 30  # and they move


@pytest.mark.parametrize("seed", range(4))
def test_motion_is_smooth(seed):
    """Twice the frame rate halves every step, and a quarter is left of second differences."""
    slow, fast = (
        sample_motion(np.random.default_rng(seed), frames, fps) for frames, fps in ((60, 30.0), (120, 60.0))
    )
    for name in ("fingers", "middle_m"):
        coarse, fine = getattr(slow, name), getattr(fast, name)
        np.testing.assert_allclose(coarse, fine[::2], atol=1e-9)
        assert np.abs(np.diff(fine, 2, axis=0)).max() < 0.45 * np.abs(np.diff(coarse, 2, axis=0)).max()
    turns = Rotation.from_rotvec(slow.root)
    assert np.degrees((turns[1:] * turns[:-1].inv()).magnitude()).max() < 25


def test_the_same_numbers_give_the_same_clip():
    first, again, other = (sample_clip(3, index, 5) for index in (0, 0, 1))
    np.testing.assert_array_equal(first.motion.fingers, again.motion.fingers)
    np.testing.assert_array_equal(first.image(2), again.image(2))
    np.testing.assert_array_equal(first.boxes(), again.boxes())
    assert np.abs(first.boxes() - first.boxes(reading=1)).max() > 0.1
    assert np.abs(first.motion.fingers - other.motion.fingers).max() > 0.1


def test_frames_of_a_still_hand_differ_by_noise_only():
    clip = sample_clip(4, 2, 2)
    rows = np.zeros(2, np.int64)
    still = type(clip)(clip.seed, clip.motion.at(rows))
    first, second = (still.image(frame).astype(float) for frame in range(2))
    assert (first != second).mean() > 0.01
    assert np.abs(first - second).mean() < 12
    assert np.abs((first - second).mean()) < 0.5


@pytest.mark.parametrize("index", range(6))
def test_every_frame_shows_the_whole_hand_in_its_box(index):
    clip = sample_clip(6, index, FRAMES)
    boxes = clip.boxes()
    for hand, (left, top, right, bottom) in zip(clip.hands, boxes, strict=True):
        x, y = clip.camera.project(hand.keypoints).T
        assert 0 <= x.min() < x.max() <= SIZE
        assert 0 <= y.min() < y.max() <= SIZE
        assert left < x.min() < x.max() < right
        assert top < y.min() < y.max() < bottom
    sides = (boxes[:, 2:] - boxes[:, :2]).T
    np.testing.assert_allclose(sides[0] / sides[1], 0.75)  # the columns that the network sees


def test_labels_are_those_of_the_motion(tmp_path):
    import json

    write_clip_set(tmp_path, clips=2, frames=3)
    xyz = np.array(json.loads((tmp_path / "evaluation_xyz.json").read_text()))
    assert json.loads((tmp_path / "evaluation_clip.json").read_text()) == [[0]] * 3 + [[1]] * 3
    clip = sample_clip(CLIPS_SEED, 1, 3)
    motion = clip.motion
    posed = synth_hand().pose(
        *(a.astype(np.float32) for a in (motion.root[2], motion.fingers[2], motion.betas))
    )
    np.testing.assert_allclose(xyz[5] - xyz[5, 0], posed.keypoints - posed.keypoints[0], atol=1e-6)
    pictures = sorted((tmp_path / "evaluation" / "rgb").iterdir())
    assert len(pictures) == 6
    before = [path.stat().st_mtime_ns for path in pictures]
    pictures[4].unlink()
    (tmp_path / "synthhand_clips.json").unlink()  # as if it had been interrupted
    write_clip_set(tmp_path, clips=2, frames=3)
    after = [path.stat().st_mtime_ns for path in pictures]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True] * 4 + [False, True]


def test_seeds_of_sets_differ():
    assert len({CLIPS_SEED, EVAL_SEED, CALIB_SEED}) == 3
