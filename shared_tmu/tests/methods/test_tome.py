"""ToMe against its loops and the published program."""

from __future__ import annotations

import pytest
import torch
from golden_trunk import assert_golden, read_golden
from hypothesis import given
from hypothesis import strategies as st

from shared_tmu import merge, plan_merge, unmerge
from shared_tmu.plans.matching import match_similar
from shared_tmu.plans.reference import match_loops


@given(st.integers(0, 10**6), st.integers(0, 25), st.integers(0, 14), st.sampled_from([0, 3, 4, 18]))
def test_tome_equals_the_loops(seed, patches, r, prefix):
    metric = torch.randn(
        2, prefix + patches, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    plan, want = plan_merge(metric, r, prefix), match_loops(metric, r, prefix)
    assert plan.num_slots == want.num_slots
    assert torch.equal(plan.source_map, want.source_map)


@given(st.integers(0, 10**6), st.integers(2, 25), st.integers(1, 9))
def test_ties_go_to_the_first(seed, patches, r):
    # few distinct values, exact in any precision: whole groups of equal similarities
    metric = torch.randint(0, 2, (2, patches, 2), generator=torch.Generator().manual_seed(seed)).double()
    metric = torch.where(metric.sum(-1, keepdim=True) == 2, torch.tensor([1.0, 0.0]).double(), metric)
    assert torch.equal(plan_merge(metric, r).source_map, match_loops(metric, r).source_map)


@pytest.mark.parametrize("prefix", [3, 4, 18, 80])
def test_task_tokens_are_as_if_they_were_not_there(prefix):
    metric = torch.randn(2, prefix + 41, 8)
    with_prefix = plan_merge(metric, 9, prefix).source_map[:, prefix:] - prefix
    assert torch.equal(with_prefix, plan_merge(metric[:, prefix:], 9).source_map)


def test_merged_tokens_are_the_most_similar():
    metric = torch.randn(1, 40, 8)
    similarity, target = match_similar(metric)
    plan = plan_merge(metric, 6)
    best = similarity[0].topk(6).indices
    for source in best.tolist():
        partner = 2 * int(target[0, source]) + 1
        assert plan.source_map[0, 2 * source] == plan.source_map[0, partner]


TENSORS, META = read_golden("matching/tome")


@pytest.mark.parametrize("name", [name for name, case in META["cases"].items() if case["kind"] == "single"])
def test_published_single_steps(name):
    case = META["cases"][name]
    want = {key.partition(".")[2]: value for key, value in TENSORS.items() if key.startswith(name + ".")}
    for metric, x in ((want["metric"], want["x"]), (want["metric"].double(), want["x"].double())):
        plan = plan_merge(metric, case["r"], case["class_token"] + case["distill_token"])
        merged, size = merge(x, plan, want["size"][..., 0] if "size" in want else None)
        assert torch.equal(plan.source_map, want["map"])
        assert_golden(merged, want["out_wavg"], 1e-5)
        assert_golden(size, want["size_out"][..., 0], 1e-6)
        assert_golden(unmerge(merged, plan), want["unmerged"], 1e-5)


@pytest.mark.parametrize("name", [name for name, case in META["cases"].items() if case["kind"] == "chain"])
def test_published_chains(name):
    case = META["cases"][name]
    x, size, whole = TENSORS[f"{name}.x"], None, None
    for step, r in enumerate(case["r"]):
        plan = plan_merge(TENSORS[f"{name}.metric{step}"], r, int(case["class_token"]))
        x, size = merge(x, plan, size)
        whole = plan if whole is None else whole.then(plan)
        assert torch.equal(whole.source_map, TENSORS[f"{name}.map{step + 1}"])
        assert_golden(x, TENSORS[f"{name}.x{step + 1}"])
        assert_golden(size, TENSORS[f"{name}.size{step + 1}"][..., 0])
    assert_golden(unmerge(x, whole), TENSORS[f"{name}.unmerged"])
