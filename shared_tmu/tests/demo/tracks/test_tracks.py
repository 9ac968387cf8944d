"""Tracks: one number and one side per hand, gaps of a few frames bridged, whatever the detector's order."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from shared_tmu.demo.tracks.followers import BRIDGED, AsGiven, LookAhead
from shared_tmu.demo.tracks.tracker import FORGET_S
from shared_tmu.detect import Detection, HandBox, PersonBox

FPS = 25.0


def hand(x, y=100.0, is_right=True, score=0.9, side=60.0, points=None):
    at = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    return HandBox(at, is_right, score, points)


def follow(seen, kind=LookAhead, times=None, **how):
    """The boxes of each frame that a follower gives back for a detector that finds these."""
    return {frame: list(found.boxes) for frame, found in detections(seen, kind, times, **how).items()}


def detections(seen, kind=LookAhead, times=None, **how):
    """What it gives back, by frame."""
    times = times or [index / FPS for index in range(len(seen))]
    follower = kind(lambda loaded: seen[int(loaded.source.key)], lambda index: times[index], **how)
    out = []
    for index in range(len(seen)):
        out += follower.take(SimpleNamespace(source=SimpleNamespace(key=str(index))))
    out += follower.finish()
    return {int(loaded.source.key): found for loaded, found in out}


def seen(*frames):
    return [Detection(tuple(boxes)) for boxes in frames]


def tracks_of(found):
    """Track to its boxes by frame."""
    out = {}
    for frame, boxes in found.items():
        for box in boxes:
            out.setdefault(box.track, {})[frame] = box
    return out


@pytest.mark.parametrize("kind", [LookAhead, AsGiven])
def test_two_hands_keep_their_numbers_whatever_the_order(kind):
    rng = np.random.default_rng(0)
    frames = []
    for index in range(60):
        boxes = [hand(100 + 9 * index), hand(500 - 3 * index, 140.0, is_right=False)]
        frames.append([boxes[place] for place in rng.permutation(2)])
    tracks = tracks_of(follow(seen(*frames), kind))
    assert len(tracks) == 2
    for boxes in tracks.values():
        assert len({box.is_right for box in boxes.values()}) == 1
        assert len(boxes) == 60


def test_hands_that_cross_are_told_apart_by_their_way():
    """Both are right hands of equal size, so that only where they go tells who is who."""
    frames = [[hand(100 + 12 * t, 100.0), hand(460 - 12 * t, 104.0)] for t in range(31)]
    tracks = tracks_of(follow(seen(*frames)))
    assert len(tracks) == 2
    for boxes in tracks.values():
        steps = np.diff([boxes[frame].box_xyxy[0] for frame in sorted(boxes)])
        assert (steps > 0).all() or (steps < 0).all()


def test_hands_on_each_other_are_told_apart_by_their_side():
    frames = [[hand(200 + (t % 2), is_right=True), hand(206 - (t % 3), is_right=False)] for t in range(20)]
    tracks = tracks_of(follow(seen(*(frame[:: 1 - 2 * (t % 2)] for t, frame in enumerate(frames)))))
    assert len(tracks) == 2
    assert [{box.is_right for box in boxes.values()} for boxes in tracks.values()] == [{True}, {False}]


@pytest.mark.parametrize("wrong", [{0}, {0, 1, 2}, {7}, {3, 4, 9, 15}, {29}])
def test_a_track_has_one_side_that_of_most_frames(wrong):
    frames = [[hand(100 + t, is_right=t not in wrong)] for t in range(30)]
    found = follow(seen(*frames))
    assert [[(box.track, box.is_right) for box in found[t]] for t in range(30)] == [[(0, True)]] * 30


def test_sure_boxes_count_more_than_doubtful_ones():
    frames = [[hand(100, is_right=t < 4, score=0.95 if t < 4 else 0.3)] for t in range(10)]
    assert {box.is_right for boxes in follow(seen(*frames)).values() for box in boxes} == {True}


def test_two_hands_that_were_taken_for_one_become_two_tracks_of_one_side_each():
    """One hand is replaced by the other at the same place: from there on it is another track."""
    frames = [[hand(100, is_right=t < 40)] for t in range(80)]
    tracks = tracks_of(follow(seen(*frames)))
    assert len(tracks) == 2
    assert [sorted(boxes)[0] for boxes in tracks.values()] == [0, 40]
    assert [{box.is_right for box in boxes.values()} for boxes in tracks.values()] == [{True}, {False}]


def test_short_gaps_are_bridged_on_the_way_between_at_the_frames_times():
    times = [0.0, 0.04, 0.08, 0.20, 0.24]  # frame 3 is late
    frames = seen([hand(100)], [hand(110)], [], [], [hand(160)])
    found = follow(frames, times=times)
    assert [box.track for boxes in found.values() for box in boxes] == [0] * 5
    middles = [found[t][0].box_xyxy[0] + 30 for t in range(5)]
    np.testing.assert_allclose(middles, [100, 110, 110 + 50 * 0.2, 110 + 50 * 0.8, 160])
    assert [found[t][0].is_found for t in range(5)] == [True, True, False, False, True]


def test_what_is_found_in_place_of_a_missed_hand_is_that_hand():
    """A detector that takes a part of a hand for a smaller one, for one frame or two."""
    frames = [[hand(200, side=100.0)] for _ in range(20)]
    frames[7] = frames[12] = frames[13] = [hand(185, 90, side=40.0)]
    frames[17] = [hand(400, side=40.0)]  # somewhere else, and stray
    found = follow(seen(*frames))
    assert [box.track for t in range(17) for box in found[t]] == [0] * 17
    tracks = tracks_of(found)
    assert [len(boxes) for boxes in tracks.values()] == [20]
    assert not tracks[0][7].is_found


def test_a_hand_that_comes_up_in_another_ones_box_and_stays_is_its_own():
    frames = [[hand(200, side=100.0)] for _ in range(20)]
    for t in range(8, 20):
        small = hand(185, 90, side=40.0)
        frames[t] = [small] if t == 8 else [hand(200, side=100.0), small]
    assert [len(boxes) for boxes in tracks_of(follow(seen(*frames))).values()] == [20, 12]


@pytest.mark.parametrize("missing", [BRIDGED, BRIDGED + 1])
def test_longer_gaps_are_not_made_up_but_the_number_stays(missing):
    frames = seen([hand(100)], [hand(100)], *([[]] * missing), [hand(103)])
    found = follow(frames)
    assert {box.track for boxes in found.values() for box in boxes} == {0}
    assert len([boxes for boxes in found.values() if boxes]) == (3 + BRIDGED if missing == BRIDGED else 3)


def test_after_a_long_absence_it_is_another():
    frames = seen(*[[hand(100)]] * 3, *([[]] * round(FPS * FORGET_S)), *[[hand(100)]] * 3)
    assert {box.track for boxes in follow(frames).values() for box in boxes} == {0, 1}


def test_a_hand_that_leaves_leaves_nothing_behind():
    found = follow(seen(*[[hand(100 + 30 * t)] for t in range(5)], *[[]] * 20))
    assert all(not found[t] for t in range(5, 25))


def test_another_place_or_size_is_another_hand():
    frames = seen(*[[hand(100)]] * 3, *[[hand(400)]] * 3, *[[hand(400, side=200.0)]] * 3)
    assert [found[0].track for found in follow(frames).values()] == [0] * 3 + [1] * 3 + [2] * 3


@pytest.mark.parametrize("ahead", [0, 2, 12])
def test_what_is_seen_for_a_moment_only_is_no_hand(ahead):
    """Without frames ahead, as with a camera, a hand is told from its third frame on."""
    frames = [[hand(100)] for _ in range(30)]
    frames[9] = [*frames[9], hand(400)]
    for t in (20, 21, 29):
        frames[t] = [*frames[t], hand(300)]
    for t in range(24, 30):
        frames[t] = [*frames[t], hand(500)]
    tracks = tracks_of(follow(seen(*frames), frames=ahead))
    found = [30, 6 if ahead else 4, 3 if ahead == 12 else 1]
    assert sorted(map(len, tracks.values()), reverse=True) == sorted(found, reverse=True)
    given = sum(len(boxes) for boxes in follow(seen(*frames), frames=ahead).values())
    strays = [found.strays for found in detections(seen(*frames), frames=ahead).values()]
    assert given + sum(strays) == sum(map(len, frames))
    assert strays[9] == 1


@pytest.mark.parametrize("step_s", [0.4, 5.0])
def test_where_frames_are_far_apart_one_is_enough(step_s):
    """As in a time lapse: nothing can be expected to be found again."""
    frames = seen([hand(100)], [hand(400)], [], [hand(100), hand(600)])
    found = follow(frames, times=[step_s * t for t in range(4)])
    assert [len(boxes) for boxes in found.values()] == [1, 1, 0, 2]


@pytest.mark.parametrize("count", [1, 2])
def test_a_clip_of_a_frame_or_two_has_its_hands(count):
    assert all(follow(seen(*[[hand(100)]] * count)).values())


def test_a_track_goes_on_in_a_clip_of_few_frames_per_second():
    found = follow(seen(*[[hand(100 + 5 * t)] for t in range(6)]), times=[1.5 * t for t in range(6)])
    assert {box.track for boxes in found.values() for box in boxes} == {0}


def test_boxes_that_a_user_gave_are_believed():
    frames = [[hand(100)] for _ in range(20)]
    frames[9] = [*frames[9], hand(400)]
    assert len(follow(seen(*frames), believes=True)[9]) == 2


def test_key_points_tell_hands_in_one_box_apart():
    rng = np.random.default_rng(1)
    poses = rng.uniform(-30, 30, (2, 21, 2))
    frames = []
    for t in range(8):
        boxes = [hand(200, is_right=True, points=pose + np.array((200, 100))) for pose in poses]
        frames.append(boxes if t % 2 else boxes[::-1])
    tracks = tracks_of(follow(seen(*frames)))
    assert len(tracks) == 2
    for boxes in tracks.values():
        assert all(np.array_equal(boxes[t].landmarks_px, boxes[0].landmarks_px) for t in range(8))


def test_people_have_tracks_without_sides():
    frames = [
        [PersonBox((10.0 + 5 * t, 0, 110.0 + 5 * t, 300)), PersonBox((400, 0, 500, 300))] for t in range(9)
    ]
    frames[4] = frames[4][1:]
    tracks = tracks_of(follow(seen(*frames)))
    assert [len(boxes) for boxes in tracks.values()] == [9, 9]
    np.testing.assert_allclose(tracks[0][4].box_xyxy, (30, 0, 130, 300))


def test_given_boxes_stay_as_they_are():
    frames = seen([hand(100)], [hand(101, is_right=False)], [], [hand(103)])
    found = follow(frames, AsGiven)
    assert [[box.is_right for box in found[t]] for t in range(4)] == [[True], [False], [], [True]]
    assert {box.track for boxes in found.values() for box in boxes} == {0}


def test_frames_that_failed_leave_a_hole_only():
    frames = seen(*[[hand(100)]] * 6)
    frames[2] = None
    found = follow(frames)
    assert sorted(found) == [0, 1, 3, 4, 5]
    assert {box.track for boxes in found.values() for box in boxes} == {0}


def test_the_look_ahead_is_bounded_and_does_not_change_the_order():
    frames = seen(*[[hand(100 + t)] for t in range(40)])
    follower = LookAhead(lambda loaded: frames[int(loaded.source.key)], lambda t: t / FPS, frames=3)
    order, held = [], 0
    for index in range(40):
        held += 1
        given = list(follower.take(SimpleNamespace(source=SimpleNamespace(key=str(index)))))
        held -= len(given)
        assert held <= 3
        order += [int(loaded.source.key) for loaded, _ in given]
    order += [int(loaded.source.key) for loaded, _ in follower.finish()]
    assert order == list(range(40))


@pytest.mark.parametrize("seed", range(5))
def test_many_hands_with_noise_misses_and_flips(seed):
    """A detector that misses a tenth, flips a tenth of the sides and shakes: every hand stays one track."""
    rng = np.random.default_rng(seed)
    starts = [(100, 100), (320, 90), (540, 120), (200, 330), (430, 320)]
    ways = rng.uniform(-3, 3, (5, 2))
    frames = []
    for t in range(75):
        boxes = []
        for number, ((x, y), way) in enumerate(zip(starts, ways, strict=True)):
            if rng.random() < 0.1 and t not in (0, 74):
                continue
            x_now, y_now = np.array([x, y]) + t * way * 0.3 + rng.normal(0, 1.5, 2)
            flips = rng.random() < 0.1
            boxes.append(hand(x_now, y_now, is_right=(number % 2 == 0) != flips))
        frames.append([boxes[place] for place in rng.permutation(len(boxes))])
    found = follow(seen(*frames))
    tracks = tracks_of(found)
    assert len(tracks) == 5
    for boxes in tracks.values():
        assert len(boxes) == 75
        assert len({box.is_right for box in boxes.values()}) == 1
        steps = np.diff([boxes[t].box_xyxy[:2] for t in range(75)], axis=0)
        assert np.abs(steps).max() < 15
    assert sum(next(iter(boxes.values())).is_right for boxes in tracks.values()) == 3
    assert list(itertools.chain(found)) == list(range(75))
