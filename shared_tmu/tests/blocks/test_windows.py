"""Attention in windows is global while there is only one window: blocks are tried with more tokens."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from toy_vit import ToyBlock, ToyViT

from shared_tmu import patch
from shared_tmu.errors import PatchError


class GridWindows(ToyBlock):
    """Attention in square windows of a square grid, as in ViTDet and Swin."""

    side = 7

    def forward(self, x):
        batch, count, width = x.shape
        n, side = math.isqrt(count) // self.side, self.side
        parts = self.norm1(x).view(batch, n, side, n, side, width).transpose(2, 3)
        parts = self.attn(parts.reshape(-1, side * side, width)).view(batch, n, n, side, side, width)
        x = x + parts.transpose(2, 3).reshape(batch, count, width)
        return x + self.mlp(self.norm2(x))


class LargeWindows(GridWindows):
    side = 16


class LineWindows(ToyBlock):
    """Attention among every 64 tokens."""

    def forward(self, x):
        x = x + torch.cat([self.attn(part) for part in self.norm1(x).split(64, dim=1)], dim=1)
        return x + self.mlp(self.norm2(x))


@pytest.mark.parametrize("block", [GridWindows, LargeWindows, LineWindows])
@pytest.mark.parametrize("prefix", [0, None])
def test_windows_are_refused_whether_or_not_the_prefix_is_known(block, prefix):
    with pytest.raises(PatchError, match=rf"block 0: {block.__name__} computes .* tokens but not with \d+"):
        patch(ToyViT(depth=2, block=block), "3x2", num_prefix_tokens=prefix)


class Pictures(nn.Module):
    """Pictures of `size`, in 16 x 16 patches."""

    def __init__(self, size: int, block: type) -> None:
        super().__init__()
        self.img_size = size
        self.patch_embed = nn.Conv2d(3, 32, 16, 16)
        self.blocks = nn.ModuleList(block() for _ in range(2))

    def forward(self, img):
        x = self.patch_embed(img).flatten(2).mT
        for block in self.blocks:
            x = block(x)
        return x


@pytest.mark.parametrize(("size", "block"), [(112, GridWindows), (256, LargeWindows), (512, LargeWindows)])
@pytest.mark.parametrize("prefix", [0, None])
def test_windows_as_large_as_the_usual_picture_or_smaller_are_refused(size, block, prefix):
    with pytest.raises(PatchError, match=rf"block 0: {block.__name__} .*does not compute|but not with"):
        patch(Pictures(size, block), "3x2", num_prefix_tokens=prefix)


class Exact(ToyBlock):
    """Takes one number of tokens."""

    count = 784

    def forward(self, x):
        assert x.shape[1] == self.count
        return super().forward(x)


def test_blocks_for_one_number_of_tokens_are_tried_with_that_number():
    vit = Pictures(448, Exact).eval()
    with patch(vit, "3x1", num_prefix_tokens=0), torch.no_grad():
        assert vit(torch.randn(1, 3, 448, 448)).shape == (1, 784, 32)
    vit = ToyViT(depth=2, block=type("Few", (Exact,), {"count": 49})).eval()
    with patch(vit, "3x1", num_prefix_tokens=0), torch.no_grad():
        assert vit(torch.randn(1, 49, 32)).shape == (1, 49, 32)
