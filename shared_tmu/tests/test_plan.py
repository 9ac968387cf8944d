"""Merge plans: what they check, and composition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared_tmu import MergePlan, merge, plan_merge, unmerge
from shared_tmu.errors import PlanError
from shared_tmu.methods import find_method


@st.composite
def chains(draw):
    """A batch of metrics and removals for a few layers."""
    batch, tokens, prefix = draw(st.integers(1, 3)), draw(st.integers(1, 30)), draw(st.integers(0, 6))
    removals = draw(st.lists(st.integers(0, 12), min_size=1, max_size=4))
    return batch, tokens + prefix, prefix, removals, draw(st.integers(0, 10**6))


@given(chains(), st.sampled_from(["tome", "random"]))
def test_composed_plan_equals_steps(chain, method):
    batch, tokens, prefix, removals, seed = chain
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, tokens, 5, generator=draws, dtype=torch.float64)
    whole, size, y = MergePlan.identity(batch, tokens), None, x
    for r in removals:
        step = plan_merge(torch.randn(batch, y.shape[1], 4, generator=draws), r, prefix, method).check()
        y, size = merge(y, step, size)
        whole = whole.then(step).check()
    assert whole.num_slots == y.shape[1]
    torch.testing.assert_close(merge(x, whole)[0], y)
    assert torch.equal(size, whole.sizes().to(size))
    assert torch.equal(size.sum(1), torch.full((batch,), float(tokens), dtype=size.dtype))
    assert torch.equal(whole.source_map[:, :prefix], torch.arange(prefix).expand(batch, -1))
    assert whole.sizes()[:, :prefix].eq(1).all()
    full = unmerge(y, whole)
    for image, slots in enumerate(whole.source_map.tolist()):
        assert all(torch.equal(full[image, n], y[image, slot]) for n, slot in enumerate(slots))


def test_then_is_associative_and_identity_is_neutral():
    a = plan_merge(torch.randn(2, 20, 4), 6)
    b = plan_merge(torch.randn(2, 14, 4), 4)
    c = plan_merge(torch.randn(2, 10, 4), 3)
    assert torch.equal(a.then(b).then(c).source_map, a.then(b.then(c)).source_map)
    assert torch.equal(MergePlan.identity(2, 20).then(a).source_map, a.source_map)
    assert torch.equal(a.then(MergePlan.identity(2, 14)).source_map, a.source_map)


def test_plans_that_do_not_fit_are_refused():
    a = plan_merge(torch.randn(2, 20, 4), 6)
    with pytest.raises(PlanError, match="made for 20 tokens of 2 images, the first one"):
        a.then(a)
    with pytest.raises(PlanError, match="the first one leaves 14 of 2"):
        a.then(MergePlan.identity(3, 14))
    for x in (torch.randn(2, 19, 4), torch.randn(3, 20, 4)):
        with pytest.raises(PlanError, match=r"fits tensors \[2, 20, ...\], this one is \["):
            merge(x, a)
        with pytest.raises(PlanError, match=r"fits tensors \[2, 14, ...\]"):
            unmerge(x, a)
    with pytest.raises(PlanError, match="sizes are"):
        merge(torch.randn(2, 20, 4), a, torch.ones(2, 20, 1))
    for operation in (merge, unmerge):
        with pytest.raises(PlanError, match="takes tokens"):
            operation(torch.randn(2, 20), a)


@pytest.mark.parametrize(
    ("source_map", "slots", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), 1, r"\[B, N\] int64, not \[3\]"),
        (torch.zeros(1, 3, dtype=torch.int32), 1, "not .* torch.int32"),
        (torch.zeros(1, 3), 1, "not .* torch.float32"),
        (torch.tensor([[0, 1, 2]]), 2, r"names slots 0..2, this plan has 0..1"),
        (torch.tensor([[0, -1, 1]]), 2, r"names slots -1..1"),
        (torch.tensor([[0, 0, 2], [0, 1, 2]]), 3, "slot 1 of image 0 carries no token"),
    ],
)
def test_bad_maps_are_refused(source_map, slots, message):
    with pytest.raises(PlanError, match=message):
        MergePlan(source_map, slots)


def test_flat_map_walks_through_the_images():
    plan = MergePlan(torch.tensor([[0, 1, 1], [1, 0, 1]]), 2)
    assert plan.flat_map().tolist() == [0, 1, 1, 3, 2, 3]
    assert plan.sizes().tolist() == [[1, 2], [1, 2]]


def test_planning_refuses_what_it_cannot_do():
    with pytest.raises(PlanError, match="a metric is"):
        plan_merge(torch.randn(20, 4), 2)
    with pytest.raises(PlanError, match="30 prefix tokens of 20 tokens"):
        plan_merge(torch.randn(1, 20, 4), 2, 30)
    with pytest.raises(ValueError, match=r"r = -2 is negative"):
        plan_merge(torch.randn(1, 20, 4), -2)
    with pytest.raises(ValueError, match="no method 'tom': use one of tome, random"):
        plan_merge(torch.randn(1, 20, 4), 2, method="tom")
    assert find_method("tome").paper == "arXiv:2210.09461"
