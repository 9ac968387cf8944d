"""Blocks that somebody has changed, and models that put something in front of their patch tokens."""

from __future__ import annotations

import types
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from toy_vit import ScaledBlock, SequentialViT, ToyBlock, ToyViT

from shared_tmu import patch
from shared_tmu.errors import PatchError


def in_windows(attn, x):
    """Attention among every seven tokens."""
    parts = [type(attn).forward(attn, part) for part in x.split(7, dim=1)]
    return torch.cat(parts, dim=1)


def add_adapter(block):
    """An adapter that writes nothing yet, hidden in a forward of the instance's own."""
    down = nn.Linear(32, 32)
    nn.init.zeros_(down.weight)
    nn.init.zeros_(down.bias)
    block.mlp.adapter = down
    own = type(block).forward

    def forward(self, x):
        return own(self, x) + self.mlp.adapter(x)

    block.forward = types.MethodType(forward, block)


class Rotated(ToyBlock):
    """Knows positions, by a table that is no parameter."""

    def forward(self, x):
        turned = x + torch.arange(x[0].numel(), dtype=x.dtype, device=x.device).sin().view(1, *x.shape[1:])
        return x + super().forward(turned) - turned


class Secretive(ToyBlock):
    """Attends in windows if an attribute says so that is not for others."""

    _window = 0

    def forward(self, x):
        parts = x.split(self._window, dim=1) if self._window else [x]
        return torch.cat([super(Secretive, self).forward(part) for part in parts], dim=1)


def test_blocks_that_differ_in_a_private_attribute_are_all_tried():
    vit = ToyViT(depth=4, block=Secretive).eval()
    patch(vit, "6x3", num_prefix_tokens=0).remove()
    vit.blocks[2]._window = 16
    with pytest.raises(PatchError, match=r"block 2: .*does not compute"):
        patch(vit, "6x3", num_prefix_tokens=0)


def test_equal_blocks_are_tried_once(monkeypatch):
    tried = []
    monkeypatch.setattr("shared_tmu.blocks.verification.verify_block", lambda *given: tried.append(given))
    patch(ToyViT(depth=4), "6x3", num_prefix_tokens=0)
    assert len(tried) == 1


CHANGES = {
    "attn.forward": lambda vit, n: setattr(
        vit.blocks[n].attn, "forward", types.MethodType(in_windows, vit.blocks[n].attn)
    ),
    "adapter": lambda vit, n: add_adapter(vit.blocks[n]),
    "class": lambda vit, n: vit.blocks.__setitem__(n, Rotated()),
    "scale": lambda vit, n: vit.blocks[n].attn.__dict__.update(forward=lambda x: x),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("number", [0, 2])
def test_a_block_that_was_changed_is_refused_by_number(change, number):
    vit = ToyViT(depth=4).eval()
    change(vit, number)
    before, state = [dict(vars(module)) for module in vit.modules()], torch.get_rng_state()
    with pytest.raises(PatchError, match=rf"block {number}: .*does not compute"):
        patch(vit, "6x3", num_prefix_tokens=0)
    assert [dict(vars(module)) for module in vit.modules()] == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("build", [ToyViT, SequentialViT])
def test_a_block_changed_while_patched_is_refused_at_the_next_forward(change, build):
    vit, x = build(depth=4).eval(), torch.randn(1, 20, 32)
    with patch(vit, "3x3", num_prefix_tokens=0), torch.no_grad():
        vit(x)
        change(vit, 1)
        with pytest.raises(PatchError, match=r"block 1: .*(does not compute|could not be run)"):
            vit(x)


def test_a_forward_of_its_own_that_computes_the_same_is_fine():
    vit, x = ToyViT(depth=2).eval(), torch.randn(1, 20, 32)
    with patch(vit, "3x2", num_prefix_tokens=0):
        want = vit(x)
    vit.blocks[1].attn.forward = types.MethodType(type(vit.blocks[1].attn).forward, vit.blocks[1].attn)
    with patch(vit, "3x2", num_prefix_tokens=0):
        assert torch.equal(vit(x), want)


class LoRA(nn.Module):
    """A layer and a low-rank step beside it that is zero at first; it has no weight of its own."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(base.in_features, 2), nn.Linear(2, base.out_features)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


def quantise(vit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.ao.quantization.quantize_dynamic(vit, {nn.Linear}, torch.qint8, inplace=True)


def prune_all(vit):
    for block in vit.blocks:
        for linear in (block.attn.qkv, block.attn.proj, block.mlp.fc1):
            prune.l1_unstructured(linear, "weight", 0.3)
    vit(torch.randn(1, 5, 32))  # weights are now the results of a computation


def wrap(vit):
    for block in vit.blocks:
        block.attn.qkv, block.attn.proj = LoRA(block.attn.qkv), LoRA(block.attn.proj)


def wrap_deeply(vit):
    for block in vit.blocks:
        block.attn.proj = nn.Sequential(nn.Identity(), block.attn.proj)


def weight_norm(vit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for block in vit.blocks:
            nn.utils.weight_norm(block.attn.proj)
            nn.utils.parametrizations.weight_norm(block.attn.qkv)


@pytest.mark.parametrize("change", [quantise, prune_all, wrap, wrap_deeply, weight_norm])
@pytest.mark.parametrize("block", [ToyBlock, ScaledBlock])
def test_compressed_and_wrapped_layers_are_merged_in(change, block):
    vit, x = ToyViT(depth=3, block=block).eval(), torch.randn(2, 20, 32)
    change(vit)
    keys, want = list(vit.state_dict()), vit(x)
    with patch(vit, "4x2", num_prefix_tokens=0):
        assert not torch.equal(vit(x), want)
    assert torch.equal(vit(x), want)
    assert list(vit.state_dict()) == keys
