"""ATC against its program's numbers, and against clustering by hand."""

from __future__ import annotations

import sys

import pytest
import torch
from golden_trunk import part
from golden_vit import assert_classified, assert_step, build_vit, embed, read_method, see

from shared_tmu import METHODS, Method, Schedule, run_trunk
from shared_tmu.errors import MissingDependencyError
from shared_tmu.method_parts.places import Between
from shared_tmu.methods.atc import cluster_image, plan_atc
from shared_tmu.schedule import all_but_one

TENSORS, CASES = read_method("atc")


@pytest.mark.parametrize("name", CASES)
def test_one_step(name):
    want, case = part(TENSORS, name), CASES[name]
    prefix = int(case["class_token"])
    free = want["x"].shape[1] - prefix
    r = free - min(case["num_clusters"], free)
    assert_step(plan_atc(see(want, METHODS["atc"], prefix), r, case["linkage"]), want)


@torch.no_grad()
@pytest.mark.parametrize("name", read_method("vit_atc")[1])
def test_in_a_vit(name):
    tensors, cases = read_method("vit_atc")
    case, want = cases[name], part(tensors, name)
    rate, layers = case["keep"][0], case["layers"]
    kept = [int(64 * rate ** (i + 1)) for i in range(len(layers))] if rate < 1 else case["keep"]
    schedule = Schedule.keeping(dict(zip(layers, kept, strict=True)), 65, 1)
    place = Between(lambda seen, r: plan_atc(seen, r, case["linkage"]))
    method = Method("atc", place, limit=all_but_one)
    out, plan = run_trunk(
        build_vit().blocks, embed(tensors["image"]), schedule, method=method, num_prefix_tokens=1,
        proportional=case["prop_attn"], unmerge=False,
    )  # fmt: skip
    assert out.shape[1] == want["counts"][-1]
    slots = plan.source_map
    # The recorded order is another one: the same groups are enough.
    same, wanted = (
        slots.unsqueeze(2) == slots.unsqueeze(1),
        want["map"].unsqueeze(2) == want["map"].unsqueeze(1),
    )
    assert torch.equal(same, wanted)
    assert_classified(out, want["logits"])


@pytest.mark.parametrize("linkage", ["average", "complete", "single"])
def test_by_hand(linkage):
    """The nearest two clusters merge, by distances of all their pairs."""
    metric = torch.randn(14, 5, dtype=torch.float64)
    unit = metric / metric.norm(dim=1, keepdim=True)
    distance = 1 - unit @ unit.T
    reduce = {"average": torch.mean, "complete": torch.amax, "single": torch.amin}[linkage]
    clusters = [[token] for token in range(14)]
    while len(clusters) > 5:
        gaps = {
            (a, b): float(reduce(distance[clusters[a]][:, clusters[b]]))
            for b in range(len(clusters))
            for a in range(b)
        }
        a, b = min(gaps, key=gaps.__getitem__)
        clusters[a] += clusters.pop(b)
    label = cluster_image(metric, None, 5, linkage)
    assert sorted(map(sorted, clusters)) == sorted(
        (label == number).nonzero().flatten().tolist() for number in range(5)
    )
    assert label.unique().tolist() == list(range(5))
    first = [int((label == number).nonzero()[0, 0]) for number in range(5)]
    assert first == sorted(first)


def test_without_scipy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.cluster.hierarchy", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'shared_tmu\[cluster\]'"):
        cluster_image(torch.randn(5, 3).double(), None, 2)
