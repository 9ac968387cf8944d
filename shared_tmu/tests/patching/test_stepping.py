"""Blocks of a patched ViT, run one by one by somebody else's code."""

from __future__ import annotations

import pytest
import torch
from stepping import by_loop
from torch.utils.checkpoint import checkpoint
from toy_vit import SequentialViT, ToyViT

from shared_tmu import patch, run_trunk

SCHEDULES = ["6x3", "0x1+6x1", "3"]


def by_index(blocks, x):
    out = []
    for number in range(len(blocks)):
        x = blocks[number](x)
        out.append(x)
    return out


def by_slice(blocks, x):
    return by_loop(blocks[: len(blocks) - 1], x)


def by_children(blocks, x):
    return by_loop(blocks.children(), x)


def by_two_slices(blocks, x):
    first = by_loop(blocks[:2], x)
    return first + by_loop(blocks[2:], first[-1])


def by_hand(blocks, x):
    """As published code runs them in chunks, each under a checkpoint."""
    steps, out = list(blocks), []
    for block in steps:
        x = checkpoint(block, x, use_reentrant=False)
        out.append(x)
    return out


WAYS = pytest.mark.parametrize("way", [by_loop, by_index, by_slice, by_children, by_two_slices, by_hand])


@WAYS
@pytest.mark.parametrize("build", [ToyViT, SequentialViT])
def test_off_gives_the_blocks_themselves(way, build):
    vit, x = build().eval(), torch.randn(2, 40, 32)
    container, want = vit.blocks, way(vit.blocks, x)
    with patch(vit, "off", num_prefix_tokens=0):
        assert all(a is b for a, b in zip(vit.blocks, container, strict=True))
        assert all(a is b for a, b in zip(vit.blocks.children(), container, strict=True))
        assert vit.blocks[-1] is container[-1]
        assert all(a is b for a, b in zip(vit.blocks[1:3], container[1:3], strict=True))
        assert all(map(torch.equal, way(vit.blocks, x), want))


@WAYS
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("options", [{}, {"protect": "last"}, {"proportional": False}], ids=str)
def test_every_way_of_running_gives_full_maps_of_the_same_trunk(way, schedule, options):
    """After k blocks every token has what the trunk cut there gives it, whoever runs it."""
    vit, x = ToyViT(depth=4).eval(), torch.randn(2, 40, 32)
    blocks = list(vit.blocks)
    asked = {"6x3": [6, 6, 6, 0], "0x1+6x1": [0, 6, 0, 0], "3": [3, 3, 3, 3]}[schedule]
    with patch(vit, schedule, num_prefix_tokens=5, **options):
        assert len(vit.blocks) == 4
        maps = way(vit.blocks, x)
    for k, got in enumerate(maps, 1):
        want, _ = run_trunk(blocks[:k], x, asked[:k], num_prefix_tokens=5, **options)
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_merge_only_ends_in_the_short_sequence():
    vit, x = ToyViT(depth=4).eval(), torch.randn(2, 40, 32)
    with patch(vit, "6x3", num_prefix_tokens=0, unmerge=False):
        assert [y.shape[1] for y in by_loop(vit.blocks, x)] == [40, 40, 40, 22]
        assert vit.blocks(x).shape[1] == 22
    with patch(vit, "6x3", num_prefix_tokens=0, unmerge="sparse"):
        empty = [int((y == 0).all(-1).sum(1)[0]) for y in by_loop(vit.blocks, x)]
        assert empty == [0, 0, 0, 18]


def test_tokens_may_be_changed_between_blocks():
    """A prompt that is added reaches every slot by its mean; adding nothing changes nothing."""
    vit, x = ToyViT(depth=4).eval(), torch.randn(2, 40, 32)
    with patch(vit, "6x3", num_prefix_tokens=0):
        want = by_loop(vit.blocks, x)[-1]
        for nothing in (torch.zeros(1, 40, 32), torch.zeros(1, 1, 32)):
            y = x
            for block in vit.blocks:
                y = block(y + nothing)
            torch.testing.assert_close(y, want)
        y = x
        for number, block in enumerate(vit.blocks):
            y = block(y)
            y.add_(float(number))  # in place: the same tensor, other values
        prompts, z, whole = torch.arange(4.0), x, x
        for number, block in enumerate(vit.blocks):
            z = block(z) + prompts[number]
        torch.testing.assert_close(y, z)
        with torch.inference_mode():
            for number, block in enumerate(vit.blocks):
                whole = block(whole)
                whole += float(number)
        torch.testing.assert_close(whole, z)
