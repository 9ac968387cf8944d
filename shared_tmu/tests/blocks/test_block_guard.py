"""Blocks of a patched ViT that somebody reaches past their list, and what torch.fx makes of them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.fx
from torch import nn
from torch.utils.checkpoint import checkpoint
from toy_vit import SequentialViT, ToyBlock, ToyViT

from shared_tmu import patch
from shared_tmu.errors import PatchError


def by_loop(blocks, x):
    out = []
    for block in blocks:
        x = block(x)
        out.append(x)
    return out


def found_by_name(vit):
    return [vit.get_submodule(f"blocks.{number}") for number in range(len(vit.blocks))]


FOUND = {
    "get_submodule": found_by_name,
    "attribute": lambda vit: [getattr(vit.blocks, str(number)) for number in range(len(vit.blocks))],
    "named_children": lambda vit: [block for _, block in vit.blocks.named_children()],
    "modules": lambda vit: [module for module in vit.modules() if type(module) is ToyBlock],
}


@pytest.mark.parametrize("find", FOUND.values(), ids=FOUND)
def test_blocks_that_are_called_past_their_list_are_refused_while_something_merges(find):
    """They would run without merging, and the answer would be the unpatched one without a word."""
    vit, x = ToyViT(depth=3).eval(), torch.randn(2, 20, 32)
    kept = list(vit.blocks)
    with torch.no_grad():
        want = by_loop(kept, x)[-1]
        with patch(vit, "6x3", num_prefix_tokens=0) as handle:
            for blocks in (find(vit), kept):
                with pytest.raises(PatchError, match="block 0 of a ViT that merges was called directly"):
                    by_loop(blocks, x)
            assert vit(x).shape == x.shape
            handle.schedule = "off"
            assert torch.equal(by_loop(find(vit), x)[-1], want)
        assert torch.equal(by_loop(kept, x)[-1], want)
    assert not any(block._forward_pre_hooks for block in kept)


def test_a_new_block_is_guarded_and_copies_keep_their_own_guards():
    vit, x = ToyViT(depth=3).eval(), torch.randn(2, 20, 32)
    block = ToyBlock().eval()
    with torch.no_grad(), patch(vit, "6x3", num_prefix_tokens=0):
        want = block(x)
        vit.blocks[1] = block
        vit(x)
        for model in (vit, copy.deepcopy(vit), pickle.loads(pickle.dumps(vit))):
            with pytest.raises(PatchError, match="block 1 of a ViT that merges"):
                model.get_submodule("blocks.1")(x)
        alone = copy.deepcopy(vit.get_submodule("blocks.1"))  # no part of the ViT
        assert torch.equal(alone(x), want)
        alone.attn(x)


class Inline(ToyViT):
    """Runs the parts of its blocks itself."""

    def forward(self, x):
        for block in self.blocks:
            x = x + block.attn(block.norm1(x))
            x = x + block.mlp(block.norm2(x))
        return x


class Unhooked(ToyViT):
    """Calls the forward of blocks that it found by name."""

    def forward(self, x):
        for number in range(len(self.blocks)):
            x = self.get_submodule(f"blocks.{number}").forward(x)
        return x


@pytest.mark.parametrize("build", [Inline, Unhooked])
def test_a_model_that_runs_the_parts_of_its_blocks_is_refused(build):
    vit = build(depth=3)
    for prefix in (0, None):
        with pytest.raises(PatchError, match=rf"{build.__name__} does not call the blocks of its list"):
            patch(vit, "6x3", num_prefix_tokens=prefix)
    assert not any(module._forward_pre_hooks for module in vit.modules())


@pytest.mark.parametrize("build", [Inline, Unhooked])
def test_one_that_could_not_be_tried_is_refused_once_something_merges(build, monkeypatch):
    monkeypatch.setattr("shared_tmu.patching.prefix.watch_arrival", lambda *_: None)
    vit, x = build(depth=3).eval(), torch.randn(2, 20, 32)
    with torch.no_grad():
        want = vit(x)
        with patch(vit, "6x3", num_prefix_tokens=0) as handle:
            with pytest.raises(PatchError, match="attention of block 0 of a ViT that merges"):
                vit(x)
            handle.schedule = "off"
            assert torch.equal(vit(x), want)
        assert torch.equal(vit(x), want)
    assert not any(module._forward_pre_hooks for module in vit.modules())


class Recomputed(ToyBlock):
    """Runs its attention again in the backward pass."""

    def forward(self, x):
        x = x + checkpoint(self.attn, self.norm1(x), use_reentrant=False)
        return x + self.mlp(self.norm2(x))


def test_attention_that_a_block_recomputes_for_its_gradients_is_no_call_from_outside():
    vit, x = ToyViT(depth=3, block=Recomputed), torch.randn(2, 20, 32)
    gradients = []
    for block in (Recomputed, ToyBlock):
        for module in vit.blocks:
            module.__class__ = block
        vit.zero_grad()
        with patch(vit, "0x1+6x2", num_prefix_tokens=0):
            vit(x).square().mean().backward()
        gradients.append(vit.blocks[0].attn.qkv.weight.grad)
    torch.testing.assert_close(*gradients)


def test_hooks_of_others_run_beside_the_guard():
    vit, calls = ToyViT(depth=3).eval(), []
    vit.blocks[0].register_forward_pre_hook(lambda *_: calls.append(0))
    with torch.no_grad(), patch(vit, "0x2+6x1", num_prefix_tokens=0):
        vit(torch.randn(1, 20, 32))
    assert calls == [0]
    assert len(vit.blocks[0]._forward_pre_hooks) == 1


class Broken(ToyBlock):
    """Cannot be compiled as a whole."""

    def forward(self, x):
        torch._dynamo.graph_break()
        return super().forward(x)


def test_graphs_that_break_inside_a_block_are_no_call_from_outside():
    vit, x = ToyViT(depth=2).eval(), torch.randn(1, 20, 32)
    vit.blocks = nn.ModuleList(Broken() for _ in range(2)).eval()
    torch._dynamo.reset()
    with torch.no_grad(), patch(vit, "0x1+6x1", num_prefix_tokens=0):
        torch.testing.assert_close(torch.compile(vit, backend="eager")(x), vit(x))


@pytest.mark.parametrize("build", [ToyViT, SequentialViT])
@pytest.mark.parametrize("record", [False, True])
def test_off_is_traced_as_the_unpatched_model_is(build, record):
    vit, x = build(depth=3).eval(), torch.randn(1, 20, 32)
    with torch.no_grad(), patch(vit, "off", num_prefix_tokens=0, record=record):
        assert torch.equal(LeafTracer().trace_with(vit)(x), vit(x))


class LeafTracer(torch.fx.Tracer):
    """As feature extractors trace: blocks are leaves."""

    def is_leaf_module(self, module, name):
        return isinstance(module, ToyBlock)

    def trace_with(self, model):
        return torch.fx.GraphModule(model, self.trace(model))
