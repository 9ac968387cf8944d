"""The control: random, and the same on every run."""

from __future__ import annotations

import functools

import torch

from shared_tmu import Method, plan_merge
from shared_tmu.method_parts.places import Between
from shared_tmu.method_parts.seen import Needs, Seen
from shared_tmu.methods.random_pairs import plan_random_pairs


def test_random_differs_by_layer_seed_and_from_tome():
    metric = torch.randn(2, 60, 8)
    first = plan_merge(metric, 10, method="random").source_map
    assert torch.equal(first[0], first[1])  # the same for every image
    other = Method("random-1", Between(functools.partial(plan_random_pairs, seed=1)), Needs.SIZES)
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
        plan = plan_random_pairs(Seen(torch.empty(1, 40, 1)), 5, seed=seed).plan
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


def test_the_pairs_of_before():
    """Results were published with these pairs."""
    slots = plan_merge(torch.zeros(1, 12, 1), 4, 2, "random").source_map[0].tolist()
    assert slots == [0, 1, 5, 3, 4, 4, 3, 5, 4, 6, 2, 7]
    slots = plan_merge(torch.zeros(1, 40, 1), 9, 0, "random").source_map[0].tolist()
    assert slots[:20] == [1, 11, 20, 12, 23, 13, 5, 14, 24, 15, 7, 16, 10, 17, 29, 18, 6, 19, 0, 20]
    assert slots[20:] == [2, 21, 16, 22, 15, 23, 4, 24, 23, 25, 3, 26, 9, 27, 11, 28, 22, 29, 8, 30]
