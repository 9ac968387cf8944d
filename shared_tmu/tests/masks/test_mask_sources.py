"""The table behind `--mask`: what each row draws, in crops that are mirrored, cut and shrunk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shared_tmu.errors import InputError
from shared_tmu.masks import (
    MASKS,
    SKELETONS,
    MaskPlace,
    MaskScene,
    Outline,
    PatchWindows,
    Silhouette,
    cover_tokens,
    draw_box,
    draw_triangles,
    find_masks,
    mask_names,
)
from shared_tmu.pictures.body_crops import body_crop
from shared_tmu.pictures.hand_crops import hand_crop

PUBLISHED = PatchWindows((16, 16), (16, 16), (2, 2))
WIDTH, HEIGHT = 640, 480


def dotted(x: int, y: int) -> NDArray[np.uint8]:
    """A black picture with a white dot."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[y - 2 : y + 3, x - 2 : x + 3] = 255
    return picture


def centre_of_light(img: NDArray[np.float32]) -> NDArray[np.float64]:
    """(x, y) of the bright part of a crop `[3, h, w]`."""
    light = np.clip(img[0] - img[0].min(), 0, None)
    rows, columns = np.indices(light.shape)
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()


@pytest.mark.parametrize("right", [True, False], ids=["right", "left is mirrored"])
@pytest.mark.parametrize("box", [(300, 100, 400, 220), (10.5, 5.25, 90.5, 60.75)])
def test_a_dot_lies_where_the_crop_shows_it(right: bool, box: tuple[float, ...]) -> None:
    x, y = (round(box[0] + 12), round(box[1] + 35))
    crop = hand_crop(dotted(x, y), box, right)
    scene = MaskScene((256, 256), crop.to_picture(256), SKELETONS["hand"])
    np.testing.assert_allclose(scene.to_crop(np.array([[x, y]]))[0], centre_of_light(crop.img), atol=0.35)


def test_a_dot_on_a_person_lies_where_the_crop_shows_it() -> None:
    crop = body_crop(dotted(333, 222), (250, 60, 420, 400))
    scene = MaskScene((256, 192), crop.to_picture, SKELETONS["body"])
    np.testing.assert_allclose(scene.to_crop(np.array([[333, 222]]))[0], centre_of_light(crop.img), atol=0.35)


def test_turned_crops_have_turned_masks() -> None:
    quarter = np.array(((0.0, -1.0, 50.0), (1.0, 0.0, 20.0)))  # x of the crop runs down the picture
    scene = MaskScene((40, 60), quarter, SKELETONS["hand"], box_xyxy=(20.0, 30.0, 40.0, 35.0))
    mask = MASKS["box"].draw(scene)
    assert mask is not None
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 15, 10, 30)


