"""Photographs in training: crops as the demo makes them, key points that stay where they are seen."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from shared_tmu.datasets import SetOptions
from shared_tmu.datasets.photos import open_photos
from shared_tmu.errors import ConfigError, InputError, MissingAssetError
from shared_tmu.pictures.hand_crops import MEAN, STD, hand_crop
from shared_tmu.pictures.images import read_image
from shared_tmu.training import photos
from shared_tmu.training.data_module import Order
from shared_tmu.training.dense import DenseHeads, heat_losses
from shared_tmu.training.photos import PhotoSet, bones, collate, keep_hands, unpack
from shared_tmu.training.settings import Setting, Stage
from shared_tmu.training.stages import run_stages

SAMPLES = Path(__file__).parents[3] / "assets" / "samples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A right hand and, mirrored, a left one."""
    folder = tmp_path_factory.mktemp("photos")
    sample = sorted(SAMPLES.glob("*.jpg"))[0]
    shutil.copy(sample, folder / "a.jpg")
    cv2.imwrite(str(folder / "b.png"), np.ascontiguousarray(cv2.imread(str(folder / "a.jpg"))[:, ::-1]))
    return folder


@pytest.fixture(scope="module")
def kept(folder):
    return keep_hands(folder, folder / "cache")


def test_hands_are_the_demo_s_crops_with_their_landmarks(folder, kept):
    found, hands = open_photos(folder, SetOptions()), PhotoSet(kept)
    assert hands.facts == {"pictures": 2, "hands": len(found), "labels": "mediapipe"}
    for i, box in enumerate(found.boxes):
        packed = hands.packed(i, None)
        out = unpack({key: value[None] for key, value in packed.items()}, lambda batch: batch)
        crop = hand_crop(read_image(found.images[i]).bgr, box.box_xyxy, box.is_right)
        difference = (out["photo_img"][0] - torch.tensor(crop.img)[:, :, 32:224]).abs().mean()
        assert difference < 0.1  # of a standard deviation: a JPEG file lies between
        place = (found.landmarks_px[i] - crop.box_center) / crop.box_size
        place[:, 0] *= 1 if box.is_right else -1
        np.testing.assert_allclose(packed["photo_keypoints_2d"].numpy(), place, atol=1e-5)
        assert 0 < packed["photo_confidence"].max() <= 1
    same = [hands.packed(i, None)["photo_keypoints_2d"] for i in range(len(hands))]
    torch.testing.assert_close(same[0], same[-1], atol=0.02, rtol=0)  # a left hand is a right one mirrored


def test_hands_are_looked_for_once_and_again_when_a_picture_changes(folder, kept, tmp_path, monkeypatch):
    monkeypatch.setattr(photos, "open_photos", lambda *_: pytest.fail("looked again"))
    assert keep_hands(folder, folder / "cache") == kept
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / "b.png").unlink()
    assert photos.photo_file(tmp_path / "other", folder / "cache") != kept


