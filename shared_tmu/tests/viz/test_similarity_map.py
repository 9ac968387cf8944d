"""The heat map of similarities between layers."""

import numpy as np
import pytest
import torch
from torch import nn

from shared_tmu.errors import InputError
from shared_tmu.layers import collect_features, linear_cka
from shared_tmu.viz import draw_similarity


def cell(drawn, depth, row, column, side=20):
    """The middle of a cell; rows count from below."""
    top, left = drawn.shape[0] - 26 - depth * side, 34
    return drawn[top + (depth - 1 - row) * side + side // 2, left + column * side + side // 2]


def test_cells_have_the_colours_of_their_values():
    matrix = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, torch.nan], [0.0, torch.nan, 1.0]])
    drawn = draw_similarity(matrix, 20, "toy")
    assert drawn.dtype == np.uint8
    assert drawn.shape == (24 + 60 + 26, 34 + 60 + 62, 3)
    whole, half, none = (cell(drawn, 3, *at) for at in ((0, 0), (0, 1), (0, 2)))
    assert whole[0] > 240 > half[0]  # viridis ends in yellow
    assert none[2] > none[1]  # and begins in violet
    assert cell(drawn, 3, 1, 2).tolist() == [160] * 3
    for row in range(3):
        for column in range(3):
            assert np.array_equal(cell(drawn, 3, row, column), cell(drawn, 3, column, row))


@pytest.mark.parametrize("depth", [1, 2, 12, 32, 130])
def test_any_depth_can_be_drawn(depth):
    drawn = draw_similarity(np.eye(depth), 5)
    assert drawn.shape == (8 + 5 * depth + 26, 34 + 5 * depth + 62, 3)


@pytest.mark.parametrize("wrong", [np.zeros((2, 3)), np.zeros(4), np.zeros((0, 0)), np.full((2, 2), 7.0)])
def test_what_are_no_similarities_is_refused(wrong):
    with pytest.raises(InputError):
        draw_similarity(wrong)


@torch.inference_mode()
def test_features_are_those_of_the_same_tokens():
    blocks = nn.Sequential(nn.Identity(), nn.Linear(4, 4), nn.ReLU())
    x = torch.randn(6, 5, 4)
    features = collect_features(blocks, lambda: [blocks(part) for part in x.split(4)], 6, 1000)
    assert [tuple(layer.shape) for layer in features] == [(30, 4)] * 3
    assert torch.equal(features[2], blocks[1](features[0]).relu())
    few = collect_features(blocks, lambda: blocks(x), 6, 12)
    assert len(few[0]) == 12
    assert not blocks[0]._forward_hooks
    assert linear_cka(features)[0, 1] < 1
