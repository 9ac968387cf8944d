"""ToFu against numbers of the paper's formula, and of the public code."""

from __future__ import annotations

import pytest
import torch
from golden_trunk import assert_golden, part
from golden_vit import assert_classified, build_vit, embed, read_method, see

from shared_tmu import METHODS, run_trunk, unmerge
from shared_tmu.methods.tofu import plan_tofu, plan_tofu_pitome

TENSORS, CASES = read_method("tofu")


@pytest.mark.parametrize("name", CASES)
def test_one_step(name):
    want, case = part(TENSORS, name), CASES[name]
    seen = see(want, METHODS["tofu"], int(case["class_token"]))
    pruned = plan_tofu(seen, case["r"], prunes_until=0)
    assert torch.equal(pruned.plan.check().source_map, want["map_prune"])
    assert torch.equal(pruned.plan.copy_map, want["map"])
    out, size = pruned.reduce(want["x"], None)
    assert size is None
    assert torch.equal(out, want["out_prune"])
    assert torch.equal(unmerge(out, pruned.plan).gather(1, _rows(want)), _targets(want))
    for plan, expected in ((plan_tofu, "out_mlerp"), (plan_tofu_pitome, "out_tofu_code")):
        merged = plan(seen, case["r"], prunes_until=-1)
        assert torch.equal(merged.plan.check().source_map, want["map"])
        assert_golden(merged.reduce(want["x"], None)[0], want[expected], 1e-5)


def _rows(want):
    return want["src_pos"].unsqueeze(2).expand(-1, -1, want["x"].shape[2])


def _targets(want):
    return want["x"].gather(1, want["dst_pos"].unsqueeze(2).expand(-1, -1, want["x"].shape[2]))


def test_the_norm_is_the_largest_of_the_group():
    want = part(TENSORS, "vit197")
    merged = plan_tofu(see(want, METHODS["tofu"], 1, layer=7), 19)
    out, _ = merged.reduce(want["x"], None)
    norms = want["x"].norm(dim=2)
    largest = norms.new_zeros(out.shape[:2]).scatter_reduce(1, merged.plan.source_map, norms, "amax")
    torch.testing.assert_close(out.norm(dim=2), largest)


@pytest.mark.parametrize(
    ("layer", "depth", "prunes"), [(0, 12, True), (6, 12, True), (7, 12, False), (2, 4, True)]
)
def test_where_it_switches(layer, depth, prunes):
    seen = see(part(TENSORS, "nocls"), METHODS["tofu"], 0, layer, depth)
    assert bool((plan_tofu(seen, 4).plan.source_map < 0).any()) is prunes


@torch.no_grad()
@pytest.mark.parametrize("name", read_method("vit_tofu")[1])
def test_the_public_code_in_a_vit(name):
    tensors, cases = read_method("vit_tofu")
    want, x = part(tensors, name), embed(tensors["image"])
    options = {"method": "tofu-pitome", "num_prefix_tokens": 1}
    out, _ = run_trunk(build_vit().blocks, x, str(cases[name]["ratio"]), unmerge=False, **options)
    assert out.shape[1] == want["counts"][-1]
    assert_golden(out, want["tokens"], 1e-4)
    assert_classified(out, want["logits"])
    full, route = run_trunk(build_vit().blocks, x, str(cases[name]["ratio"]), **options)
    assert torch.equal(full, unmerge(out, route))
