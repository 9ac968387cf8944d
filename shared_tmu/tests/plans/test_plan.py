"""Merge plans: what they check, and composition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared_tmu import MergePlan, merge, plan_merge, unmerge
from shared_tmu.errors import PlanError
from shared_tmu.method_parts.controls import unmerge_sparse
from shared_tmu.methods import find_method
from shared_tmu.plans.reference import merge_loops, unmerge_loops


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
    with pytest.raises(PlanError, match="made for 20 tokens of 2 images, but the first one"):
        a.then(a)
    with pytest.raises(PlanError, match="the first one leaves 14 tokens of 2"):
        a.then(MergePlan.identity(3, 14))
    for x in (torch.randn(2, 19, 4), torch.randn(3, 20, 4)):
        with pytest.raises(PlanError, match=r"needs tensors \[2, 20, ...\], but this one is \["):
            merge(x, a)
        with pytest.raises(PlanError, match=r"needs tensors \[2, 14, ...\]"):
            unmerge(x, a)
    with pytest.raises(PlanError, match="sizes must be"):
        merge(torch.randn(2, 20, 4), a, torch.ones(2, 20, 1))
    for operation in (merge, unmerge):
        with pytest.raises(PlanError, match="needs tokens"):
            operation(torch.randn(2, 20), a)


@pytest.mark.parametrize(
    ("source_map", "slots", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), 1, r"\[B, N\] int64, not \[3\]"),
        (torch.zeros(1, 3, dtype=torch.int32), 1, "not .* torch.int32"),
        (torch.zeros(1, 3), 1, "not .* torch.float32"),
        (torch.tensor([[0, 1, 2]]), 2, r"names slots 0..2, but this plan has slots 0..1"),
        (
            torch.tensor([[0, -1, 1]]),
            2,
            r"names slots -1..1, but this plan has slots 0..1\. To prune a token, give",
        ),
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
    with pytest.raises(PlanError, match="a metric must be"):
        plan_merge(torch.randn(20, 4), 2)
    with pytest.raises(PlanError, match="30 prefix tokens of 20 tokens"):
        plan_merge(torch.randn(1, 20, 4), 2, 30)
    with pytest.raises(ValueError, match=r"r = -2 is negative"):
        plan_merge(torch.randn(1, 20, 4), -2)
    with pytest.raises(ValueError, match=r"no method 'tom' \(did you mean 'tome'\?\): use one of tome"):
        plan_merge(torch.randn(1, 20, 4), 2, method="tom")
    assert find_method("tome").paper == "arXiv:2210.09461"


@st.composite
def plans_with_gaps(draw, batch=None, tokens=None):
    """Plans that prune and are padded, differently in every image, with nonsense nowhere."""
    batch = draw(st.integers(1, 3)) if batch is None else batch
    tokens = draw(st.integers(1, 12)) if tokens is None else tokens
    draws = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    slots = draw(st.integers(1, tokens))
    source, copies = [], []
    for _ in range(batch):
        used = int(torch.randint(1, slots + 1, (1,), generator=draws))
        rest = torch.randint(-1, used, (tokens - used,), generator=draws)
        row = torch.cat([torch.arange(used), rest])[torch.randperm(tokens, generator=draws)]
        source.append(row)
        copies.append(torch.where(row < 0, torch.randint(0, used, (tokens,), generator=draws), row))
    return MergePlan(torch.stack(source), slots, copy_map=torch.stack(copies), is_padded=True), draws


@given(
    plans_with_gaps(),
    st.sampled_from([(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)]),
)
def test_pruned_and_padded_plans_equal_the_loops(case, precision):
    (plan, draws), (dtype, tolerance) = case, precision
    x = torch.randn(plan.batch_size, plan.num_tokens, 5, generator=draws).to(dtype)
    size = torch.randint(1, 9, x.shape[:2], generator=draws).float()
    merged, size_out = merge(x, plan, size)
    for got, want in zip((merged, size_out), merge_loops(x, plan, size), strict=True):
        torch.testing.assert_close(got.double(), want.double(), atol=tolerance, rtol=tolerance)
    assert torch.equal(merge(x, plan)[1], plan.sizes().to(size_out))
    full = unmerge(merged, plan)
    assert torch.equal(full, unmerge_loops(merged, plan))
    lone = (plan.sizes().gather(1, plan.copy_map) == 1) & (plan.source_map >= 0)
    assert torch.equal(full[lone], x[lone])  # bit for bit
    sparse = unmerge_sparse(merged, plan)
    assert sparse[plan.source_map < 0].eq(0).all()
    assert int((sparse != 0).any(2).sum()) == int((plan.sizes() > 0).sum())


@given(st.data())
def test_composition_of_plans_with_gaps(data):
    first, draws = data.draw(plans_with_gaps())
    second, _ = data.draw(plans_with_gaps(first.batch_size, first.num_slots))
    # tokens that are padding are carried by nobody, and nobody copies them
    is_token = first.sizes() > 0
    source = second.source_map.where(is_token, torch.full_like(second.source_map, -1))
    used = torch.zeros(second.sizes().shape, dtype=torch.int64).scatter_add_(
        1, source.clamp_min(0), (source >= 0).long()
    )
    if not (used > 0).any(1).all():
        return
    order = (used == 0).to(torch.uint8).argsort(dim=1, stable=True)  # full slots first
    number = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1]).expand_as(order))
    source = number.gather(1, source.clamp_min(0)).where(source >= 0, -1)
    second = MergePlan(source, second.num_slots, copy_map=source.clamp_min(0), is_padded=True)
    whole = first.then(second).check()
    x = torch.randn(first.batch_size, first.num_tokens, 3, generator=draws, dtype=torch.float64)
    y, size = merge(x, first)
    z, size = merge(y, second, size)
    torch.testing.assert_close(merge(x, whole)[0], z)
    assert torch.equal(size, whole.sizes().to(size))
    assert torch.equal(unmerge(z, whole), unmerge(unmerge(z, second), first))


def test_a_pruned_token_never_receives_another_images_row():
    plan = MergePlan(torch.tensor([[0, -1], [-1, 0]]), 1, copy_map=torch.zeros(2, 2, dtype=torch.int64))
    x = torch.arange(4.0).view(2, 2, 1)
    out, size = merge(x, plan)
    assert out.flatten().tolist() == [0.0, 3.0]
    assert size.flatten().tolist() == [1.0, 1.0]
    assert unmerge(out, plan).flatten().tolist() == [0.0, 0.0, 3.0, 3.0]


def test_gradients_through_plans_with_gaps():
    source = torch.tensor([[0, 1, 1, -1, 2], [0, -1, -1, 1, 0]])
    plan = MergePlan(source, 3, copy_map=source.clamp_min(0), is_padded=True)
    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    size = (torch.rand(2, 5, dtype=torch.float64) + 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, size: merge(x, plan, size), (x, size))
    assert torch.autograd.gradcheck(lambda x: unmerge(merge(x, plan)[0], plan), (x,))


@pytest.mark.parametrize(
    ("source", "copies", "padded", "message"),
    [
        ([[0, -1, 1]], [[0, -1, 1]], False, r"copy map names slots -1..1, but this plan has slots 0..1"),
        ([[0, -1, 1]], [[0, 2, 1]], False, r"copy map names slots 0..2"),
        ([[0, -2, 1]], [[0, 1, 1]], False, r"names slots -2..1"),
        ([[0, -1, 1]], [[1, 1, 1]], False, "token 0 of image 0 is in one slot but copies another"),
        ([[0, 0, 0], [0, 1, 1]], None, False, "slot 1 of image 0 carries no token"),
        ([[1, 1, 1], [0, 1, 1]], None, True, "slot 0 of image 0 carries no token"),
        ([[0, -1, 0], [0, 1, 1]], [[0, 1, 0], [0, 1, 1]], True, "names a slot that is padding"),
    ],
)
def test_bad_plans_with_gaps_are_refused(source, copies, padded, message):
    copies = None if copies is None else torch.tensor(copies)
    with pytest.raises(PlanError, match=message):
        MergePlan(torch.tensor(source), 2, copy_map=copies, is_padded=padded)


def test_maps_that_do_not_fit_each_other_are_refused():
    with pytest.raises(PlanError, match=r"the source map is \[1, 3\], but the copy map is \[1, 2\]"):
        MergePlan(torch.zeros(1, 3).long(), 1, copy_map=torch.zeros(1, 2).long())
    with pytest.raises(PlanError, match="has no moves"):
        MergePlan(torch.tensor([[0, -1]]), 1, copy_map=torch.tensor([[0, 0]])).moves()
