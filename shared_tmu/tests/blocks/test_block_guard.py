"""Blocks of a patched ViT that somebody reaches past their list, and what torch.fx makes of them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.fx
from torch import nn
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
    with torch.no_grad(), patch(vit, "6x3", num_prefix_tokens=0):
        vit.blocks[1] = ToyBlock().eval()
        vit(x)
        for model in (vit, copy.deepcopy(vit), pickle.loads(pickle.dumps(vit))):
            with pytest.raises(PatchError, match="block 1 of a ViT that merges"):
                model.get_submodule("blocks.1")(x)
        alone = copy.deepcopy(vit.get_submodule("blocks.1"))  # no part of the ViT
        assert torch.equal(alone(x), vit.get_submodule("blocks.1").forward(x))


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
