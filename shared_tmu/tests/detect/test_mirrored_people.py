"""A person seen in a mirror: pictures and labels of training, held to the body model and to the picture."""

import cv2
import numpy as np
import pytest

from shared_tmu.synth.body.anatomy import JOINT_NAMES
from shared_tmu.synth.body.model import BodyPose, synth_body
from shared_tmu.synth.body.shards import make_body_record
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training.body_data import keypoint_mirror, seen_in_mirror

HEIGHT, WIDTH = 256, 192


@pytest.fixture(scope="module")
def sides():
    data, labels = make_body_record(3, 1, Difficulty(clutter=0.0, degrade=0.0))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return (image, labels), seen_in_mirror(image, labels)


def posed(labels):
    pose = BodyPose(*(labels[key] for key in ("root", "body", "left_hand", "right_hand", "jaw")))
    return synth_body().pose(pose, labels["betas"], labels["expression"]).keypoints


def test_labels_describe_the_person_in_the_mirror(sides):
    (_, labels), (_, seen) = sides
    for side in (labels, seen):
        missed = posed(side) - posed(side)[0] - (side["keypoints_3d"] - side["keypoints_3d"][0])
        assert np.abs(missed[:120]).max() < 3e-4
        assert np.abs(missed[120:]).max() < 0.01  # the face's contour is a table in whole degrees, and coarse
    assert np.abs(seen["keypoints_3d"][:, 0] + labels["keypoints_3d"][keypoint_mirror(), 0]).max() == 0


def test_cells_and_key_points_lie_where_the_picture_shows_them(sides):
    (image, labels), (mirrored, seen) = sides
    assert mirrored.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(mirrored[:, :189], image[:, 188::-1])
    column, other = 4 * 10, 4 * (47 - 10)  # pixels that cells 10 and 37 describe
    np.testing.assert_array_equal(mirrored[:, other], image[:, column])
    np.testing.assert_array_equal(seen["depth"][:, 37], labels["depth"][:, 10])
    assert WIDTH * seen["keypoints_2d"][0, 0] == pytest.approx(
        188 - WIDTH * labels["keypoints_2d"][0, 0], abs=1e-3
    )


def test_left_becomes_right(sides):
    sign = np.array([name.startswith("left") * 1 - name.startswith("right") for name in JOINT_NAMES])
    for _, labels in sides:
        limb = (labels["part"] > 0) & (sign[np.maximum(labels["part"], 1) - 1] != 0)
        side = sign[labels["part"][limb] - 1]
        assert limb.sum() > 50
        far = np.abs(labels["canonical"][limb][:, 0]) > 5  # of 127: not in the middle
        assert (np.sign(labels["canonical"][limb][:, 0]) == side)[far].mean() > 0.97
    (_, labels), (_, seen) = sides
    shown = labels["part"][:, ::-1]
    assert ((shown > 0) == (seen["part"] > 0)).all()
    assert (shown != seen["part"]).any()


def test_twice_in_a_mirror_is_the_person_itself(sides):
    (image, labels), (mirrored, seen) = sides
    again, twice = seen_in_mirror(mirrored, seen)
    np.testing.assert_array_equal(again[:, :189], image[:, :189])
    for key, value in labels.items():
        np.testing.assert_allclose(twice[key], value, atol=1e-6, err_msg=key)
