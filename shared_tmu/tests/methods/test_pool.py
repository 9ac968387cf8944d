"""Uniform pooling: neighbours, evenly, whatever they show."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared_tmu import run_trunk
from shared_tmu.method_parts.seen import Needs, Seen
from shared_tmu.methods.pool import fold, plan_pool


def seen_of(grid: tuple[int, int], prefix: int = 0, batch: int = 1, mask: torch.Tensor | None = None) -> Seen:
    seen = Seen(torch.randn(batch, prefix + grid[0] * grid[1], 4), num_prefix_tokens=prefix, grid=grid)
    seen.needs, seen.mask = Needs.SIZES, mask
    return seen


def test_a_quarter_is_squares():
    plan = plan_pool(seen_of((8, 12)), 72).plan.check()
    groups = plan.source_map.view(8, 12)
    want = groups[::2, ::2].repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(groups, want)
    assert plan.num_slots == 24


def test_pairs_are_neighbours_and_spread_evenly():
    groups = plan_pool(seen_of((16, 12)), 24).plan.check().source_map.view(16, 12)
    is_pair = groups[:, ::2] == groups[:, 1::2]  # [16, 6]
    assert is_pair.sum() == 24
    assert is_pair[:8].sum() in range(8, 17)
    assert is_pair.view(4, 4, 3, 2).sum((1, 3)).min() >= 1  # in every window of 4 x 4


@pytest.mark.parametrize("prefix", [0, 2])
def test_several_blocks_are_one(vit, prefix):
    x = torch.randn(2, prefix + 96, 32)
    options = {"method": "pool", "num_prefix_tokens": prefix, "grid": (12, 8)}
    _, steps = run_trunk(vit.blocks, x, [7, 40, 11, 9], **options)
    _, once = run_trunk(vit.blocks, x, [67], **options)
    assert torch.equal(steps.source_map, once.source_map)


@given(st.integers(1, 40), st.integers(0, 39), st.integers(0, 10))
def test_folding(count, merges, others):
    merges = min(merges, count - 1)
    position = torch.arange(count + others)[None]
    leader = fold(position, torch.tensor([[count]]), torch.tensor([[merges]]))[0, :count]
    assert leader.unique().numel() == count - merges
    assert (leader.diff() >= 0).all()  # groups are runs
    assert (leader <= position[0, :count]).all()
    if merges:
        fewer = fold(position, torch.tensor([[count]]), torch.tensor([[merges - 1]]))[0, :count]
        assert all(leader[fewer == group].unique().numel() == 1 for group in fewer.unique())


@given(st.integers(0, 999), st.integers(1, 22))
def test_protected_ones_join_last(seed, r):
    torch.manual_seed(seed)
    mask = torch.rand(2, 24) < torch.rand(2, 1)
    plan = plan_pool(seen_of((6, 4), batch=2, mask=mask), r).plan.check()
    sizes = plan.sizes().gather(1, plan.source_map)
    for image in range(2):
        free = int((~mask[image]).sum())
        touched = int((mask[image] & (sizes[image] > 1)).sum())
        assert touched <= max(r - max(free - 1, 0), 0) + (free == 0)
