"""The detector on some frames only: how often it runs, who is who, and where boxes go in between."""

import json

import numpy as np
import pytest
from clip_runs import run
from following_world import World, moving, still, tracks_of
from seeing_hand import HANDS, seeing_program, write_hands
from toy_demo import write_boxes

from shared_tmu.demo.options import parse_options
from shared_tmu.demo.subjects import Hands
from shared_tmu.demo.tracks.followers import BRIDGED
from shared_tmu.demo.tracks.mesh_follower import AHEAD
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.errors import InputError


@pytest.mark.parametrize("every", [2, 5, 12])
def test_it_runs_rarely_and_boxes_follow(every):
    world = World({"a": moving(100, 4), "B": moving(500, -2, 350)})
    found = world.follow(100, every)
    assert len(world.searched) == len(set(world.searched)) <= 100 / every + AHEAD + 2
    tracks = tracks_of(found)
    assert [len(boxes) for boxes in tracks.values()] == [100, 100]
    for boxes, name in zip(tracks.values(), "aB", strict=True):
        assert {box.is_right for box in boxes.values()} == {name == "a"}
        for frame, box in boxes.items():
            was_found = frame in world.searched
            assert box.is_found == was_found
            np.testing.assert_allclose(
                box.box_xyxy, world.true_box(name, frame), atol=1e-6 if was_found else 1.5
            )


def test_people_are_followed_alike():
    world = World({"a": moving(100, 4), "b": moving(500, -2)}, side=lambda frame, name: None)
    tracks = tracks_of(world.follow(40, 5))
    assert [len(boxes) for boxes in tracks.values()] == [40, 40]
    assert len(world.searched) <= 10


def test_a_new_track_has_the_side_of_its_first_frames():
    world = World({"a": still(200)}, side=lambda frame, name: frame not in (0, 3))
    found = world.follow(30, 10)
    assert {(box.track, box.is_right) for boxes in found.values() for box in boxes} == {(0, True)}


def test_without_looking_ahead_a_wrong_side_becomes_another_track():
    """As with a camera: what was shown was wrong, but no track has two sides."""
    world = World({"a": still(200)}, side=lambda frame, name: frame > 0)
    tracks = tracks_of(world.follow(60, 5, ahead=0))
    assert [{box.is_right for box in boxes.values()} for boxes in tracks.values()] == [{False}, {True}]
    assert len(tracks[0]) < 10


def test_a_hand_that_jumps_is_looked_for_at_once_and_keeps_its_number_if_near():
    world = World({"a": lambda t: (200 if t < 17 else 255, 200, 80)})
    found = world.follow(40, 20)
    assert [box.track for boxes in found.values() for box in boxes] == [0] * 40
    assert 18 in world.searched
    np.testing.assert_allclose(found[18][0].box_xyxy, world.true_box("a", 18), atol=1e-6)


def test_a_missed_hand_is_bridged_for_some_frames_and_looked_for_in_each():
    """The detector misses it for ever; the model goes on seeing something where it was."""
    world = World({"a": still(200)}, sees=lambda frame, name: frame < 8)
    found = world.follow(40, 10)
    there = [frame for frame, boxes in found.items() if boxes]
    first = AHEAD + 10  # after the frames that voted
    assert there == list(range(first + BRIDGED))
    assert set(range(first, first + BRIDGED + 1)) <= set(world.searched)


def test_a_hand_that_is_missed_for_a_moment_keeps_its_number():
    world = World({"a": moving(100, 3)}, sees=lambda frame, name: not 20 <= frame < 23)
    tracks = tracks_of(world.follow(60, 10))
    assert list(tracks) == [0]
    assert len(tracks[0]) == 60


def test_what_is_found_in_place_of_a_missed_hand_is_not_shown_beside_it():
    world = World(
        {"a": still(200, size=100.0), "b": lambda t: (185, 190, 40) if t == 15 else None},
        sees=lambda frame, name: (name == "b") == (frame == 15),
    )
    found = world.follow(30, 10)
    assert [box.track for boxes in found.values() for box in boxes] == [0] * 30


def test_a_hand_that_leaves_the_picture_ends():
    world = World({"a": moving(500, 15)})
    found = world.follow(40, 10)
    assert not any(found[frame] for frame in range(20, 40))


def test_a_hand_that_enters_is_found_at_the_next_turn():
    world = World({"a": still(200), "b": lambda t: (450, 200, 80) if t >= 13 else None})
    tracks = tracks_of(world.follow(40, 10))
    assert min(tracks[1]) == AHEAD + 10
    assert len(tracks[0]) == 40


