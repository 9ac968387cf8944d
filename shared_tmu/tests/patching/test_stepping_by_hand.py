"""Blocks called one by one, as their owner likes."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from stepping import by_loop
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.utils.checkpoint import checkpoint
from toy_vit import SequentialViT, ToyBlock, ToyViT

from shared_tmu import patch
from shared_tmu.errors import PatchError
from shared_tmu.patching.stepping import BlockStep


def test_a_step_is_its_block_in_all_but_the_call():
    vit = ToyViT(depth=4)
    with patch(vit, "6x3", num_prefix_tokens=0):
        for number, block in enumerate(vit.blocks):
            assert isinstance(block, ToyBlock)
            assert type(block) is BlockStep
            block.note = number
            if number < 2:
                block.requires_grad_(False)
        assert {block: number for number, block in enumerate(vit.blocks)}[vit.blocks[2]] == 2
        twin = copy.deepcopy(vit.blocks[1])
        assert type(twin) is ToyBlock
        assert type(pickle.loads(pickle.dumps(vit.blocks[1]))) is ToyBlock
    assert [block.note for block in vit.blocks] == [0, 1, 2, 3]
    wants = [all(p.requires_grad for p in block.parameters()) for block in vit.blocks]
    assert wants == [False, False, True, True]


def test_a_block_alone_that_cannot_know_what_came_before_is_refused():
    vit, x = ToyViT(depth=4).eval(), torch.randn(2, 40, 32)
    with patch(vit, "0x1+6x2", num_prefix_tokens=0):
        vit.blocks[1](x)  # nothing merges before it
        with pytest.raises(PatchError, match="block 2 was given tokens for which it is unknown"):
            vit.blocks[2](x)
        with pytest.raises(PatchError, match="block 3 was given tokens"):
            by_loop(vit.blocks[3:], x)


def test_sequences_side_by_side_do_not_mix():
    vit = ToyViT(depth=4).eval()
    a, b = torch.randn(2, 40, 32), torch.randn(2, 40, 32)
    with patch(vit, "6x3", num_prefix_tokens=0):
        want = [by_loop(vit.blocks, x)[-1] for x in (a, b)]
        x, y = a, b
        for block in vit.blocks:
            x, y = block(x), block(y)
        assert torch.equal(x, want[0])
        assert torch.equal(y, want[1])
        first, second, *_ = vit.blocks
        x, y = first(a), first(b)
        with pytest.raises(PatchError, match="several sequences run through this ViT at the same time"):
            second(x + 1)
        left = iter(vit.blocks)
        next(left)(b)  # a run that nobody goes on with
        for outer, inner in zip(vit.blocks, vit.blocks, strict=True):
            a, b = outer(a + 0), inner(b + 0)
        torch.testing.assert_close(a, want[0])
        torch.testing.assert_close(b, want[1])


def test_a_list_of_steps_may_be_kept():
    vit = ToyViT(depth=4).eval()
    plain = list(vit.blocks)
    inputs = [torch.randn(2, 40, 32) for _ in range(3)]
    handle = patch(vit, "6x3", num_prefix_tokens=0)
    steps = list(vit.blocks)
    want = [vit.blocks(x) for x in inputs]
    wrong = []

    def work(i):
        for _ in range(5):
            x = inputs[i]
            for step in steps:
                x = step(x + 0)
            if not torch.allclose(x, want[i], atol=1e-5):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    handle.schedule = "off"
    assert torch.equal(by_loop(steps, inputs[0])[-1], by_loop(plain, inputs[0])[-1])
    handle.schedule = "6x3"
    handle.remove()
    assert torch.equal(by_loop(steps, inputs[0])[-1], by_loop(plain, inputs[0])[-1])


def gradients(vit, x, run):
    vit.zero_grad()
    x = x.clone().requires_grad_()
    y = run(x)
    y.square().sum().backward()
    return parameters_to_vector([x.grad, *(p.grad for p in vit.blocks.parameters())])


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("which", [{0, 1, 2, 3}, {1, 2}, {0, 3}], ids=str)
@pytest.mark.parametrize("kept", [True, False])
def test_checkpoints_of_single_blocks(reentrant, which, kept):
    vit, x = ToyViT(depth=4).double(), torch.randn(2, 40, 32).double()
    prompt = torch.randn(4, 1, 40, 32).double()

    def run(x, use):
        blocks = list(vit.blocks) if kept else (vit.blocks[i] for i in range(4))
        for number, block in enumerate(blocks):
            x = x + prompt[number] if kept else x
            x = checkpoint(block, x, use_reentrant=reentrant) if number in use else block(x)
        return x

    with patch(vit, "6x3", num_prefix_tokens=0):
        want = gradients(vit, x, lambda x: run(x, set()))
        torch.testing.assert_close(gradients(vit, x, lambda x: run(x, which)), want)
        if kept:
            return
        torch.testing.assert_close(gradients(vit, x, vit.blocks), want)


@pytest.mark.parametrize("schedule", ["off", "6x3"])
def test_recording_by_single_steps(schedule):
    vit, x = ToyViT(depth=4).eval(), torch.randn(2, 40, 32)
    with patch(vit, schedule, num_prefix_tokens=0, record=True) as handle:
        vit.blocks(x)
        want = handle.plan.source_map
        next(iter(vit.blocks))(x)
        by_loop(vit.blocks, x)
        assert torch.equal(handle.plan.source_map, want)


def test_blocks_are_neither_added_nor_removed_while_patched():
    vit = ToyViT(depth=4)
    with patch(vit, "6x3", num_prefix_tokens=0):
        vit.blocks.append(ToyBlock())
        with pytest.raises(PatchError, match="patched with 4 blocks and has 5 now"):
            vit(torch.randn(1, 20, 32))


@pytest.mark.parametrize("build", [ToyViT, SequentialViT])
def test_what_cannot_be_traced_is_said(build):
    vit, x = build(depth=2).eval(), torch.randn(2, 3, 20, 32)
    with patch(vit, "3x2", num_prefix_tokens=0) as handle:
        if build is SequentialViT:
            with pytest.raises(PatchError, match="create_feature_extractor, symbolic_trace"):
                torch.fx.symbolic_trace(vit)
        with pytest.raises(PatchError, match=r"torch\.vmap cannot map over a ViT that merges"):
            torch.vmap(vit)(x)
        handle.schedule = "off"
        torch.testing.assert_close(torch.vmap(vit)(x)[0], vit(x[0]))


class Chunk(nn.ModuleList):
    def forward(self, x):
        for block in self:
            x = block(x)
        return x


class ChunkedViT(ToyViT):
    """As DINOv2's: chunks of blocks, each filled up in front with what numbers it through."""

    def __init__(self):
        super().__init__(depth=4)
        first, last = list(self.blocks)[:2], list(self.blocks)[2:]
        self.blocks = nn.ModuleList([Chunk(first), Chunk([nn.Identity(), nn.Identity(), *last])])

    def layers(self, x):
        out, number = [], 0
        for chunk in self.blocks:
            for block in chunk[number:]:
                x = block(x)
                out.append(x)
                number += 1
        return out

    def forward(self, x):
        for chunk in self.blocks:
            x = chunk(x)
        return self.last_norm(x)


def test_a_trunk_in_chunks():
    vit, x = ChunkedViT().eval(), torch.randn(2, 40, 32)
    plain = ToyViT(depth=4).eval()
    plain.blocks = nn.ModuleList([*vit.blocks[0], *vit.blocks[1][2:]])
    plain.last_norm = vit.last_norm
    keys, want = list(vit.state_dict()), vit(x)
    with patch(plain, "6x3", num_prefix_tokens=0):
        merged, maps = plain(x), by_loop(plain.blocks, x)
    with patch(vit, "6x3", num_prefix_tokens=0, record=True) as handle:
        assert list(vit.state_dict()) == keys
        torch.testing.assert_close(vit(x), merged)
        assert handle.plan.num_slots == 22
        for got, layer in zip(vit.layers(x), maps, strict=True):
            torch.testing.assert_close(got, layer)
        twin = copy.deepcopy(vit)
        torch.testing.assert_close(twin(x), merged)
        handle.schedule = "off"
        assert torch.equal(vit(x), want)
    assert torch.equal(vit(x), want)
    assert type(vit.blocks[0]) is Chunk
