"""Merging and unmerging against the loops, over shapes and dtypes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from largest import Largest
from torch.autograd import gradcheck

from shared_tmu import MergePlan, merge, plan_merge, unmerge
from shared_tmu.dtypes import sum_dtype
from shared_tmu.plans.reference import merge_loops, unmerge_loops

pytestmark = pytest.mark.usefixtures("poisoned_memory")

SHAPES = [
    pytest.param(1, 1, 1, 0, id="one-token"),
    pytest.param(1, 7, 3, 3, id="odd-tokens"),
    pytest.param(2, 192, 8, 96, id="half-of-a-grid"),
    pytest.param(3, 33, 5, 1, id="remove-one"),
    pytest.param(2, 50, 16, 0, id="identity"),
    pytest.param(0, 10, 4, 2, id="no-images"),
]


@pytest.mark.parametrize(("batch", "tokens", "channels", "r"), SHAPES)
def test_equals_the_loops(batch, tokens, channels, r, dtype, tolerance, device):
    if batch == 0:
        plan = plan_merge(torch.randn(0, tokens, 4, device=device), r)
        merged, size = merge(torch.randn(0, tokens, channels, dtype=dtype, device=device), plan)
        assert (merged.shape, size.shape) == ((0, tokens - r, channels), (0, tokens - r))
        assert unmerge(merged, plan).shape == (0, tokens, channels)
        return
    x = torch.randn(batch, tokens, channels, dtype=dtype, device=device)
    size = torch.randint(1, 9, (batch, tokens), device=device).to(sum_dtype(x))
    plan = plan_merge(torch.randn(batch, tokens, 4, device=device), r)
    merged, size_out = merge(x, plan, size)
    want, want_size = merge_loops(x, plan, size)
    torch.testing.assert_close(merged, want, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(size_out, want_size, atol=0, rtol=0)
    assert merged.dtype == dtype
    assert torch.equal(unmerge(merged, plan), unmerge_loops(merged, plan))


def test_sums_are_taken_in_float32():
    x = torch.tensor([[[2048.0]] + [[1.0]] * 64], dtype=torch.float16).reshape(1, 65, 1)
    plan = MergePlan(torch.zeros(1, 65, dtype=torch.int64), 1)
    merged, size = merge(x, plan)  # in float16, 2048 + 1 = 2048
    assert merged.dtype == torch.float16
    assert merged.item() == pytest.approx(2112 / 65, rel=1e-3)
    assert size.dtype == torch.float32
    large, _ = merge(torch.full((1, 65, 1), 60000.0, dtype=torch.float16), plan)  # the sum overflows float16
    assert large.item() == pytest.approx(60000, rel=1e-3)


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(0, 20))
def test_merging_properties(seed, tokens, r):
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(2, tokens, 3, generator=draws)
    size = torch.randint(1, 5, (2, tokens), generator=draws).float()
    plan = plan_merge(torch.randn(2, tokens, 4, generator=draws), r)
    merged, size_out = merge(x, plan, size)
    assert torch.equal(size_out.sum(1), size.sum(1))
    lone = plan.sizes().gather(1, plan.source_map) == 1
    restored = unmerge(merged, plan)
    assert torch.equal(restored[lone], x[lone])  # tokens that did not merge come back bit for bit
    again, _ = merge(restored, plan, size)
    torch.testing.assert_close(again, merged)  # merging after unmerging changes nothing
    mean = (x * size.unsqueeze(-1)).sum(1)
    torch.testing.assert_close((merged * size_out.unsqueeze(-1)).sum(1), mean, atol=1e-4, rtol=1e-4)


def test_sizes_default_to_ones():
    x, plan = torch.randn(2, 20, 4), plan_merge(torch.randn(2, 20, 4), 6)
    for a, b in zip(merge(x, plan), merge(x, plan, torch.ones(2, 20)), strict=True):
        assert torch.equal(a, b)


def test_gradients():
    plan = plan_merge(torch.randn(2, 9, 4), 3, num_prefix_tokens=2)
    x = torch.randn(2, 9, 3, dtype=torch.float64, requires_grad=True)
    size = (torch.rand(2, 9, dtype=torch.float64) + 1).requires_grad_()
    assert gradcheck(lambda x, size: merge(x, plan, size), (x, size))
    assert gradcheck(lambda x: unmerge(merge(x, plan)[0], plan), (x,))


@st.composite
def any_plans(draw):
    """Plans that no method makes: any number of tokens in any slot, in any order, differently per image."""
    batch, slots, extra = draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(0, 12))
    draws = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    rows = [
        torch.cat([torch.arange(slots), torch.randint(0, slots, (extra,), generator=draws)])[
            torch.randperm(slots + extra, generator=draws)
        ]
        for _ in range(batch)
    ]
    return MergePlan(torch.stack(rows), slots), draws


@given(any_plans(), st.sampled_from([(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)]))
def test_any_plan_equals_the_loops(case, precision):
    (plan, draws), (dtype, tolerance) = case, precision
    x = torch.randn(plan.batch_size, plan.num_tokens, 5, generator=draws).to(dtype)
    size = torch.randint(1, 9, x.shape[:2], generator=draws).float()
    for got, want in zip(merge(x, plan, size), merge_loops(x, plan, size), strict=True):
        torch.testing.assert_close(got.double(), want.double(), atol=tolerance, rtol=tolerance)


@given(any_plans())
def test_moves_name_every_token_once_and_give_the_map_back(case):
    plan, _ = case
    moves = plan.moves()
    again = MergePlan.from_moves(moves, plan.batch_size, plan.num_tokens, plan.num_slots)
    assert torch.equal(again.source_map, plan.source_map)
    named = torch.cat([moves.leaders, moves.others]).sort().values
    assert torch.equal(named, torch.arange(plan.batch_size * plan.num_tokens))
    assert torch.equal(plan.flat_map()[moves.leaders], torch.arange(plan.batch_size * plan.num_slots))
    assert torch.equal(plan.flat_map()[moves.others], moves.slots)


@pytest.mark.parametrize("method", ["tome", "random"])
@pytest.mark.parametrize("prefix", [0, 1, 2, 3, 18])
def test_plans_merge_as_their_maps_do(method, prefix):
    plan = plan_merge(torch.randn(2, prefix + 21, 4), 7, prefix, method)
    x, size = torch.randn(2, prefix + 21, 6), torch.randint(1, 5, (2, prefix + 21)).float()
    want = merge(x, MergePlan(plan.source_map, plan.num_slots), size)
    for a, b in zip(merge(x, plan, size), want, strict=True):
        torch.testing.assert_close(a, b)


def test_equal_tokens_merge_without_rounding(dtype):
    x = torch.randn(2, 1, 7).to(dtype).expand(2, 40, 7)
    merged, _ = merge(x, plan_merge(torch.randn(2, 40, 4), 15), torch.randint(1, 9, (2, 40)).float())
    assert torch.equal(merged, x[:, :25])


def test_only_what_merges_is_computed(dtype):
    """No tensor larger than the tokens themselves, and none of that size in the wider dtype of the sums."""
    x, plan = torch.randn(2, 96, 64).to(dtype), plan_merge(torch.randn(2, 96, 4), 5)
    with Largest() as largest:
        merge(x, plan)
    assert largest.num_bytes == x.numel() * x.element_size()


@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16])
def test_gradients_in_half_precision_equal_those_of_float64(low):
    plan = MergePlan(torch.tensor([[0, 1, 1, 1, 2, 1], [2, 0, 1, 0, 0, 2]]), 3)  # several join one slot
    size, pull = torch.tensor([[1.0, 2, 3, 1, 1, 4], [1, 1, 2, 2, 1, 3]]), torch.randn(2, 3, 4)
    grads = []
    for dtype in (low, torch.float64):
        x = torch.linspace(-2, 2, 48).view(2, 6, 4).to(low).to(dtype).requires_grad_()
        (merge(x, plan, size)[0] * pull.to(dtype)).sum().backward()
        grads.append(x.grad.double())
    torch.testing.assert_close(*grads, atol=2e-2, rtol=2e-2)


def test_inputs_are_left_alone():
    x, size, plan = torch.randn(2, 20, 4), torch.ones(2, 20), plan_merge(torch.randn(2, 20, 4), 6)
    before = [t.clone() for t in (x, size, plan.source_map)]
    merged, _ = merge(x, plan, size)
    unmerge(merged, plan)
    assert all(torch.equal(a, b) for a, b in zip(before, (x, size, plan.source_map), strict=True))
