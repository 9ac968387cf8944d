"""Pictures of merged groups."""

import numpy as np
import pytest
import torch

from shared_tmu import patch
from shared_tmu.errors import InputError
from shared_tmu.viz import draw_groups


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)


def test_single_patches_show_the_picture(image):
    assert np.array_equal(draw_groups(image, torch.arange(192)[None]), image)


def test_a_group_becomes_one_colour_and_the_rest_stays(image):
    slots = np.arange(192)
    slots[[0, 1, 12]] = 7
    slots[7] = 0
    drawn = draw_groups(image, slots)
    assert drawn.shape == image.shape
    assert np.array_equal(drawn[8:], image[8:])
    inside = drawn[1:3, 1:3].reshape(-1, 3)
    assert (inside == inside[0]).all()
    assert np.array_equal(drawn[1, 5], inside[0])


def test_without_tint_the_inside_is_the_mean_colour(image):
    slots = np.arange(192)
    slots[[0, 1, 12]] = 7
    slots[7] = 0
    drawn = draw_groups(image, slots, tint=0.0)
    members = np.concatenate([image[:4, :8].reshape(-1, 3), image[4:8, :4].reshape(-1, 3)])
    assert np.abs(drawn[1, 1] - members.mean(axis=0)).max() <= 0.5


def test_a_group_keeps_its_colour_when_slots_are_numbered_anew(image):
    """Later merges number slots differently, but a group that did not change must not change its colour."""
    slots = np.arange(192)
    slots[[20, 21]] = 20
    later = slots.copy()
    later[[40, 41]] = 40
    later = np.unique(later[::-1], return_inverse=True)[1][::-1]
    later = later.max() - later  # other numbers for all
    before, after = draw_groups(image, slots), draw_groups(image, later)
    assert (slots != later).all()
    assert np.array_equal(before[4:8, 32:40], after[4:8, 32:40])


def test_outlines_are_crisp_and_wider_on_large_patches():
    slots = np.arange(4)
    slots[1] = 0
    black = np.zeros((96, 96, 3), np.uint8)
    for side, width in ((8, 1), (48, 4)):
        drawn = draw_groups(black[: 2 * side, : 2 * side], slots, (2, 2), tint=0.0)
        lit = drawn.any(-1)
        lower = np.flatnonzero(lit[:, side // 2])
        assert lower.tolist() == list(range(side - width, side))  # its lower edge, and nothing else
        assert not lit[side:].any()


def test_pruned_patches_are_dark_and_prefix_tokens_left_out(image):
    slots = np.concatenate([[3, 3], np.arange(192)])
    slots[2] = -1
    drawn = draw_groups(image, slots)
    assert np.array_equal(drawn[1, 1], np.rint(image[1, 1] * 0.25).astype(np.uint8))
    assert np.array_equal(drawn[4:], image[4:])


def test_pruned_patches_show_whom_they_copy(image):
    """Patches 1 and 2 copy 7 and 30, which are outlined in the same colours; all others stay as they are."""
    slots = np.arange(192)
    slots[[1, 2]] = -1
    copies = np.where(slots < 0, [0, 7, 30, *[0] * 189], slots)
    dark, shown = draw_groups(image, slots), draw_groups(image, slots, copy_map=copies)
    changed = (dark != shown).any(-1).reshape(16, 4, 12, 4).any((1, 3))  # by patch
    assert np.argwhere(changed.reshape(-1))[:, 0].tolist() == [1, 2, 7, 30]
    black = np.zeros_like(image)
    tints = draw_groups(black, slots, copy_map=copies)
    assert np.array_equal(tints[9:11, 25:27], black[9:11, 25:27])  # the inside of 30 is the picture's
    for pruned, copied in ((tints[1, 5], tints[0, 28]), (tints[1, 9], tints[8, 24])):
        assert pruned.any()
        np.testing.assert_allclose(pruned / 0.35, copied / 0.9, atol=3)
    assert not np.allclose(tints[1, 5], tints[1, 9], atol=10)


def test_a_recorded_plan_can_be_drawn(vit, tokens, image):
    with patch(vit, "5x2", num_prefix_tokens=18, record=True) as handle:
        vit(tokens)
        drawn = draw_groups(image, handle.plan.source_map, grid=(8, 5), index=1)
    assert not np.array_equal(drawn, image)


@pytest.mark.parametrize(
    ("slots", "grid", "index"), [(np.arange(10), (16, 12), 0), (np.zeros((2, 192), int), (16, 12), 5)]
)
def test_what_does_not_fit_says_so(image, slots, grid, index):
    with pytest.raises(InputError):
        draw_groups(image, slots, grid, index)
