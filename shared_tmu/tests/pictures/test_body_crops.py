"""Person crops against recorded ones, and their camera."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from shared_tmu.errors import InputError
from shared_tmu.pictures.body_crops import body_crop, crop_transform, full_image_camera, person_crop

PATH = Path(__file__).parents[1] / "golden" / "crops" / "body.safetensors"
GOLDEN = load_file(PATH)
IMAGE = GOLDEN["image_bgr_uint8"]
with safe_open(PATH, "np") as _file:
    CASES = json.loads(_file.metadata()["cases"])
NAMES = pytest.mark.parametrize("name", CASES)


@NAMES
def test_recorded_boxes_and_transforms(name: str) -> None:
    case, size = CASES[name], tuple(CASES[name]["out_shape"])
    crop = person_crop(case["box_xyxy"], (360, 300), case["ratio"], size)
    assert np.abs(crop - GOLDEN[f"{name}.bbox_xywh_processed"]).max() < 1e-3
    forth = crop_transform(crop, size)
    assert np.abs(forth - GOLDEN[f"{name}.inv_trans"]).max() < 1e-3
    whole = np.vstack((forth, (0, 0, 1)))
    assert np.abs(np.linalg.inv(whole)[:2] - GOLDEN[f"{name}.trans"]).max() < 1e-3


@NAMES
def test_recorded_pixels(name: str) -> None:
    """The same OpenCV gives the same pixels; every second one is what the network sees."""
    case, size = CASES[name], tuple(CASES[name]["out_shape"])
    large = body_crop(IMAGE, case["box_xyxy"], case["ratio"], size).img
    if f"{name}.img" in GOLDEN:
        assert np.abs(large - GOLDEN[f"{name}.img"]).max() < 1e-4
    half = (size[0] // 2, size[1] // 2)
    small = body_crop(IMAGE, case["box_xyxy"], case["ratio"], half).img
    assert np.abs(small - GOLDEN[f"{name}.network_input"]).max() < 1e-4
    assert np.abs(large[:, ::2, ::2] - GOLDEN[f"{name}.network_input"]).max() < 1e-4


@NAMES
def test_recorded_cameras(name: str) -> None:
    crop = GOLDEN[f"{name}.bbox_xywh_processed"]
    camera = full_image_camera(crop, (5000, 5000), (96, 128), (256, 192))
    assert np.allclose(np.diag(camera)[:2], GOLDEN[f"{name}.full_image_focal"], rtol=1e-6)
    assert np.allclose(camera[:2, 2], GOLDEN[f"{name}.full_image_princpt"], atol=1e-3)


def test_a_point_is_seen_at_the_same_place_in_crop_and_picture() -> None:
    crop, point = np.array((30.0, -20.0, 150.0, 200.0)), np.array((0.1, -0.2, 40.0))
    small = np.array(((5000, 0, 96), (0, 5000, 128), (0, 0, 1.0))) @ point
    large = full_image_camera(crop, (5000, 5000), (96, 128), (256, 192)) @ point
    moved = crop_transform(crop, (256, 192)) @ (small / small[2])
    assert np.allclose(moved, large[:2] / large[2])
    cameras = full_image_camera(np.stack((crop, crop)), (5000, 5000), (96, 128), (256, 192))
    assert cameras.shape == (2, 3, 3)


def test_shape_is_kept_and_the_middle_is_the_boxs() -> None:
    for box in ([10, 20, 110, 60], [50, 10, 70, 290], [0, 0, 360, 300]):
        crop = person_crop(box, (360, 300))
        assert crop[2] / crop[3] == pytest.approx(192 / 256)
        middle = ((box[0] + box[2] - 1) / 2, (box[1] + box[3] - 1) / 2)
        assert crop[:2] + crop[2:] / 2 == pytest.approx(middle)


def test_outside_is_black() -> None:
    white = np.full((40, 30, 3), 255, np.uint8)
    crop = body_crop(white, [0, 0, 30, 40], ratio=2.0).img
    assert crop[:, 128, 96].tolist() == [1.0] * 3
    assert crop[:, [0, 0, -1, -1], [0, -1, 0, -1]].max() == 0
    assert crop.dtype == np.float32


def test_a_tall_picture_needs_no_more_memory_than_its_crop() -> None:
    tall = np.zeros((40000, 8, 3), np.uint8)  # more rows than OpenCV warps
    tall[20000:20040] = 200
    crop = body_crop(tall, [0, 20000, 8, 20040])
    assert crop.img.max() == pytest.approx(200 / 255)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([5, 5, 5, 9], "has no area inside"),
        ([400, 10, 500, 90], "has no area inside a picture of 360x300"),
        ([0, 0, float("nan"), 9], "four finite numbers"),
        ([0, 0, 9], "four finite numbers"),
    ],
)
def test_bad_boxes(box: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        body_crop(IMAGE, box)


def test_bad_pictures_and_ratios() -> None:
    with pytest.raises(InputError, match="must be uint8"):
        body_crop(IMAGE[..., 0], [0, 0, 9, 9])
    with pytest.raises(InputError, match="must be positive, found -1"):
        body_crop(IMAGE, [0, 0, 9, 9], ratio=-1)
    with pytest.raises(InputError, match="more than 64 times"):
        body_crop(IMAGE, [0, 0, 90, 90], ratio=1000)
