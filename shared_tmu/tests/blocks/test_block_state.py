"""What may change on a block while its ViT is patched, and what is tried out again."""

from __future__ import annotations

import types

import pytest
import torch
from torch import nn
from toy_vit import ToyAttention, ToyBlock, ToyViT

from shared_tmu import patch
from shared_tmu.errors import PatchError


class Switched(ToyAttention):
    """Attention that computes something else once its settings say so."""

    def __init__(self):
        super().__init__(32, 4)
        self.window = 0
        self.factors = [1.0]
        self.options = {"factor": 1.0}

    def forward(self, x):
        parts = x.split(self.window, dim=1) if self.window else [x]
        return torch.cat([super(Switched, self).forward(part) for part in parts], dim=1) * (
            self.factors[0] * self.options["factor"]
        )


class Doubled(ToyBlock):
    def forward(self, x):
        return super().forward(x) * 2


def replace_class_forward(vit):
    def forward(self, x):
        return ToyAttention.forward(self, x) * 2

    type(vit.blocks[1].attn).forward = forward


REFUSED = {
    "number": lambda vit: setattr(vit.blocks[1].attn, "window", 7),
    "list": lambda vit: setattr(vit.blocks[1].attn, "factors", [2.0]),
    "list in place": lambda vit: vit.blocks[1].attn.factors.__setitem__(0, 2.0),
    "dictionary in place": lambda vit: vit.blocks[1].attn.options.update(factor=2.0),
    "class of the block": lambda vit: setattr(vit.get_submodule("blocks.1"), "__class__", Doubled),
    "new part": lambda vit: vit.blocks[1].add_module("adapter", nn.Linear(32, 32)),
    "new tensor": lambda vit: vit.blocks[1].attn.register_buffer("bias_table", torch.zeros(3)),
    "method": lambda vit: setattr(vit.blocks[1], "forward", types.MethodType(Doubled.forward, vit.blocks[1])),
    "method of the class": replace_class_forward,
}


def build():
    vit = ToyViT(depth=3)
    for block in vit.blocks:
        block.attn = type("Fresh", (Switched,), {})()  # a class of its own, for who changes classes
    return vit.eval()


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_computes_something_else_now_is_refused_at_the_next_forward(change):
    vit, x = build(), torch.randn(1, 20, 32)
    with patch(vit, "3x3", num_prefix_tokens=0), torch.no_grad():
        vit(x)
        change(vit)
        with pytest.raises(PatchError, match=r"block 1: "):
            vit(x)


TAKEN = {
    "scale": lambda vit: setattr(vit.blocks[0].attn, "scale", 1.0),
    "heads": lambda vit: setattr(vit.blocks[0].attn, "num_heads", 2),
    "mlp": lambda vit: setattr(vit.blocks[0], "mlp", nn.Linear(32, 32)),
}


@pytest.mark.parametrize("change", TAKEN.values(), ids=TAKEN)
def test_what_merging_goes_by_may_change(change):
    """The patched model computes what one does that is patched after the change."""
    vit, x = ToyViT(depth=3).eval(), torch.randn(1, 20, 32)
    with torch.no_grad():
        with patch(vit, "3x3", num_prefix_tokens=0):
            before = vit(x)
            change(vit)
            got = vit(x)
        with patch(vit, "3x3", num_prefix_tokens=0):
            want = vit(x)
    assert torch.equal(got, want)
    assert not torch.equal(got, before)


class Remembering(ToyBlock):
    """Keeps what it was given, for others."""

    def forward(self, x):
        self.last = x
        return super().forward(x)


def test_what_hardly_changed_is_not_tried_out_again(monkeypatch):
    vit, x = ToyViT(depth=3).eval(), torch.randn(1, 20, 32)
    vit.blocks = nn.ModuleList(Remembering() for _ in range(3)).eval()
    tried = []
    with patch(vit, "0x2+3x1", num_prefix_tokens=0), torch.no_grad():
        vit(x)
        vit(x)
        monkeypatch.setattr("shared_tmu.blocks.verification.verify_block", lambda *given: tried.append(given))
        vit.train()
        vit(x)
        vit.eval().requires_grad_(False)
        vit(x + 1)
        vit.to(torch.float64)(x.double())
    assert not tried


class Switchable(ToyBlock):
    def forward(self, x, is_causal=False, mask=None):
        assert not is_causal
        assert mask is None
        return super().forward(x)


@pytest.mark.parametrize("say", [{"is_causal": False}, {"mask": None}, {"is_causal": False, "mask": None}])
def test_arguments_that_say_what_a_block_takes_anyway_are_none(say):
    vit, x = ToyViT(depth=3).eval(), torch.randn(1, 20, 32)
    vit.blocks = nn.ModuleList(Switchable() for _ in range(3)).eval()

    def run():
        y = x
        for block in vit.blocks:
            y = block(y, **say)
        return y

    with torch.no_grad(), patch(vit, "3x3", num_prefix_tokens=0):
        assert torch.equal(run(), run())
        with pytest.raises(PatchError, match=r"with is_causal besides tokens, which merging would ignore"):
            vit.blocks[0](x, True)
