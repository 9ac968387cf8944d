"""What a result can be saved and drawn as."""

import json

import cv2
import numpy as np
import pytest
from api.asked import boxes_of, sides_of
from PIL import Image

from shared_tmu.errors import InputError

PICTURE = np.zeros((120, 160, 3), np.uint8)
BOX = [[30, 20, 70, 70]]


def test_one_hand_is_saved_as_the_demo_saves_it(load, images, tmp_path):
    found = load().predict(images / "a.jpg", boxes_of("a.jpg"), sides_of("a.jpg"))
    left = found[1]
    with np.load(left.save(tmp_path / "left.npz")) as saved:
        assert saved["vertices_m"].shape == (1, 778, 3)
        assert np.array_equal(saved["vertices_m"][0], left.vertices_m)
    told = json.loads(left.save(tmp_path / "left.json").read_text())
    assert (told["image"], len(told["hands"]), told["masks"]) == ("a.jpg", 1, ["box"])
    for suffix in ("obj", "glb"):
        assert left.save(tmp_path / f"new folder/left.{suffix}").stat().st_size > 1000
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    for suffix in ("png", ""):
        with pytest.raises(InputError, match="suffix"):
            left.save(tmp_path / f"left{suffix and '.'}{suffix}")
        with pytest.raises(InputError, match="suffix"):
            found.save(tmp_path / f"all.{suffix or 'obj'}")
    for path in (3, None, b"a.npz", (tmp_path / "a.npz").open("wb")):
        for one in (left, found):
            with pytest.raises(InputError, match="expected a path"):
                one.save(path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        left.save(tmp_path / "file" / "left.npz")


def test_a_picture_without_hands_is_saved_as_far_as_it_can_be(load, tmp_path):
    nothing = load().predict(PICTURE, [], [])
    with np.load(nothing.save(tmp_path / "a.npz")) as saved:
        assert saved["vertices_m"].shape == (0, 778, 3)
    assert json.loads(nothing.save(tmp_path / "a.json").read_text())["hands"] == []
    assert np.array_equal(nothing.draw(PICTURE), PICTURE)
    with pytest.raises(InputError, match="no meshes"):
        nothing.save(tmp_path / "a.glb")


def test_values_cannot_be_changed_behind_the_meshes_and_copies_can(load):
    (hand,) = result = load().predict(PICTURE, BOX, ["left"])
    for values in (hand.vertices_m, hand.betas, hand.camera_matrix):
        with pytest.raises(ValueError, match="read-only"):
            values[:] = 0
    before = hand.vertices_m.copy()
    for one in (hand, result):
        one.to_dict()["vertices_m"][:] = 0
    assert np.array_equal(hand.vertices_m, before)
    assert np.array_equal(result.to_dict()["vertices_m"][0], before)


def test_meshes_are_in_the_frame_that_was_asked_for(load):
    (hand,) = load().predict(PICTURE, BOX, ["left"])
    assert np.array_equal(hand.mesh().vertices, hand.vertices_camera_m)
    assert np.array_equal(hand.mesh().faces, hand.faces)
    assert np.array_equal(hand.mesh("viewer").vertices, hand.vertices_camera_m * [1, -1, -1])
    assert hand.mesh("viewer").volume == pytest.approx(hand.mesh().volume)
    with pytest.raises(InputError, match="frame"):
        hand.mesh("world")


def test_meshes_are_drawn_in_the_order_of_channels_that_was_given(load, images):
    found = load().predict(images / "a.jpg", boxes_of("a.jpg"), sides_of("a.jpg"))
    bgr = cv2.imread(str(images / "a.jpg"))
    drawn = found.draw(images / "a.jpg")
    assert not np.array_equal(drawn, bgr[:, :, ::-1])
    assert np.array_equal(drawn, found.draw(bgr, bgr=True)[:, :, ::-1])
    assert np.array_equal(drawn, found.draw(Image.open(images / "a.jpg")))
    assert np.array_equal(found[0].draw(bgr[:, :, ::-1])[:, 100:], bgr[:, 100:, ::-1])  # the other hand's
    with pytest.raises(InputError, match="50 x 60"):
        found.draw(images / "c.jpg")
