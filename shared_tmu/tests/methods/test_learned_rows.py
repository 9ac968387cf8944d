"""The five methods that learn, against their programs' numbers, step by step and in whole ViTs."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from golden_trunk import assert_golden, part, read_golden
from golden_vit import assert_classified, assert_step, build_vit, embed, read_method, see
from torch import nn

from shared_tmu import METHODS, run_trunk
from shared_tmu.method_parts.relaxed import Relaxed, weigh_softmax
from shared_tmu.method_parts.seen import Needs
from shared_tmu.methods.crossget import match_graph, plan_graph
from shared_tmu.methods.diffrate import Rates, choose_kept, mask_by, order_by, prune_then_merge
from shared_tmu.methods.dtem import Projections, plan_dtem, relax_merge
from shared_tmu.methods.fpet import Joined, Refinement, Refinements, soften, split_board
from shared_tmu.methods.ltmp import mask_merging, merge_by, plan_by, split_live, step_above
from shared_tmu.plans.matching import join_best, match_sets

EXTRAS = read_golden("methods/vit_learned")[0]
DIFFRATE, DIFFRATE_CASES = read_method("diffrate")
DTEM, DTEM_CASES = read_method("dtem")
FPET, FPET_CASES = read_method("fpet")
CROSSGET, CROSSGET_CASES = read_method("crossget")
LTMP, LTMP_CASES = read_method("ltmp")


def kinds(cases, kind):
    return [name for name, case in cases.items() if case["kind"] == kind]


# -- DiffRate


@pytest.mark.parametrize("name", kinds(DIFFRATE_CASES, "compress"))
def test_diffrate_step(name):
    want, case = part(DIFFRATE, name), DIFFRATE_CASES[name]
    seen, tokens = see(want, METHODS["diffrate"], 1), want["x"].shape[1]
    order = order_by(want["importance"], seen)
    assert torch.equal(order, want["order"])
    r = tokens - case["merge_kept"]
    if r == 0:
        assert torch.equal(order, want["order"])
        return
    assert_step(prune_then_merge(seen, order, r, tokens - case["prune_kept"]), want, "out")


@pytest.mark.parametrize("name", kinds(DIFFRATE_CASES, "rate"))
def test_diffrate_rate(name):
    want, case = part(DIFFRATE, name), DIFFRATE_CASES[name]
    logits = want["logits"].clone().requires_grad_()
    candidates = want["candidates"].float()
    kept = choose_kept(logits, candidates)
    assert_golden(kept.detach(), want["kept"].float(), 1e-5)
    mask = mask_by(logits, candidates, case["patches"] + 1, case["live_tokens"], 1)
    assert_golden(mask.detach(), want["mask"], 1e-5)
    ((mask * want["loss_w"]).sum() + 0.1 * kept).backward()
    assert_golden(logits.grad, want["grad_logits"], 1e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", read_method("vit_diffrate")[1])
def test_diffrate_in_a_vit(name):
    tensors, cases = read_method("vit_diffrate")
    want, case = part(tensors, name), cases[name]
    left = [65, *case["merge_kept"]]
    removed = [before - after for before, after in pairwise(left)]
    pruned = [before - kept for before, kept in zip(left, case["prune_kept"], strict=False)]
    rates = Rates(4)
    rates.pruned.copy_(torch.tensor([p / max(r, 1) for p, r in zip(pruned, removed, strict=True)]))
    short, plan = run_trunk(
        build_vit().blocks, embed(tensors["image"]), removed, method="diffrate", num_prefix_tokens=1,
        unmerge=False, learned=rates,
    )  # fmt: skip
    assert torch.equal(plan.source_map, want["map"])
    assert_golden(short, want["tokens"], 1e-4)
    assert_classified(short, want["logits"])


# -- DTEM


@pytest.mark.parametrize("name", kinds(DTEM_CASES, "hard"))
def test_dtem_step(name):
    want, case = part(DTEM, name), DTEM_CASES[name]
    seen = see({**want, "size": want["size"].unsqueeze(2)} if "size" in want else want, METHODS["dtem"], 1)
    seen.parts[Needs.NORMED], seen.learned = want["metric"], Projections([nn.Identity()])
    plan = plan_dtem(seen, case["r"])
    assert torch.equal(plan.plan.source_map, want["map"])
    out, size = plan.reduce(want["x"], want.get("size"))
    assert_golden(out, want["out"], 1e-5)
    assert_golden(size, want["size_out"], 1e-5)


@pytest.mark.parametrize("name", kinds(DTEM_CASES, "soft"))
def test_dtem_relaxed_step(name):
    want, case = part(DTEM, name), DTEM_CASES[name]
    x, metric = (want[key].clone().requires_grad_() for key in ("x", "metric"))
    relaxed = Relaxed.start(x, 1)
    relaxed.sizes, relaxed.left = want.get("size", relaxed.sizes), case["n"]
    shares = relax_merge(relaxed, metric, case["r"], (case["tau1"], case["tau2"]), case["top_k"])
    assert_golden(shares.detach(), want["assign"], 1e-5)
    assert relaxed.left == want["n_out"]
    order = relaxed.sizes.detach().sort(1).values
    assert_golden(order, want["size_out"].sort(1).values, 1e-5)
    rows, wanted = (  # equal sizes tie in the sort
        (tokens * size.unsqueeze(2)).sum(1)
        for tokens, size in (
            (relaxed.tokens.detach(), relaxed.sizes.detach()),
            (want["out"], want["size_out"]),
        )
    )
    assert_golden(rows, wanted, 1e-4)
    (relaxed.sizes.unsqueeze(2) * relaxed.tokens.tanh() * want["loss_w"]).sum().backward()
    assert_golden(metric.grad, want["grad_metric"], 1e-3)
    assert_golden(x.grad, want["grad_x"], 1e-3)
    torch.testing.assert_close(relaxed.route.sum(2), torch.ones(relaxed.route.shape[:2]))


def projections() -> Projections:
    layers = [nn.Linear(64, 16) for _ in range(4)]
    for number, layer in enumerate(layers):
        layer.load_state_dict(part(EXTRAS, f"dtem.blocks.{number}.metric"))
    return Projections(layers)


@torch.no_grad()
@pytest.mark.parametrize("name", read_method("vit_dtem")[1])
def test_dtem_in_a_vit(name):
    tensors, cases = read_method("vit_dtem")
    want, case, blocks, x = part(tensors, name), cases[name], build_vit().blocks, embed(tensors["image"])
    asked = case["r"] if isinstance(case["r"], list) else [case["r"]] * 4
    if case["mode"] == "hard":
        short, plan = run_trunk(
            blocks, x, asked, method="dtem", num_prefix_tokens=1, unmerge=False, learned=projections()
        )
        assert_golden(short, want["tokens"], 1e-4)
        assert torch.equal(plan.sizes(), want["size"][..., 0].long())
        assert_classified(short, want["logits"])
        return
    relaxed, module = Relaxed.start(x, 1), projections()
    for layer, r in enumerate(asked):
        module.relax(blocks[layer], relaxed, layer, r)
        assert relaxed.left == want["effective"][layer]
    assert_classified(relaxed.tokens, want["logits"])
    assert_golden(relaxed.sizes.sort(1).values, want["size"][..., 0].sort(1).values, 1e-4)


@torch.no_grad()
def test_dtem_untrained_is_tome():
    blocks, x = build_vit().double().blocks, torch.randn(2, 40, 64, dtype=torch.float64)
    learned = METHODS["dtem"].learn(list(blocks)).double()
    got, plan = run_trunk(blocks, x, "5x4", method="dtem", learned=learned)
    want, tome = run_trunk(blocks, x, "5x4", method="tome")
    assert torch.equal(plan.source_map, tome.source_map)
    torch.testing.assert_close(got, want)


# -- FPET


@pytest.mark.parametrize("name", FPET_CASES)
def test_fpet_step(name):
    want, case = part(FPET, name), FPET_CASES[name]
    prefix, last = int(case["class_token"]), case["distill_token"]
    tokens = want["x"].shape[1]
    side = round((tokens - prefix - last) ** 0.5)
    a, b = split_board((side, side), tokens, prefix, want["x"].device, last)
    assert torch.equal(a, want["a_pos"])
    assert torch.equal(torch.cat([torch.arange(prefix), b]), want["b_pos"])
    metric = want["metric"].clone().requires_grad_()
    if case["refine"]:
        adapter = Refinement(metric.shape[2], len(want["down"]), case["bits"] == 1)
        adapter.load_state_dict({"down.weight": want["down"], "up.weight": want["up"]})
        metric = adapter(metric)
        assert_golden(metric.detach(), want["refined"], 1e-5)
        metric = metric.detach().requires_grad_()
    score, target = match_sets(metric.detach(), a, b)
    plan = join_best(score, target, len(a), a, b, prefix)
    joined = Joined(plan, soften(metric, plan, a, b), a, b)
    assert_step(joined, {**want, "out": want["out"]}, "out")
    out, _ = joined.reduce(want["x"], want["size"][..., 0] if "size" in want else None)
    (out * want["loss_wx"]).sum().backward()
    assert_golden(metric.grad, want["grad_metric"], 1e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", read_method("vit_fpet")[1])
def test_fpet_in_a_vit(name):
    tensors, cases = read_method("vit_fpet")
    want, case = part(tensors, name), cases[name]
    adapter = Refinement(16, case["hidden"])
    adapter.load_state_dict(part(EXTRAS, "fpet.refinement"))
    short, plan = run_trunk(
        build_vit().blocks, embed(tensors["image"]), [0] * case["layer"] + [99], method="fpet",
        num_prefix_tokens=1, unmerge=False, grid=(8, 8), learned=Refinements([adapter] * 4),
        proportional=case["prop_attn"],
    )  # fmt: skip
    assert_golden(short, want["tokens"], 1e-4)
    assert torch.equal(plan.sizes(), want["size"][..., 0].long())
    assert_classified(short, want["logits"])


def test_fpet_takes_grids_that_are_not_square():
    a, b = split_board((16, 12), 192 + 3, 3, torch.device("cpu"))
    row, column = (a - 3) // 12, (a - 3) % 12
    assert len(a) == len(b) == 96
    assert ((row + column) % 2 == 0).all()


# -- CrossGET


@pytest.mark.parametrize("name", CROSSGET_CASES)
def test_crossget_step(name):
    want, case = part(CROSSGET, name), CROSSGET_CASES[name]
    tokens = want["x"].shape[1]
    is_free = torch.ones(want["metric"].shape[:2], dtype=torch.bool)
    is_free[:, 0] = is_free[:, -1] = False
    if case["variant"] == "text":
        is_free = is_free.scatter(1, want["eot"].view(-1, 1), False)
    r = min(case["r"], (tokens - 2 - (case["variant"] == "text")) // 2)
    if not case["tie_free"]:
        return
    importance = want["importance"]
    source, target = match_graph(want["metric"], importance, r, is_free)
    assert torch.equal(source.sort(1).values, want["src_pos"].sort(1).values)
    assert torch.equal(target, want["dst_pos"].gather(1, _places(source, want["src_pos"])))
    assert_step(plan_graph(want["metric"], importance, r, is_free), want, "out")


def _places(values, among):
    return (values.unsqueeze(2) == among.unsqueeze(1)).long().argmax(2)


# -- masked softmax


@pytest.mark.parametrize("name", ["softmax0", "softmax_eval", "softmax_train"])
def test_masked_softmax(name):
    is_diffrate = name == "softmax0"
    want = part(DIFFRATE if is_diffrate else LTMP, name)
    mask = want["mask"]
    if is_diffrate:
        got = weigh_softmax(want["scores"], torch.ones_like(mask), mask, 1e-6)
    else:
        got = weigh_softmax(want["scores"], mask, eps=1e-5 if name == "softmax_train" else 0.0)
    assert_golden(got, want["out"], 1e-5)


def test_every_token_gets_its_features_back_through_the_route():
    x = torch.randn(2, 13, 4)
    relaxed = Relaxed.start(x, 1)
    assert torch.equal(relaxed.restore(), x)
    relaxed.hand_over(torch.tensor([1.0] * 12 + [0.0]).expand(2, -1), torch.full((2, 13), 3))
    assert torch.equal(relaxed.restore()[:, 12], x[:, 3])


# -- LTMP


@pytest.mark.parametrize("name", kinds(LTMP_CASES, "inference"))
def test_ltmp_step(name):
    want, case = part(LTMP, name), LTMP_CASES[name]
    seen = see(want, METHODS["ltmp"], 1)
    seen.thresholds = case["merge_threshold"], case["prune_threshold"]
    assert_step(plan_by(seen, want["importance"]), want, "out")


@pytest.mark.parametrize("name", ["train_both", "train_first"])  # where all tokens are left, see the module
def test_ltmp_training_step(name):
    want, case = part(LTMP, name), LTMP_CASES[name]
    thresholds = [torch.tensor(case[f"{kind}_threshold"], requires_grad=True) for kind in ("merge", "prune")]
    alive, count = want["mask"] > 0.5, want["mask"].shape[1]
    is_target = split_live(alive, 1)
    stays, target = mask_merging(want["metric"], is_target, alive, thresholds[0], 1)
    out, sizes, importance = merge_by(want["x"], want["size"][..., 0], want["importance"], 1 - stays, target)
    may_go = (stays.detach() > 0.5) & (torch.arange(count) >= 1)
    mask = stays * step_above(importance, thresholds[1]).where(may_go, 1.0)
    order = torch.cat([torch.arange(0, count, 2), torch.arange(1, count, 2)])
    assert torch.equal(mask.detach()[:, order], want["mask_out"])
    left = want["mask_out"] > 0.5
    assert_golden(out.detach()[:, order][left], want["out"][left], 1e-5)
    assert_golden(sizes.detach()[:, order][left], want["size_out"][..., 0][left], 1e-5)
    (mask[:, order] * want["loss_w"]).sum().backward()
    for threshold, kind in zip(thresholds, ("merge", "prune"), strict=True):
        assert_golden(threshold.grad.view(1), want[f"grad_{kind}_threshold"], 1e-3)