@pytest.mark.parametrize("ahead", [0, AHEAD])
@pytest.mark.parametrize("side", [None, True])
def test_what_is_seen_for_a_moment_only_is_nobody(ahead, side):
    """A box of one turn of the detector is not followed; one that is found again is."""
    momentary = []

    def sees(frame, name):
        if name == "b" and frame >= 8 and not momentary:
            momentary.append(frame)
        return name != "b" or momentary == [frame]

    ways = {"a": still(200), "b": still(450), "c": lambda t: (330, 200, 80) if t >= 30 else None}
    world = World(ways, sees, side=lambda frame, name: side)
    tracks = tracks_of(world.follow(60, 10, ahead=ahead))
    assert momentary
    assert len(tracks) == 2
    assert len(tracks[0]) == 60
    others = next(boxes for number, boxes in tracks.items() if number)
    assert min(others) < 45
    assert all(abs(box.box_xyxy[0] - 290) < 2 for box in others.values())
    assert len(world.searched) < 30


def test_no_two_tracks_of_one_side_follow_one_hand():
    """b vanishes where a passes, and the model sees a in b's crop too."""
    world = World({"a": moving(100, 6), "b": lambda t: (300, 205, 80) if t < 33 else None})
    tracks = tracks_of(world.follow(70, 40))
    assert len(tracks[0]) == 70
    assert max(tracks[1]) < 45


def test_frames_that_failed_are_left_out():
    world = World({"a": still(200)})
    find = world.find
    world.find = lambda loaded: None if loaded.source.key in ("2", "15") else find(loaded)
    found = world.follow(40, 10)
    assert set(range(40)) - set(found) == {2, 15}
    assert {box.track for boxes in found.values() for box in boxes} == {0}


@pytest.fixture
def hands(tmp_path, monkeypatch):
    """A clip of two hands, its program, and a detector that counts how often it is asked."""
    clip, asked = tmp_path / "clip.mp4", []
    entries = write_hands(clip, 14, speed=0.4)

    class Counting(BoxesDetector):
        name = "mediapipe"

        def detect(self, image_bgr, image_name):
            asked.append(image_name)
            return super().detect(image_bgr, image_name)

    monkeypatch.setattr(Hands, "make_detector", lambda *args: Counting(entries))
    return clip, seeing_program(tmp_path / "toy"), asked


@pytest.mark.parametrize("size", [1, 8])
def test_the_demo_follows_meshes(hands, tmp_path, capsys, size):
    clip, program, asked = hands
    flags = ("--detector", "mediapipe", "--rescale_factor", 1.5, "--batch_size", size, "--mask", "previous")
    for name, every in (("all", 1), ("some", 4)):
        asked.clear()
        assert run(program, clip, tmp_path / name, *flags, "--detect_every", every) == 0
        assert len(asked) == {1: 14, 4: 8}[every]
    assert "on 8 of them" in capsys.readouterr().out
    every, some = (np.load(tmp_path / name / "clip.npz") for name in ("all", "some"))
    assert some["track_id"].tolist() == every["track_id"].tolist() == [0, 1] * 14
    assert some["is_right"].tolist() == every["is_right"].tolist()
    assert some["is_found"].sum() == 2 * 8
    apart = np.linalg.norm(some["joints_2d_px"] - every["joints_2d_px"], axis=-1).max(axis=-1)
    sizes = (every["box_xyxy_px"][:, 2:] - every["box_xyxy_px"][:, :2]).max(axis=-1)
    assert (apart / sizes).max() < 0.05
    off = np.abs(some["box_xyxy_px"] - every["box_xyxy_px"]).max(axis=-1)
    assert (off / sizes).max() < 0.04  # nothing lags behind hands that move and grow
    assert len(HANDS) == len(json.loads((tmp_path / "some" / "clip.json").read_text())["tracks"])


def test_a_frame_on_which_the_detector_fails_is_one_frame(hands, tmp_path, capsys, monkeypatch):
    clip, program, _ = hands
    detect = BoxesDetector.detect

    def fails(self, image_bgr, image_name):
        if image_name.endswith(":7"):
            raise OSError("no such model")
        return detect(self, image_bgr, image_name)

    monkeypatch.setattr(BoxesDetector, "detect", fails)
    flags = ("--detector", "mediapipe", "--rescale_factor", 1.5, "--detect_every", 2)
    assert run(program, clip, tmp_path / "out", *flags) == 1
    assert "finding hands failed (OSError: no such model)" in capsys.readouterr().out
    saved = np.load(tmp_path / "out" / "clip.npz")
    assert set(saved["frame_index"]) == set(range(14)) - {7}
    assert set(saved["track_id"]) == {0, 1}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--boxes", "b.json"), "--detector boxes has"),
        (("--detector", "whole-image"), "--detector whole-image has"),
        (("--no-track",), "--no-track leaves out"),
    ],
)
def test_boxes_that_a_user_gave_are_not_left_out(program, tmp_path, monkeypatch, flags, said):
    monkeypatch.chdir(tmp_path)
    write_boxes(tmp_path / "b.json", {})
    with pytest.raises(InputError, match=said):
        parse_options(program, ["--video", "clip.mp4", "--detect_every", "3", *flags])
