"""Masks: pixels to tokens by the patch embedding's windows, and subjects drawn from key points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shared_tmu.errors import InputError
from shared_tmu.masks import Limb, PatchWindows, cover_tokens, draw_limbs

PUBLISHED = PatchWindows((16, 16), (16, 16), (2, 2))  # of a 256x192 input: 16 x 12 tokens


def cover_by_loops(mask: np.ndarray, windows: PatchWindows, coverage: float) -> np.ndarray:
    """Every window pixel by pixel."""
    rows, columns = windows.grid(*mask.shape)
    out = np.zeros((rows, columns), bool)
    for i in range(rows):
        for j in range(columns):
            count = 0
            for y in range(
                i * windows.stride[0] - windows.padding[0],
                i * windows.stride[0] - windows.padding[0] + windows.size[0],
            ):
                for x in range(
                    j * windows.stride[1] - windows.padding[1],
                    j * windows.stride[1] - windows.padding[1] + windows.size[1],
                ):
                    count += 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and bool(mask[y, x])
            out[i, j] = count > coverage * windows.size[0] * windows.size[1]
    return out.reshape(-1)


@pytest.mark.parametrize("coverage", [0.0, 0.25, 0.5])
def test_m9_tokens_are_those_of_a_loop_over_windows(coverage: float) -> None:
    draw = np.random.default_rng(0)
    mask = draw.random((3, 256, 192)) < np.array([0.002, 0.3, 0.6])[:, None, None]
    got = cover_tokens(torch.from_numpy(mask), PUBLISHED, coverage)
    want = np.stack([cover_by_loops(one, PUBLISHED, coverage) for one in mask])
    assert got.shape == (3, 192)
    assert np.array_equal(got.numpy(), want)


@given(
    row=st.sampled_from([0, 1, 13, 14, 237, 238, 253, 254, 255]),
    column=st.sampled_from([0, 13, 14, 189, 190, 191]),
)
def test_m9_single_pixels_at_the_borders(row: int, column: int) -> None:
    mask = torch.zeros(1, 256, 192, dtype=torch.bool)
    mask[0, row, column] = True
    got = cover_tokens(mask, PUBLISHED)[0]
    if row >= 254 or column >= 190:  # these pixels are in no patch
        assert not got.any()
    else:
        assert got.nonzero().flatten().tolist() == [12 * ((row + 2) // 16) + (column + 2) // 16]


def test_windows_are_read_off_the_patch_embedding() -> None:
    holder = nn.Module()
    holder.proj = nn.Conv2d(3, 8, 16, 16, padding=2)
    assert PatchWindows.of(holder) == PatchWindows.of(holder.proj) == PUBLISHED
    assert PUBLISHED.grid(256, 192) == (16, 12)
    for other in (nn.Linear(3, 8), nn.Conv2d(3, 8, 3, padding="same"), nn.Conv2d(3, 8, 3, dilation=2)):
        with pytest.raises(InputError, match="which pixels a token reads"):
            PatchWindows.of(other)


def test_masks_of_another_kind_are_refused() -> None:
    with pytest.raises(InputError, match=r"\[B, H, W\] bool"):
        cover_tokens(torch.zeros(1, 256, 192), PUBLISHED)
    with pytest.raises(InputError, match="share of a window"):
        cover_tokens(torch.zeros(1, 256, 192, dtype=torch.bool), PUBLISHED, 1.0)
    with pytest.raises(InputError, match="5 x 192 pixels is smaller than a patch of 16 x 16"):
        cover_tokens(torch.zeros(1, 5, 192, dtype=torch.bool), PUBLISHED)


def distance_to_segment(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    along = np.clip(((points - a) @ (b - a)) / max(float((b - a) @ (b - a)), 1e-9), 0.0, 1.0)
    return np.linalg.norm(points - (a + along[..., None] * (b - a)), axis=-1)


def test_a_bone_is_a_capsule_around_the_line_between_its_points() -> None:
    points = np.array([[30.3, 40.7], [80.9, 60.2]])
    mask = draw_limbs(points, [Limb((0, 1), 0.1)], 100.0, (96, 128))
    grid = np.stack(np.meshgrid(np.arange(128), np.arange(96)), axis=-1).astype(float)
    distance = distance_to_segment(grid, *points)
    assert mask[distance < 9.0].all()
    assert not mask[distance > 11.5].any()


def test_areas_are_filled_and_points_that_are_not_there_are_left_out() -> None:
    points = np.array([[20.0, 20.0], [60.0, 20.0], [60.0, 60.0], [20.0, 60.0], [np.nan, 5.0], [1e12, -1e12]])
    mask = draw_limbs(
        points, [Limb((0, 1, 2, 3), 0.0), Limb((3, 4), 0.3), Limb((0, 5), 0.02)], 50.0, (80, 80)
    )
    assert mask[21:60, 21:60].all()
    assert not mask[70:, :].any()
    assert mask[5, 35]  # towards the far point
