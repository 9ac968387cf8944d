"""The same invariants for every row of METHODS; a new method is tested by being listed."""

from __future__ import annotations

import functools
import threading

import pytest
import torch
from golden_trunk import assert_golden, read_golden
from hypothesis import given
from hypothesis import strategies as st

from shared_tmu import METHODS, Method, merge, plan_merge, run_trunk, unmerge
from shared_tmu.errors import MethodError
from shared_tmu.matching import match_similar
from shared_tmu.methods import table
from shared_tmu.methods.random_pairs import plan_random_pairs
from shared_tmu.reference import match_loops

methods = pytest.mark.parametrize("method", METHODS)
prefixes = pytest.mark.parametrize("prefix", [0, 1, 2, 3, 5, 18, 80])


@methods
@prefixes
@pytest.mark.parametrize("patches", [0, 1, 2, 3, 7, 40])
@pytest.mark.usefixtures("poisoned_memory")
def test_invariants(method, prefix, patches, device):
    tokens = prefix + patches
    metric = torch.randn(3, tokens, 8, device=device)
    for r in (0, 1, patches // 4, patches // 2, patches + 50):
        plan = plan_merge(metric, r, prefix, method).check()  # slots exist, and each carries a token
        assert plan.num_slots == tokens - min(r, patches // 2)
        sizes = plan.sizes()
        # prefix tokens stay first, do not merge, and receive nothing
        assert torch.equal(plan.source_map[:, :prefix], torch.arange(prefix, device=device).expand(3, -1))
        assert sizes[:, :prefix].eq(1).all()
        assert torch.equal(sizes.sum(1), torch.full_like(sizes[:, 0], tokens) if tokens else sizes.sum(1))
        if r == 0:
            assert torch.equal(plan.source_map, torch.arange(tokens, device=device).expand(3, -1))


@methods
@prefixes
def test_same_plan_every_time_and_for_every_batch(method, prefix):
    metric = torch.randn(4, prefix + 30, 8)
    metric[:, prefix + 3 :: 4] = metric[:, prefix + 1 : prefix + 2]  # many ties
    state = torch.get_rng_state()
    plans = [plan_merge(metric, 9, prefix, method).source_map for _ in range(3)]
    assert torch.equal(torch.get_rng_state(), state)  # no global random numbers are used up
    assert torch.equal(plans[0], plans[1])
    assert torch.equal(plans[0], plans[2])
    alone = torch.cat([plan_merge(image[None], 9, prefix, method).source_map for image in metric])
    assert torch.equal(plans[0], alone)


@methods
def test_same_plan_in_every_thread(method):
    metrics = [torch.randn(2, 24 + 7 * i, 8) for i in range(4)]
    want = [plan_merge(m, 5, 2, method).source_map for m in metrics]
    wrong = []

    def work(i):
        wrong.extend(
            i for _ in range(50) if not torch.equal(plan_merge(metrics[i], 5, 2, method).source_map, want[i])
        )

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@methods
def test_plans_in_half_precision_and_under_autocast(method):
    metric = torch.randn(2, 30, 16).half()
    want = plan_merge(metric.float(), 8, method=method).source_map
    assert torch.equal(plan_merge(metric, 8, method=method).source_map, want)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plan_merge(metric.float(), 8, method=method).source_map, want)


@methods
def test_plans_need_no_gradient_and_survive_nan(method):
    metric = torch.randn(2, 20, 8, requires_grad=True)
    assert not plan_merge(metric, 4, method=method).source_map.requires_grad
    for bad in (float("nan"), float("inf"), 0.0):
        plan_merge(torch.full((1, 20, 8), bad), 6, 3, method).check()


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


def test_random_differs_by_layer_seed_and_from_tome():
    metric = torch.randn(2, 60, 8)
    first = plan_merge(metric, 10, method="random").source_map
    assert torch.equal(first[0], first[1])  # the same for every image
    other = Method("random-1", functools.partial(plan_random_pairs, seed=1), merge, None)
    assert not torch.equal(first, plan_merge(metric, 10, method=other).source_map)
    assert not torch.equal(first, plan_merge(metric, 10).source_map)
    pairs = {
        tuple(plan_merge(metric[:, :n], 10, method="random").source_map[0, :20].tolist())
        for n in range(40, 60)
    }
    assert len(pairs) == 20


def test_random_is_uniform_enough():
    counts, partners = torch.zeros(20), torch.zeros(20)
    for seed in range(600):
        plan = plan_random_pairs(torch.empty(1, 40, 1), 5, 0, seed=seed)
        sizes = plan.sizes()[0].gather(0, plan.source_map[0])
        slots = plan.source_map[0]
        counts += torch.tensor([float((slots == slots[2 * i]).sum() > 1) for i in range(20)])
        partners += sizes[1::2] - 1
    assert counts.sum() == 600 * 5
    # binomial with mean 150: five standard deviations are 53
    assert counts.min() > 95
    assert counts.max() < 205
    assert partners.min() > 95
    assert partners.max() < 205


def test_a_name_can_be_given_once():
    row = METHODS["tome"]
    with pytest.raises(MethodError, match="two methods are called 'tome'"):
        table(row, row)
    with pytest.raises(TypeError):
        METHODS["tome"] = row
    with pytest.raises(MethodError, match="no method 'nope'"):
        run_trunk([], torch.randn(1, 2, 3), "off", method="nope")


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
