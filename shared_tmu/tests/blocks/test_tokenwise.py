"""Parts that mix tokens besides attention agree with themselves, but not once something merges."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from toy_vit import ScaledBlock, ToyBlock, ToyMlp, ToyViT

from shared_tmu import patch
from shared_tmu.errors import PatchError


class Neighbours(nn.Module):
    """A layer, then a convolution over the tokens, as in LeFF."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.conv = nn.Conv1d(width, width, 3, padding=1, groups=width)

    def forward(self, x):
        return self.conv(self.layer(x).mT).mT


class Shared(nn.Module):
    """A layer whose output depends on the mean of all tokens."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x) * (1 + x.mean(-2, keepdim=True)).mean(-1, keepdim=True)


class PerToken(nn.Module):
    """A weight for each place."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(count, 1))

    def forward(self, x):
        return x * self.weight


MIXING = {
    "mlp": lambda b: setattr(b, "mlp", Neighbours(b.mlp, 32)),
    "norm1": lambda b: setattr(b, "norm1", Shared(b.norm1)),
    "norm2": lambda b: setattr(b, "norm2", Neighbours(b.norm2, 32)),
    "attn.qkv": lambda b: setattr(b.attn, "qkv", Neighbours(b.attn.qkv, 96)),
    "attn.proj": lambda b: setattr(b.attn, "proj", Shared(b.attn.proj)),
    "attn.q_norm": lambda b: setattr(b.attn, "q_norm", Shared(b.attn.q_norm)),
    "ls2": lambda b: setattr(b, "ls2", Shared(b.ls2)),
    "drop_path1": lambda b: setattr(b, "drop_path1", Shared(b.drop_path1)),
}


@pytest.mark.parametrize("name", MIXING)
def test_a_part_that_mixes_tokens_is_refused_by_name(name):
    vit = ToyViT(depth=3, block=ScaledBlock).eval()
    MIXING[name](vit.blocks[1])
    with pytest.raises(PatchError, match=rf"block 1: {name} of ScaledBlock mixes tokens"):
        patch(vit, "3x3", num_prefix_tokens=0)


def test_a_part_for_one_number_of_tokens_is_refused():
    vit = ToyViT(depth=1).eval()
    vit.blocks[0].mlp = nn.Sequential(PerToken(49), vit.blocks[0].mlp)
    with pytest.raises(PatchError, match=r"block 0: mlp of ToyBlock mixes tokens, or fits only one number"):
        patch(vit, "3", num_prefix_tokens=0)


class Overwriting(ToyMlp):
    """Works in place on what it is given."""

    def forward(self, x):
        return super().forward(x.mul_(2).relu_())


def test_parts_that_take_every_token_by_itself_are_fine():
    vit, x = ToyViT(depth=3, block=ToyBlock).eval(), torch.randn(1, 20, 32)
    vit.blocks[0].mlp = Overwriting(32, 64)
    vit.blocks[1].norm2 = nn.Sequential(nn.LayerNorm(32), nn.Softmax(-1))
    vit.blocks[2].mlp = nn.Sequential(nn.Linear(32, 8), nn.Hardswish(inplace=True), nn.Linear(8, 32))
    with torch.no_grad(), patch(vit, "3x3", num_prefix_tokens=0):
        assert vit(x).shape == x.shape


@pytest.mark.parametrize("seed", range(4))
def test_parts_that_quantise_by_the_range_of_all_tokens_are_fine(seed):
    torch.manual_seed(seed)
    vit = ToyViT(depth=3, width=128, hidden=512).eval()
    for number, block in enumerate(vit.blocks):
        block.number = number  # so that every block is tried
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.ao.quantization.quantize_dynamic(block, {nn.Linear}, torch.qint8, inplace=True)
    patch(vit, "3x3", num_prefix_tokens=0).remove()
    vit.blocks[2].mlp = Neighbours(vit.blocks[2].mlp, 128)
    with pytest.raises(PatchError, match="block 2: mlp of ToyBlock mixes tokens"):
        patch(vit, "3x3", num_prefix_tokens=0)


def test_another_default_device_changes_nothing():
    vit = ToyViT(depth=1).eval()
    vit.blocks[0].mlp = Neighbours(vit.blocks[0].mlp, 32)
    with torch.device("meta"), pytest.raises(PatchError, match="mlp of ToyBlock mixes tokens"):
        patch(vit, "3", num_prefix_tokens=0)
