"""Photographs as an evaluation set: hands that the detector finds, judged by its landmarks."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared_tmu.datasets import SetOptions, dataset_names, open_dataset
from shared_tmu.datasets.photos import mean_hand, open_photos
from shared_tmu.errors import InputError, MissingAssetError
from shared_tmu.metrics import score_landmarks

SAMPLES = Path(__file__).parents[3] / "assets" / "samples"


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """One sample picture and its mirror image."""
    folder = tmp_path_factory.mktemp("photos")
    sample = sorted(SAMPLES.glob("*.jpg"))[0]
    shutil.copy(sample, folder / "a.jpg")
    cv2.imwrite(str(folder / "b.png"), np.ascontiguousarray(cv2.imread(str(folder / "a.jpg"))[:, ::-1]))
    return open_photos(folder, SetOptions())


def outputs_for(data, points_px):
    """What a model would have to say for these picture points `[N, 21, 2]`."""
    batches = [data.load(i) for i in range(len(data))]
    kept = {
        name: np.stack([b[name].numpy() for b in batches]) for name in ("box_center", "box_size", "right")
    }
    inside = (points_px - kept["box_center"][:, None]) / kept["box_size"][:, None, None]
    inside[..., 0] *= 2 * kept["right"][:, None] - 1
    return {**kept, "pred_keypoints_2d": inside.astype(np.float32)}


def test_the_landmarks_themselves_are_perfect_and_moved_ones_are_not(opened):
    truth = opened.landmarks_px
    scores = opened.score(opened.place(outputs_for(opened, truth))).headline
    assert scores["error_box"] < 1e-5
    assert scores["pck_10"] == 1.0
    moved = truth + np.array([0.17, 0.0]) * opened.unit_px[:, None, None]
    scores = opened.score(opened.place(outputs_for(opened, moved)))
    assert scores.headline["error_box"] == pytest.approx(0.17, abs=1e-4)
    assert (scores.headline["pck_15"], scores.headline["pck_20"]) == (0.0, 1.0)
    assert scores.per_sample["error_box"].shape == (len(opened),)
    table = scores.as_dict()
    assert table["error_box"] == scores.headline["error_box"]
    assert np.shape(table["distances_over_box"]) == (len(opened), 21)


def test_a_picture_without_a_hand_is_named_and_hands_of_a_picture_are_a_group(opened, tmp_path, caplog):
    sample = cv2.imread(str(opened.images[0]))
    cv2.imwrite(str(tmp_path / "two.png"), np.hstack((sample, sample)))
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((200, 300, 3), 90, np.uint8))
    found = open_photos(tmp_path, SetOptions())
    assert "no hand was found in 1 of 2 pictures: empty.png." in caplog.text
    assert (found.facts["pictures"], found.facts["pictures_with_hands"]) == (2, 1)
    assert len(found) > 1
    assert len(set(found.groups)) == 1


def test_a_mirrored_picture_has_the_mirrored_landmarks(opened):
    pairs = [i for i, path in enumerate(opened.images) if path.name == "a.jpg"]
    mirrored = [i for i, path in enumerate(opened.images) if path.name == "b.png"]
    assert len(pairs) == len(mirrored) >= 1
    width = cv2.imread(str(opened.images[0])).shape[1]
    i, j = pairs[0], mirrored[0]
    assert opened.boxes[i].is_right != opened.boxes[j].is_right
    np.testing.assert_allclose(
        opened.landmarks_px[j] * (-1, 1) + (width - 1, 0), opened.landmarks_px[i], atol=1e-6
    )


def test_the_mean_hand_fills_the_boxes_and_is_mirrored_for_left_hands(opened):
    hands = opened.mean_hands()
    for points, box, unit in zip(hands, opened.boxes, opened.unit_px, strict=True):
        low, high = points.min(axis=0), points.max(axis=0)
        assert (high - low).max() == pytest.approx(unit)
        corners = np.array(box.box_xyxy)
        np.testing.assert_allclose((low + high) / 2, (corners[:2] + corners[2:]) / 2, atol=1e-6)
    side = {
        box.is_right: points[4, 0] - points[20, 0] for box, points in zip(opened.boxes, hands, strict=True)
    }
    assert np.sign(side[True]) == -np.sign(side[False])  # thumb and little finger change places
    assert mean_hand().shape == (21, 2)


def test_the_crop_is_the_demo_s(opened):
    sample = opened.load(0)
    assert sample["img"].shape == (3, 256, 256)
    corners = np.array(opened.boxes[0].box_xyxy)
    np.testing.assert_allclose(sample["box_center"].numpy(), (corners[:2] + corners[2:]) / 2, rtol=1e-5)
    assert float(sample["box_size"]) >= 2 * opened.unit_px[0] - 1e-3
    assert opened.head(1).images == opened.images[:1]


def test_predictions_are_written_beside_the_landmarks(opened, tmp_path):
    opened.write_predictions(opened.place(outputs_for(opened, opened.landmarks_px)), tmp_path)
    with np.load(tmp_path / "keypoints.npz") as saved:
        np.testing.assert_allclose(saved["prediction_px"], saved["landmarks_px"], atol=1e-2)
        assert saved["is_right"].tolist() == [box.is_right for box in opened.boxes]


def test_what_goes_wrong_is_said(tmp_path):
    assert dataset_names("Photos", "hand") == ("photos",)
    with pytest.raises(MissingAssetError, match="--data_dir"):
        open_dataset("photos", tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"1 of 1 pictures cannot be read[\s\S]*broken\.jpg"):
        open_dataset("photos", tmp_path)
    (tmp_path / "broken.jpg").unlink()
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((120, 160, 3), 90, np.uint8))
    with pytest.raises(InputError, match="no hand was found in the 1 pictures"):
        open_dataset("photos", tmp_path)


def test_predictions_that_are_not_finite_do_not_enter_a_mean():
    truth = np.zeros((2, 21, 2))
    with pytest.raises(InputError, match="finite"):
        score_landmarks(np.full((2, 21, 2), np.nan), truth, np.ones(2))