def test_landmarks_light_the_tokens_around_them() -> None:
    crop = hand_crop(dotted(350, 160), (300, 100, 400, 220), right=False)
    points = np.full((21, 2), np.nan)
    points[1:3] = [(350, 160), (352, 164)]
    scene = MaskScene((256, 256), crop.to_picture(256), SKELETONS["hand"], landmarks_px=points)
    mask = MASKS["landmarks"].draw(scene)
    assert mask is not None
    lit = cover_tokens(torch.from_numpy(mask)[None, :, 32:-32], PUBLISHED)[0].nonzero().flatten().tolist()
    x, y = centre_of_light(crop.img)
    assert 12 * int((y + 2) // 16) + int((x - 32 + 2) // 16) in lit
    assert len(lit) <= 4


def test_what_is_not_known_is_not_drawn() -> None:
    scene = MaskScene((8, 8), np.eye(2, 3), SKELETONS["body"], landmarks_px=np.full((33, 2), np.nan))
    assert [row.draw(scene) for row in MASKS.values()] == [None] * len(MASKS)
    with pytest.raises(InputError, match=r"of shape \[33, 2\]"):
        SKELETONS["body"].draw(np.zeros((21, 2)), (8, 8))


def test_a_person_is_drawn_around_all_their_points() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(40, 90, (33, 2))
    for size in (1.0, 3.0):
        mask = SKELETONS["body"].draw(size * points, (300, 300))
        assert mask is not None
        columns, rows = np.round(size * points).astype(int).T
        assert mask[rows, columns].all()


def test_meshes_and_boxes_are_filled_whichever_way_they_look() -> None:
    corners = np.array([(2.0, 3.0), (12.0, 3.0), (12.0, 9.0), (2.0, 9.0), (np.inf, 0.0)])
    box = draw_box(corners[:4], (16, 16))
    assert box.sum() == 11 * 7
    assert box[3:10, 2:13].all()
    faces = np.array([(0, 1, 2), (3, 2, 0), (0, 1, 4)])
    assert np.array_equal(draw_triangles(corners, faces, (16, 16)), box)
    outline = Outline(corners + 5.0, faces)
    scene = MaskScene((16, 16), np.array(((1.0, 0, 5), (0, 1.0, 5))), SKELETONS["hand"], true_outline=outline)
    drawn = MASKS["truth"].draw(scene)
    assert drawn is not None
    assert np.array_equal(drawn, box)


PICTURES = MaskPlace("hand", has_truth=False, is_video=False)


def test_names() -> None:
    assert not find_masks("none")
    assert mask_names()[0] == "none"
    for name in mask_names()[1:]:
        assert find_masks(name).names == (name,)
        assert str(find_masks(name)) == name
    with pytest.raises(InputError, match="use one of none, landmarks, box"):
        find_masks("magic")
    with pytest.raises(InputError, match="pictures have none"):
        find_masks("truth", PICTURES)
    with pytest.raises(InputError, match="only videos have"):
        find_masks("previous", PICTURES)
    assert not {"truth", "previous"} & set(mask_names(PICTURES))


def test_a_choice_is_the_first_that_is_known() -> None:
    choice = find_masks("landmarks+box")
    corner, points = (2.0, 3.0, 6.0, 9.0), np.full((21, 2), np.nan)
    scene = MaskScene((20, 20), np.eye(2, 3), SKELETONS["hand"], box_xyxy=corner)
    drawn, name = choice.draw(scene)
    assert drawn is not None
    assert (name, drawn.sum()) == ("box", 5 * 7)
    points[1:3] = 15.0
    points[2, 0] = 18.0
    assert choice.draw(replace(scene, landmarks_px=points))[1] == "landmarks"
    away = replace(scene, landmarks_px=points + 100.0)  # outside the crop: it shows nothing
    assert choice.draw(away)[1] == "box"
    assert find_masks("landmarks").draw(scene) == (None, "none")
    assert find_masks("landmarks+probe").draw(scene) == (None, "probe")
    for text, message in (
        ("probe+box", "would never be used: put it last"),
        ("box+box", "twice"),
        ("box+none", "'none' goes with no other"),
        ("box+", "no mask ''"),
        ("box+truth", "pictures have none"),
    ):
        with pytest.raises(InputError, match=message):
            find_masks(text, PICTURES)


def test_a_silhouette_is_moved_from_its_view_into_the_crop() -> None:
    mask = np.zeros((30, 40), bool)
    mask[10:20, 5:15] = True
    view = np.array(((2.0, 0, 100.0), (0, 2.0, 50.0)))  # columns 110 to 129, rows 70 to 89 of the picture
    crop = np.array(((-0.5, 0, 140.0), (0, 0.5, 60.0)))  # mirrored: column u shows 140 - u / 2
    scene = MaskScene((80, 80), crop, SKELETONS["body"], silhouette=Silhouette(mask, view))
    drawn = MASKS["segmentation"].draw(scene)
    assert drawn is not None
    rows, columns = np.nonzero(drawn)
    assert [rows.min(), rows.max()] == pytest.approx([2 * 10 - 1, 2 * 29], abs=2)
    assert [columns.min(), columns.max()] == pytest.approx([2 * 11, 2 * 31], abs=2)
    assert drawn.sum() == pytest.approx(40 * 40, rel=0.06)


def test_rows_are_for_those_they_can_show() -> None:
    assert "segmentation" in mask_names(MaskPlace("body"))
    assert "segmentation" not in mask_names(MaskPlace("hand"))
    with pytest.raises(InputError, match="cannot be had of a hand: use one of none, landmarks, box"):
        find_masks("segmentation", PICTURES)
