"""MCTF against its program's numbers, and methods inside attention in general."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from golden_trunk import assert_golden, part
from golden_vit import assert_classified, assert_step, build_vit, embed, read_method, see

from shared_tmu import METHODS, Method, run_trunk
from shared_tmu.method_parts.places import After, Inside, fuse_map
from shared_tmu.method_parts.seen import Needs
from shared_tmu.methods.mctf import limit_mctf, plan_mctf, score_pairs

STEPS, STEP_CASES = read_method("mctf")
TENSORS, CASES = read_method("vit_mctf")
NEEDS = Needs.TOKENS | Needs.SIZES | Needs.MAP


@pytest.mark.parametrize("name", STEP_CASES)
def test_one_step(name):
    want, case = part(STEPS, name), STEP_CASES[name]
    prefix, taus = int(case["class_token"]), (case["tau_sim"], case["tau_info"], case["tau_size"])
    seen = see(want, METHODS["mctf"], prefix)
    size = torch.ones(want["x"].shape[:2]) if seen.size is None else seen.size
    score = score_pairs(want["x"], want["attn"].mean((1, 2)), size, taus, prefix)
    assert_golden(score, want["scores"][:, prefix:], 1e-5)
    reduction = plan_mctf(seen, case["r"], *taus, case["bidirectional"], case["pooling"])
    assert_step(reduction, want, "out")
    if "attn_out" in want:
        assert_golden(fuse_map(want["attn"], reduction, size), want["attn_out"], 1e-5)


def test_a_token_that_receives_no_attention_at_all():
    draws = torch.Generator().manual_seed(0)
    x, received = torch.randn(1, 20, 8, generator=draws), torch.rand(1, 20, generator=draws) / 20
    received[0, 3] = 0.0  # to which float16 rounds
    score = score_pairs(x, received, torch.ones(1, 20), (1, 20, 40), 0)
    assert score.isfinite().all()
    assert (score > 0).all()
    assert score[0, :, 1].mean() > 2 * score[0].mean()  # the second target, and nothing is less important


def row(case) -> Method:
    taus = dict(zip(("tau_sim", "tau_info", "tau_size"), case["taus"], strict=True))
    plan = partial(plan_mctf, **taus, goes_both_ways=case["bidirectional"], pooling=case["pooling"])
    ahead = case["one_step_ahead"]
    place = After(plan) if ahead is False else Inside(plan, reuses_map=ahead is True)
    return Method("mctf", place, NEEDS, limit_mctf)


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_in_a_vit(name):
    case, want = CASES[name], part(TENSORS, name)
    asked = case["r"] if case["r"] >= 1 else 1 - case["r"]  # what is removed, or the share that is kept
    schedule = [asked if layer in case["layers"] else 0 for layer in range(4)]
    options = {"method": row(case), "num_prefix_tokens": 1, "proportional": case["prop_attn"]}
    blocks, x = build_vit().blocks, embed(TENSORS["image"])
    short, plan = run_trunk(blocks, x, schedule, unmerge=False, **options)
    assert torch.equal(plan.source_map, want["map"])
    assert torch.equal(plan.sizes(), want["size"][..., 0].long())
    assert_golden(short, want["tokens"], 1e-4)
    assert_classified(short, want["logits"])


def test_gradients_go_through_the_fused_map():
    blocks = build_vit().double().blocks
    x = torch.randn(1, 20, 64, dtype=torch.float64, requires_grad=True)
    out, _ = run_trunk(blocks, x, "4x2", method="mctf", num_prefix_tokens=1)
    (grad,) = torch.autograd.grad(out.square().sum(), x)
    assert grad.isfinite().all()
    assert grad.abs().sum() > 0
