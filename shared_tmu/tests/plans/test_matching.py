"""Matching in parts: the same result, and never more similarities at once than allowed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from largest import Largest
from toy_vit import ToyBlock

from shared_tmu import plan_merge, run_trunk
from shared_tmu.plans import matching
from shared_tmu.plans.matching import halves, match_similar

LIMITS = [1, 300, 1000, 3000]


def match_at_once(metric, prefix):
    """Every similarity of every image in one tensor."""
    sources, targets = halves(F.normalize(metric, dim=-1), prefix)
    return (sources @ targets.transpose(1, 2)).max(dim=-1)


@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 160), st.sampled_from([0, 1, 2, 18]))
def test_in_parts_as_at_once(seed, batch, patches, prefix):
    draws = torch.Generator().manual_seed(seed)
    metric = torch.randint(-1, 2, (batch, prefix + patches, 3), generator=draws).float()  # ties everywhere
    metric += torch.randint(0, 2, (batch, 1, 1), generator=draws) * torch.rand(metric.shape, generator=draws)
    want = match_at_once(metric, prefix)
    for limit in LIMITS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(matching, "MAX_SCORES", limit)
            similarity, target = match_similar(metric, prefix)
        assert torch.equal(similarity, want.values)
        assert torch.equal(target, want.indices)


@pytest.mark.parametrize("patches", [0, 1, 2])
def test_few_tokens_in_parts(monkeypatch, patches):
    monkeypatch.setattr(matching, "MAX_SCORES", 1)
    plan = plan_merge(torch.randn(3, 4 + patches, 5), 1, 4).check()
    assert plan.num_slots == 4 + patches - patches // 2


@pytest.mark.parametrize("copies", [1, 64])
def test_4096_tokens(copies):
    """As at once, ties included, with a quarter of the similarities of one image held at a time."""
    metric = torch.randn(2, 4096 // copies, 16).repeat_interleave(copies, dim=1)
    want = match_at_once(metric, 0)
    with Largest() as largest:
        similarity, target = match_similar(metric)
    assert torch.equal(similarity, want.values)
    assert torch.equal(target, want.indices)
    assert largest.num_bytes <= 4 * matching.MAX_SCORES == 4 * 2048 * 2048 // 4


@torch.no_grad()
def test_a_trunk_of_4096_tokens_holds_nothing_quadratic(monkeypatch):
    blocks = [ToyBlock(width=16, heads=2, hidden=32).eval() for _ in range(2)]
    x = torch.randn(1, 4096, 16)
    with Largest() as largest:
        _, plan = run_trunk(blocks, x, "1000x2")
    assert plan.num_slots == 2096
    assert largest.num_bytes <= 4 * matching.MAX_SCORES
    monkeypatch.setattr(matching, "MAX_SCORES", 2**40)
    with Largest() as at_once:
        _, again = run_trunk(blocks, x, "1000x2")
    assert torch.equal(plan.source_map, again.source_map)
    assert at_once.num_bytes == 4 * 2048 * 2048
