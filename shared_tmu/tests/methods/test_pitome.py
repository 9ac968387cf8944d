"""PiToMe against its program's numbers."""

from __future__ import annotations

import pytest
import torch
from golden_trunk import assert_golden, part
from golden_vit import assert_classified, assert_step, build_vit, embed, read_method, see

from shared_tmu import METHODS, run_trunk
from shared_tmu.methods.pitome import find_energy, plan_pitome

TENSORS, CASES = read_method("pitome")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["r"]])
def test_one_step(name):
    want, case = part(TENSORS, name), CASES[name]
    prefix, variant = int(case["class_token"]), case["variant"]
    energy = find_energy(want["metric"][:, prefix:], case["margin"], case["alpha"], variant == "text")
    assert_golden(energy, want["energy"], 1e-5)
    seen = see(want, METHODS["pitome"], prefix)
    reduction = plan_pitome(seen, case["r"], variant, case["margin"], case["alpha"])
    assert_step(reduction, want)


@torch.no_grad()
@pytest.mark.parametrize("name", read_method("vit_pitome")[1])
def test_in_a_vit(name):
    tensors, cases = read_method("vit_pitome")
    want, x = part(tensors, name), embed(tensors["image"])
    out, plan = run_trunk(
        build_vit().blocks, x, str(cases[name]["ratio"]), method="pitome", num_prefix_tokens=1, unmerge=False
    )
    assert torch.equal(plan.source_map, want["map"])
    assert torch.equal(plan.sizes(), want["size"][..., 0].long())
    assert_golden(out, want["tokens"], 1e-4)
    assert_classified(out, want["logits"])


def test_the_energy_in_parts_is_the_energy(monkeypatch):
    metric = torch.randn(2, 37, 6, dtype=torch.float64)
    want = find_energy(metric, 0.4)
    monkeypatch.setattr("shared_tmu.methods.pitome.MAX_SCORES", 400)
    torch.testing.assert_close(find_energy(metric, 0.4), want)
