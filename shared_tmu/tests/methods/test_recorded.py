"""Rows of the table against the original programs' recorded numbers."""

from __future__ import annotations

import pytest
import torch
from golden_trunk import assert_golden, part
from golden_vit import build_vit, embed, read_method

from shared_tmu import merge, run_trunk, unmerge
from shared_tmu.method_parts.reductions import Linear
from shared_tmu.methods.dct import cosines, low_pass
from shared_tmu.methods.tomesd import find_destinations
from shared_tmu.plans.matching import join_best, match_sets

CPU = torch.device("cpu")
DCT, DCT_CASES = read_method("dct")
TOMESD, TOMESD_CASES = read_method("tomesd")


@pytest.mark.parametrize("name", DCT_CASES)
def test_dct(name):
    want, case = part(DCT, name), DCT_CASES[name]
    x, prefix = want["x"], int(case["class_token"])
    count = x.shape[1] - prefix
    assert_golden((cosines(count, CPU) @ x[:, prefix:].double()).float(), want["spectrum"], 1e-5)
    matrix = low_pass(x.shape[1], count - case["kept"], prefix, CPU)
    assert_golden(matrix[prefix:, prefix:].float(), want["matrix"], 1e-6)
    step = Linear(matrix, len(x))
    out, size = step.reduce(x)
    assert size is None
    assert_golden(out, want["out"], 1e-5)
    assert_golden(unmerge(out, step.route), want["unmerged"], 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", read_method("vit_dct")[1])
def test_dct_in_a_vit(name):
    tensors, cases = read_method("vit_dct")
    want = part(tensors, name)
    out, route = run_trunk(
        build_vit().blocks, embed(tensors["image"]), str(cases[name]["ratio"]), method="dct",
        num_prefix_tokens=1, unmerge=False,
    )  # fmt: skip
    assert [step.num_slots for step in route.parts] == want["counts"].tolist()
    assert_golden(out, want["tokens"], 1e-4)


@pytest.mark.parametrize("name", [name for name, case in TOMESD_CASES.items() if case["r"]])
def test_tomesd(name):
    want, case = part(TOMESD, name), TOMESD_CASES[name]
    grid, cell = (case["h"], case["w"]), (case["sy"], case["sx"])
    if case["no_rand"]:
        assert find_destinations(grid, cell, None, CPU).nonzero().flatten().tolist() == sorted(
            want["dst_set"].tolist()
        )
    else:  # one destination in every whole cell, as the recorded ones
        drawn = find_destinations(grid, cell, 3, CPU).view(grid)
        rows, columns = grid[0] // cell[0], grid[1] // cell[1]
        whole = drawn[: rows * cell[0], : columns * cell[1]]
        assert whole.unflatten(0, (rows, cell[0])).unflatten(2, (columns, cell[1])).sum((1, 3)).eq(1).all()
        assert drawn.sum() == len(want["dst_set"])
    r = min(case["r"], len(want["src_set"]))
    score, target = match_sets(want["metric"], want["src_set"], want["dst_set"])
    plan = join_best(score, target, r, want["src_set"], want["dst_set"]).check()
    assert torch.equal(plan.source_map, want["map"])
    merged, _ = merge(want["x"], plan)
    assert_golden(merged, want["out_mean"], 1e-5)
    assert_golden(unmerge(merged, plan), want["unmerged"], 1e-5)
