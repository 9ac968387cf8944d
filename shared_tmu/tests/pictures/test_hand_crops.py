"""Crops against recorded network inputs of the published loader, and against slower ways to them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file
from scipy.ndimage import gaussian_filter

from shared_tmu.errors import InputError
from shared_tmu.pictures.hand_crops import MEAN, STD, crop_square, hand_crop

FILE = Path(__file__).parents[1] / "golden" / "crops" / "hand.safetensors"
GOLDEN = load_file(FILE)
with safe_open(FILE, "np") as _file:
    CASES: dict[str, dict[str, Any]] = json.loads(_file.metadata()["cases"])
PICTURE = GOLDEN["image_bgr_uint8"]


def pixels(img: NDArray[np.float32]) -> NDArray[np.float64]:
    """Undo the normalisation: 0..255, RGB, `[S, S, 3]`."""
    return img.transpose(1, 2, 0) * (255 * np.array(STD)) + 255 * np.array(MEAN)


@pytest.mark.parametrize("name", CASES)
def test_published_crops(name: str) -> None:
    case = CASES[name]
    crop = hand_crop(PICTURE, case["box"], bool(case["right"]), case["rescale_factor"], case["image_size"])
    assert np.abs(crop.img - GOLDEN[f"{name}.img"]).max() <= 1e-4
    assert np.abs(crop.box_center - GOLDEN[f"{name}.box_center"]).max() < 1e-3
    assert abs(crop.box_size - GOLDEN[f"{name}.box_size"].item()) < 1e-3
    assert crop.img_size.tolist() == GOLDEN[f"{name}.img_size"].tolist() == [360, 300]
    assert crop.img.dtype == np.float32
    assert crop.right == bool(case["right"])


def slow_crop(
    image: NDArray[np.uint8], box: Any, right: bool, size: int, sigma: float
) -> NDArray[np.float64]:
    """Blur the whole picture, mirror it, read every pixel by itself."""
    whole = gaussian_filter(image.astype(np.float64), (sigma, sigma, 0), mode="nearest", truncate=4.0)
    (cx, cy), side = crop_square(box)
    height, width = image.shape[:2]
    if not right:
        whole, cx = whole[:, ::-1], width - cx - 1
    padded = np.zeros((height + 2, width + 2, 3))
    padded[1:-1, 1:-1] = whole
    u, v = np.meshgrid(np.arange(size), np.arange(size))
    x, y = cx + (u - size / 2) * side / size + 1, cy + (v - size / 2) * side / size + 1
    x, y = np.clip(x, 0, width + 0.999), np.clip(y, 0, height + 0.999)
    i, j = y.astype(int), x.astype(int)
    fy, fx = (y - i)[..., None], (x - j)[..., None]
    top = padded[i, j] * (1 - fx) + padded[i, j + 1] * fx
    bottom = padded[i + 1, j] * (1 - fx) + padded[i + 1, j + 1] * fx
    return (top * (1 - fy) + bottom * fy)[..., ::-1]


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("box", [(40, 30, 200, 180), (-90, 100, 130, 290), (250, 150, 420, 390)])
def test_blurring_only_what_is_read_equals_blurring_everything(box: Any, right: bool) -> None:
    smooth = gaussian_filter(PICTURE.astype(float), (2, 2, 0)).astype(np.uint8)
    _, side = crop_square(box)
    sigma = (side / 64 / 2 - 1) / 2
    found = pixels(hand_crop(smooth, box, right, image_size=64).img)
    wanted = slow_crop(smooth, box, right, 64, sigma)
    assert sigma > 1
    difference = np.abs(found - wanted)
    inside = (wanted > 0).all(-1)  # at the picture's edge 1/32 pixel more or less shows
    assert difference[inside].mean() < 0.1
    assert np.quantile(difference, 0.99) < 2.0


def test_freihand_lists_see_the_picture_between_black_bars() -> None:
    picture = np.full((224, 224, 3), 200, np.uint8)
    crop = hand_crop(picture, (0, 0, 224, 224), True, rescale_factor=-1, antialias=False)
    assert crop.box_size == pytest.approx(298.6667, abs=1e-3)
    assert crop.box_center.tolist() == [112, 112]
    seen = pixels(crop.img)[:, 32:-32]
    assert np.allclose(seen[:31], 0, atol=1e-3)
    assert np.allclose(seen[-31:], 0, atol=1e-3)
    assert np.allclose(seen[33:-33, 1:-1], 200, atol=1e-3)


def test_hint_lists_do_not_grow_to_the_networks_shape() -> None:
    assert crop_square((0, 0, 100, 100), 2.0, aspect=None)[1] == 200
    assert crop_square((0, 0, 100, 100), 2.0)[1] == pytest.approx(200 * 4 / 3)
    assert crop_square((0, 0, 30, 100), 2.0)[1] == 200


def test_antialiasing_can_be_left_out() -> None:
    box = (10, 10, 340, 290)
    blurred = hand_crop(PICTURE, box, True, image_size=64).img
    sharp = hand_crop(PICTURE, box, True, image_size=64, antialias=False).img
    assert sharp.std() > blurred.std()
    assert np.allclose(pixels(sharp), pixels(sharp).round(), atol=1e-3)  # a picture stays uint8 without blur


@given(
    x=st.floats(-300, 500),
    y=st.floats(-300, 500),
    w=st.floats(1, 400),
    h=st.floats(1, 400),
    antialias=st.booleans(),
)
def test_a_mirrored_picture_gives_the_same_crop(
    x: float, y: float, w: float, h: float, antialias: bool
) -> None:
    box = np.array([x, y, x + w, y + h])
    mirrored_box = np.array([359 - box[2], box[1], 359 - box[0], box[3]])
    left = hand_crop(PICTURE, box, False, image_size=32, antialias=antialias)
    right = hand_crop(PICTURE[:, ::-1], mirrored_box, True, image_size=32, antialias=antialias)
    difference = np.abs(left.img - right.img)
    assert np.median(difference) < 1e-5  # rounding to 1/32 pixel may differ where a coordinate is on the edge
    assert left.box_size == pytest.approx(right.box_size)


@pytest.mark.parametrize("box", [(-500, -500, -400, -300), (1e5, 1e5, 1.001e5, 1.002e5), (700, 10, 720, 30)])
def test_a_box_beside_the_picture_gives_black(box: Any) -> None:
    assert np.abs(pixels(hand_crop(PICTURE, box, False).img)).max() < 1e-3


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (7, 3)])
@pytest.mark.parametrize("right", [True, False])
def test_tiny_pictures(shape: tuple[int, int], right: bool) -> None:
    crop = hand_crop(np.full((*shape, 3), 90, np.uint8), (0, 0, shape[1], shape[0]), right)
    assert crop.img.shape == (3, 256, 256)
    assert np.isfinite(crop.img).all()
    assert -1 < pixels(crop.img).min() < pixels(crop.img).max() < 91


def test_a_picture_longer_than_opencv_can_warp() -> None:
    picture = np.zeros((20, 40000, 3), np.uint8)
    picture[:, 20000:] = 250
    for antialias in (True, False):
        row = pixels(hand_crop(picture, (0, 0, 40000, 20), True, antialias=antialias, image_size=64).img)[32]
        assert np.abs(row[:31]).max() < 1e-3
        assert row[34:46].max() > 10


@pytest.mark.parametrize(
    "box",
    [(10, 10, 5, 20), (10, 20, 30, 20), (0, 0, np.nan, 5), (0, 0, np.inf, 5), (1, 2, 3), (0, 0, 1e9, 1e9)],
)
def test_impossible_boxes_are_refused(box: Any) -> None:
    with pytest.raises(InputError, match="box"):
        hand_crop(PICTURE, box, True)


@pytest.mark.parametrize("factor", [0.0, -2.0, float("nan")])
def test_impossible_factors_are_refused(factor: float) -> None:
    with pytest.raises(InputError, match="rescale_factor must be positive"):
        hand_crop(PICTURE, (0, 0, 10, 10), True, factor)


@pytest.mark.parametrize(
    "picture", [PICTURE[..., 0], PICTURE.astype(np.float32), PICTURE[:0], np.zeros((5, 5, 4), np.uint8)]
)
def test_other_pictures_are_refused(picture: Any) -> None:
    with pytest.raises(InputError, match=r"must be uint8 \[H, W, 3\], found"):
        hand_crop(picture, (0, 0, 10, 10), True)
