"""`run_trunk` tries blocks out at their first call, and again once something in them was replaced."""

from __future__ import annotations

import gc
import types
import weakref

import pytest
import torch
from toy_vit import ToyBlock, ToyViT

from shared_tmu import patch, run_trunk
from shared_tmu.blocks import verification
from shared_tmu.errors import PatchError


class PostNormBlock(ToyBlock):
    """Has the parts of a pre-norm block."""

    def forward(self, x):
        x = x + self.norm1(self.attn(x))
        return x + self.norm2(self.mlp(x))


def test_blocks_that_patch_refuses_are_refused():
    vit, x = ToyViT(depth=3, block=PostNormBlock).eval(), torch.randn(1, 20, 32)
    with torch.no_grad():
        with pytest.raises(PatchError) as by_patch:
            patch(vit, "3x3", num_prefix_tokens=0)
        for _ in range(2):
            with pytest.raises(PatchError) as refused:
                run_trunk(vit.blocks, x, "3x3")
            assert str(refused.value) == str(by_patch.value)
        out, _ = run_trunk(vit.blocks, x, "off")
        for block in vit.blocks:
            x = block(x)
        assert torch.equal(out, x)


def doubled(self, x):
    return ToyBlock.forward(self, x) * 2


CHANGES = {
    "forward": lambda b: setattr(b, "forward", types.MethodType(doubled, b)),
    "function": lambda b: setattr(b.attn, "forward", lambda x: x),
    "setting": lambda b: setattr(b, "_window", 7),
    "class": lambda b: setattr(b, "__class__", PostNormBlock),
    "part": lambda b: setattr(b, "mlp", torch.nn.Linear(32, 32)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_block_is_tried_once_and_again_after_a_change(name, monkeypatch):
    tried = []
    monkeypatch.setattr(verification, "verify_block", lambda block, *given: tried.append(block))
    vit, x = ToyViT(depth=3).eval(), torch.randn(1, 20, 32)
    with torch.no_grad():
        run_trunk(vit.blocks, x, "off")
        assert not tried
        for _ in range(3):
            run_trunk(vit.blocks, x, "3x2")
            vit.requires_grad_(False).double().float()
        assert tried == [vit.blocks[0]]  # the others are equal
        CHANGES[name](vit.blocks[1])
        run_trunk(vit.blocks, x, "3x2")
        run_trunk(vit.blocks, x, "3x2")
    assert tried == [vit.blocks[0], vit.blocks[1]]


def test_a_function_in_the_place_of_one_that_is_gone_is_another(monkeypatch):
    """Their addresses may be equal."""
    vit, x, tried = ToyViT(depth=1).eval(), torch.randn(1, 20, 32), []
    monkeypatch.setattr(verification, "verify_block", lambda block, *given: tried.append(block))
    with torch.no_grad():
        for number in range(5):
            vit.blocks[0].attn.forward = lambda y, number=number: y * number
            run_trunk(vit.blocks, x, "3")
            del vit.blocks[0].attn.forward
    assert len(tried) == 5


def test_blocks_that_were_tried_are_freed_when_nobody_else_holds_them():
    vit = ToyViT(depth=2).eval()
    vit.blocks[1].forward = types.MethodType(ToyBlock.forward, vit.blocks[1])
    run_trunk(vit.blocks, torch.randn(1, 20, 32), "3x2")
    held = [weakref.ref(block) for block in vit.blocks]
    del vit
    gc.collect()
    assert [block() for block in held] == [None, None]


def test_blocks_are_refused_in_training_mode_only_as_patch_does():
    class Switching(ToyBlock):
        def forward(self, x):
            return super().forward(x) * (2 if self.training else 1)

    vit, x = ToyViT(depth=2, block=Switching).eval(), torch.randn(1, 20, 32)
    run_trunk(vit.blocks, x, "3x2")
    with pytest.raises(PatchError, match="block 0: in training mode, Switching"):
        run_trunk(vit.train().blocks, x, "3x2")
    run_trunk(vit.eval().blocks, x, "3x2")