def test_a_damaged_file_of_hands_is_made_again(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    monkeypatch.setattr(photos, "open_photos", lambda *_: None)
    monkeypatch.setattr(photos, "_arrays", lambda _: {"end": np.arange(300), "pictures": np.array(1)})
    path = keep_hands(tmp_path, tmp_path / "cache")
    whole = path.read_bytes()
    at = whole.index(np.arange(100, 110).tobytes())
    for damaged in (whole[: len(whole) // 2], whole[:at] + bytes(80) + whole[at + 80 :]):
        path.write_bytes(damaged)
        assert len(PhotoSet(keep_hands(tmp_path, tmp_path / "cache"))) == 300
        assert path.read_bytes() == whole


def spot_file(path: Path, points: np.ndarray) -> Path:
    """A kept hand: a gray picture with a bright spot at each key point."""
    image = np.full((384, 384, 3), 60, np.uint8)
    for x, y in (points + 0.5) * 256 + 64:
        cv2.circle(image, (round(x), round(y)), 3, (255, 255, 255), -1)
    data = np.frombuffer(bytes(cv2.imencode(".jpg", image)[1]), np.uint8)
    kept = {"keypoints_2d": points[None].astype(np.float32), "confidence": np.ones((1, 21), np.float32)}
    np.savez(path, jpeg=data, end=np.array([len(data)]), pictures=np.array(1), **kept)
    return path


@pytest.mark.parametrize("chance", [None, 1, 2, 3])
def test_key_points_move_with_the_picture(tmp_path, chance):
    x, y = np.meshgrid(np.linspace(-0.2, 0.2, 3), np.linspace(-0.3, 0.3, 7))
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    packed = PhotoSet(spot_file(tmp_path / "spots.npz", points)).packed(0, chance)
    image = packed["photo_img"].numpy().max(axis=2).astype(int)
    at = np.rint((packed["photo_keypoints_2d"].numpy() + 0.5) * 256 - (32, 0)).astype(int)
    inside = ((at > 8) & (at < (183, 247))).all(axis=1)
    bright = [image[v, u] > image[v - 8 : v + 9, u - 8 : u + 9].mean() + 20 for u, v in at[inside]]
    assert np.mean(bright) > (0.99 if chance is None else 0.7)  # some may be covered
    assert packed["photo_part"].sum() > 20


def test_bones_join_wrist_and_finger_tips():
    points = np.stack([np.full(21, 90.0), np.full(21, 200.0)], axis=1)
    points[1:] = np.array([[20 + 30 * f, 160 - 30 * k] for f in range(5) for k in range(4)])
    cells = bones(points)
    for x, y in np.rint(points / 4).astype(int):
        assert cells[y, x] == 1
    assert 0.02 < cells.mean() < 0.5


def test_batches_keep_renders_and_photographs_apart(kept):
    hand = PhotoSet(kept).packed(0, 5)
    renders = [{"img": torch.full((256, 192, 3), i, dtype=torch.uint8)} for i in range(3)]
    batch = unpack(collate([renders[0], hand, *renders[1:], hand]), lambda batch: {"img": batch["img"] + 1})
    assert [len(batch["img"]), len(batch["photo_img"])] == [3, 2]
    assert batch["img"][:, 0, 0, 0].tolist() == [1, 2, 3]
    assert batch["photo_img"].shape == (2, 3, 256, 192)
    assert batch["photo_img"].dtype == torch.float32
    low, high = ((edge - np.array(MEAN)) / np.array(STD) for edge in (0, 1))
    for channel in range(3):
        assert batch["photo_img"][:, channel].min() >= low[channel] - 1e-4
        assert batch["photo_img"][:, channel].max() <= high[channel] + 1e-4
    assert collate(renders).keys() == {"img"}


def test_each_step_sees_as_many_photographs_as_asked_for():
    batches = list(Order(0, 20, 6, (12,), lambda: (12,), extra=5, extra_per_step=2))
    assert all([index < 12 for index, _ in batch] == [True] * 6 + [False] * 2 for batch in batches)
    assert {index for batch in batches for index, _ in batch[6:]} == set(range(12, 17))


def test_key_points_that_are_not_sure_do_not_count():
    heads = DenseHeads(8)
    read = heads(torch.randn(2, 192, 8))
    points = torch.rand(2, 21, 2) * 0.5 - 0.25
    sure = torch.zeros(2, 21)
    sure[:, :3] = 0.7
    moved = points.clone()
    moved[:, 3:] *= 0.5
    want, got = (heat_losses(heads, read, one, sure) for one in (points, moved))
    for key, value in want.items():
        torch.testing.assert_close(got[key], value)
    alike = heat_losses(heads, read, points, torch.ones(2, 21))
    for key, value in heat_losses(heads, read, points).items():
        torch.testing.assert_close(alike[key], value)


def test_what_goes_wrong_is_said(tmp_path):
    with pytest.raises(MissingAssetError, match=r"photos=\S+ was asked for[\s\S]*leave photos out"):
        keep_hands(tmp_path, tmp_path / "cache")
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((120, 160, 3), 90, np.uint8))
    with pytest.raises(InputError, match="no hand was found in the 1 pictures"):
        keep_hands(tmp_path, tmp_path / "cache")
    stage = Stage("one", 1, images=64, seed=1, count=64)
    with pytest.raises(ConfigError, match=r"photos_share=1\.5 was asked for"):
        Setting(tmp_path, tmp_path, photos=tmp_path, photos_share=1.5)
    setting = Setting(tmp_path, tmp_path, photos=tmp_path, photos_share=0.001)
    with pytest.raises(ConfigError, match=r"photos_share=0\.001 was asked for"):
        run_stages(lambda depth: pytest.fail("training began"), 8, [stage], setting)
