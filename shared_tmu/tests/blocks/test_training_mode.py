"""Dropout that only a block's own forward knows exists in training mode, and merging would leave it out."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from toy_vit import SequentialViT, ToyAttention, ToyBlock, ToyViT

from shared_tmu import patch
from shared_tmu.blocks.training_mode import _warn
from shared_tmu.errors import PatchError


class FunctionalBlock(ToyBlock):
    """Drops values of a branch by a function, at a rate that is a plain attribute."""

    def __init__(self, width=32, rate=0.5, **options):
        super().__init__(width, **options)
        self.drop_prob = rate

    def forward(self, x):
        x = x + functional.dropout(self.drop_path(self.attn(self.norm1(x))), self.drop_prob, self.training)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class FusedAttention(ToyAttention):
    """Fused attention that is told its dropout as a number."""

    dropout = 0.5

    def forward(self, x):
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        rate = self.dropout if self.training else 0.0
        out = functional.scaled_dot_product_attention(q, k, v, dropout_p=rate)
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, width))


class FusedBlock(ToyBlock):
    def __init__(self, width=32):
        super().__init__(width)
        self.attn = FusedAttention(width, 4)


class Switching(ToyBlock):
    """Computes something else in training mode, but nothing at random."""

    def forward(self, x):
        return super().forward(x) * (2 if self.training else 1)


@pytest.mark.parametrize("block", [FunctionalBlock, FusedBlock, Switching])
@pytest.mark.parametrize("build", [ToyViT, SequentialViT])
def test_what_exists_only_in_training_is_refused_there(block, build):
    vit, x = build(depth=3, block=block).eval(), torch.randn(1, 20, 32)
    with torch.no_grad(), patch(vit, "3x2", num_prefix_tokens=0) as handle:
        want = vit(x)
        vit.train()
        with pytest.raises(PatchError, match=rf"block 0: in training mode, {block.__name__} computes"):
            vit(x)
        handle.schedule = "off"
        vit(x)
        handle.schedule = "3x2"
        assert torch.equal(vit.eval()(x), want)


def test_rates_that_rise_from_block_to_block_are_seen_wherever_they_begin():
    vit = ToyViT(depth=3, block=FunctionalBlock, rate=0.0).train()
    with patch(vit, "3x3", num_prefix_tokens=0), torch.no_grad():
        vit(torch.randn(1, 20, 32))
        vit.blocks[1].drop_prob = 0.1
        with pytest.raises(PatchError, match="block 1: in training mode"):
            vit(torch.randn(1, 20, 32))
    with patch(vit, "3x3", num_prefix_tokens=0), pytest.raises(PatchError, match="block 1: in training mode"):
        vit(torch.randn(1, 20, 32))


class DropPath(nn.Module):
    """Drops whole branches, as in timm."""

    def __init__(self, rate):
        super().__init__()
        self.drop_prob = rate

    def forward(self, x):
        kept = 1 - self.drop_prob
        return x * x.new_empty(len(x), 1, 1).bernoulli_(kept) / kept if self.training else x


def test_dropout_that_merging_knows_is_fine(caplog):
    _warn.cache_clear()
    vit, x = ToyViT(depth=3, dropout=0.3).train(), torch.randn(1, 20, 32)
    for number, block in enumerate(vit.blocks):
        block.drop_path = DropPath(0.1 * number)
    with torch.no_grad(), patch(vit, "3x3", num_prefix_tokens=0):
        assert not torch.equal(vit(x), vit(x))
    assert not caplog.records


def test_a_block_that_drops_in_both_ways_is_warned_of_once(caplog):
    _warn.cache_clear()
    vit, x = ToyViT(depth=2, block=FunctionalBlock).eval(), torch.randn(1, 20, 32)
    for block in vit.blocks:
        block.drop_path = DropPath(0.5)
    with torch.no_grad(), patch(vit, "3x2", num_prefix_tokens=0):
        vit(x)
        assert not caplog.records
        vit.train()
        vit(x)
        vit(x)
    (record,) = caplog.records
    assert "FunctionalBlock draws other random numbers than merging does" in record.getMessage()


class Normed(nn.Module):
    """Takes statistics of what it sees in training mode."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.norm = layer, nn.BatchNorm1d(32)

    def forward(self, x):
        return self.norm(self.layer(x).mT).mT


def test_statistics_taken_in_training_are_as_before_and_no_difference():
    vit, x = ToyViT(depth=2).train(), torch.randn(2, 20, 32)
    for block in vit.blocks:
        block.mlp = Normed(block.mlp)
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    with patch(vit, "3x2", num_prefix_tokens=0):
        assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())
        vit(x)
