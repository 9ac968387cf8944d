"""The Triton kernels against torch and the loops: on the GPU, and on the CPU in Triton's interpreter.

The interpreter must be chosen before Triton is loaded: `test_kernels_interpreted.py` runs this file again
with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import pytest
import torch
from launches import counted
from torch import library
from toy_vit import ToyViT

from shared_tmu import METHODS, MergePlan, Schedule, plans, run_trunk
from shared_tmu.kernels import choice, ops, size_channel, using
from shared_tmu.plans.matching import match_similar, plan_most_similar, plan_pairs
from shared_tmu.plans.reference import match_loops, merge_loops

pytestmark = pytest.mark.usefixtures("poisoned_memory")

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
WIDENED = {torch.float32: 2e-6, torch.float16: 2e-5, torch.bfloat16: 3e-4}  # the interpreter cuts bits off


@pytest.fixture(params=["cpu"] if choice.IS_INTERPRETED else [pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """The interpreter's device or the GPU; never both in one run."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


@pytest.fixture(params=DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
def dtype(request):
    return request.param


@pytest.fixture(params=["usual", "small"])
def blocks(request, device):
    """The blocks in use, and small ones, so that few tokens take several."""
    from shared_tmu.kernels.launch import BLOCKS, Blocks

    return BLOCKS if request.param == "usual" else Blocks(16, 16, 16, 16, 16, 16, 8)


def launch():
    from shared_tmu.kernels import launch

    return launch


# batch, tokens, channels, r, prefix tokens
PLANS = [
    pytest.param(1, 2, 1, 1, 0, id="one-pair"),
    pytest.param(2, 37, 20, 9, 0, id="odd"),
    pytest.param(1, 64, 16, 32, 0, id="all-sources"),
    pytest.param(2, 41, 5, 7, 1, id="class-token-even-rest"),
    pytest.param(1, 40, 33, 19, 1, id="class-token-odd-rest"),
    pytest.param(2, 43, 8, 11, 2, id="two-prefix-tokens"),
    pytest.param(1, 85, 8, 20, 18, id="task-tokens"),
]


@pytest.mark.parametrize(("batch", "tokens", "channels", "r", "prefix"), PLANS)
def test_plans_equal_those_of_torch(batch, tokens, channels, r, prefix, device, dtype, blocks):
    metric = torch.randn(batch, tokens, channels).to(dtype)
    got = launch().plan_most_similar(metric.to(device), r, prefix, blocks)
    want = plan_most_similar(metric, r, prefix)
    assert torch.equal(got.cpu(), want.source_map)
    if prefix not in (1, 2):
        assert torch.equal(got.cpu(), match_loops(metric, r, prefix).source_map)


@pytest.mark.parametrize("prefix", [0, 1, 2, 3])
def test_equal_scores_count_by_position(prefix, device, blocks):
    metric = torch.eye(4)[torch.randint(0, 4, (2, 40))] * 2  # exact similarities, 0 or 1
    for r in (1, 13):
        got = launch().plan_most_similar(metric.to(device), r, prefix, blocks)
        assert torch.equal(got.cpu(), plan_most_similar(metric, r, prefix).source_map)


@pytest.mark.parametrize("prefix", [0, 1])
def test_any_numbers_give_a_valid_plan(prefix, device, blocks):
    metric = torch.randn(4, 50, 6)
    metric[0, 10] = float("nan")
    metric[1, 5:30, 2] = float("inf")
    metric[2] = float("nan")
    metric[3, ::3] = 0.0
    got = launch().plan_most_similar(metric.to(device), 9, prefix, blocks)
    MergePlan(got, 41).check()
    assert torch.equal(got[2].cpu(), plan_most_similar(metric[2:3], 9, prefix).source_map[0])


@pytest.mark.parametrize(("batch", "tokens", "channels", "r", "prefix"), PLANS)
def test_similarities_equal_those_of_torch(batch, tokens, channels, r, prefix, device, dtype, blocks):
    metric = torch.randn(batch, tokens, channels).to(dtype)
    score, target = launch().match_similar(metric.to(device), prefix, blocks)
    want = match_similar(metric, prefix)
    torch.testing.assert_close(score.cpu(), want[0], atol=2e-6, rtol=2e-6)
    assert torch.equal(target.cpu(), want[1])


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
def test_pairs_equal_those_of_torch(prefix, device, blocks):
    sources = 19
    tokens = 2 * sources + prefix  # with one prefix token, both halves are as large
    score = torch.randn(4, sources)
    score[1] = score[1].round()
    score[2, ::5] = float("nan")
    score[2, 1::5], score[2, 2::5], score[2, 3::5] = -0.0, 0.0, float("-inf")
    score[3] = 1.0
    target = torch.randint(0, sources, (4, sources))
    for r in (0, 7, sources):
        got = launch().plan_pairs(score.to(device), target.to(device), r, tokens, prefix, blocks)
        assert torch.equal(got.cpu(), plan_pairs(score, target, r, tokens, prefix).source_map)


def test_a_metric_need_not_be_contiguous(device):
    metric = torch.randn(2, 6, 30, device=device).transpose(1, 2)
    got = ops.plan_most_similar(metric, 7, 0)
    assert torch.equal(got.cpu(), plan_most_similar(metric.cpu(), 7, 0).source_map)


# batch, tokens, slots, channels
MERGES = [
    pytest.param(1, 1, 1, 1, id="one-token"),
    pytest.param(2, 21, 13, 5, id="odd"),
    pytest.param(1, 40, 3, 19, id="large-groups"),
    pytest.param(2, 20, 20, 8, id="a-permutation"),
    pytest.param(1, 33, 1, 32, id="one-slot"),
]


def random_map(batch: int, tokens: int, slots: int) -> MergePlan:
    """A plan in which every slot has a token and the rest goes anywhere."""
    rows = []
    for _ in range(batch):
        anywhere = torch.cat([torch.arange(slots), torch.randint(0, slots, (tokens - slots,))])
        rows.append(anywhere[torch.randperm(tokens)])
    return MergePlan(torch.stack(rows), slots)


@pytest.mark.parametrize("sized", [False, True], ids=["no-sizes", "sizes"])
@pytest.mark.parametrize(("batch", "tokens", "slots", "channels"), MERGES)
def test_merges_equal_the_loops(batch, tokens, slots, channels, sized, device, dtype, tolerance, blocks):
    x = torch.randn(batch, tokens, channels).to(dtype)
    size = torch.rand(batch, tokens) * 8 + 1 if sized else None
    plan, before = random_map(batch, tokens, slots), random_map(batch, 50, tokens)
    on = [None if t is None else t.to(device) for t in (plan.source_map, size, before.source_map)]
    out, size_out, after = launch().merge(x.to(device), on[0], slots, on[1], on[2], blocks)
    want, want_size = merge_loops(x, plan, torch.ones(batch, tokens) if size is None else size)
    assert out.dtype == dtype
    torch.testing.assert_close(out.cpu(), want, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(size_out.cpu(), want_size)
    assert torch.equal(after.cpu(), before.then(plan).source_map)


def test_lone_and_equal_tokens_come_out_as_they_were(device, dtype):
    x = torch.randn(1, 12, 9).to(dtype)
    x[:, 6:9] = x[:, 3:4]
    plan = MergePlan(torch.tensor([[0, 1, 2, 3, 4, 5, 3, 3, 3, 6, 7, 8]]), 9)
    size = torch.rand(1, 12).to(device) * 7 + 1
    out, _ = plans.fused.merge(x.to(device), MergePlan(plan.source_map.to(device), 9), size)
    assert torch.equal(out.cpu()[0, plan.source_map[0]], x[0])


@pytest.mark.parametrize("sized", [False, True], ids=["no-sizes", "sizes"])
def test_merges_with_gaps_equal_the_loops(sized, device, dtype, tolerance, blocks):
    """Pruned tokens count nowhere, slots that are padding are zeros, and maps compose with -1 in them."""
    source = torch.tensor([[0, 1, 1, -1, 2, 0, -1], [0, -1, -1, 1, 0, 0, -1]])
    plan = MergePlan(source, 3, copy_map=source.clamp_min(0), is_padded=True)
    before = torch.tensor([[6, 5, 4, 3, -1, 2, 1, 0], [0, 0, 3, -1, -1, 1, 4, 5]])
    x, size = torch.randn(2, 7, 9).to(dtype), torch.rand(2, 7) * 8 + 1 if sized else None
    on = [None if t is None else t.to(device) for t in (source, size, before)]
    out, size_out, after = launch().merge(x.to(device), on[0], 3, on[1], on[2], blocks)
    want, want_size = merge_loops(x, plan, torch.ones(2, 7) if size is None else size)
    torch.testing.assert_close(out.cpu(), want, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(size_out.cpu(), want_size)
    composed = source.gather(1, before.clamp_min(0)).where(before >= 0, -1)
    assert torch.equal(after.cpu(), composed)
    if dtype == torch.float32:
        leaves = [x.to(device).requires_grad_(), x.clone().requires_grad_()]
        grads = []
        for leaf, merge, where in zip(
            leaves, (plans.fused.merge, plans.ops.merge), (device, "cpu"), strict=True
        ):
            here = MergePlan(source.to(where), 3, copy_map=source.clamp_min(0).to(where), is_padded=True)
            merged, _ = merge(leaf, here, None if size is None else size.to(where))
            grads.append(torch.autograd.grad(merged.square().sum(), leaf)[0].cpu())
        torch.testing.assert_close(*grads, atol=1e-5, rtol=1e-5)


def test_sums_are_taken_in_float32(device):
    plan = MergePlan(torch.zeros(1, 65, dtype=torch.int64, device=device), 1)
    large, size = plans.fused.merge(torch.full((1, 65, 1), 60000.0, dtype=torch.float16, device=device), plan)
    assert large.item() == 60000
    assert (size.item(), size.dtype) == (65, torch.float32)


def test_no_images(device):
    plan = MergePlan(torch.zeros(0, 10, dtype=torch.int64, device=device), 6)
    out, size = plans.fused.merge(torch.randn(0, 10, 4, device=device), plan)
    assert (out.shape, size.shape) == ((0, 6, 4), (0, 6))
    assert ops.plan_most_similar(torch.randn(0, 10, 4, device=device), 3, 0).shape == (0, 10)


@pytest.mark.parametrize("sized", [False, True], ids=["no-sizes", "sizes"])
def test_gradients_equal_those_of_torch(sized, device):
    plan = random_map(2, 21, 13)
    here = MergePlan(plan.source_map.to(device), 13)
    x, size = torch.randn(2, 21, 6), torch.rand(2, 21) + 1
    weight, weight_of_size = torch.randn(2, 13, 6), torch.randn(2, 13)
    grads = []
    for merge, where, plan_here in ((plans.fused.merge, device, here), (plans.ops.merge, "cpu", plan)):
        leaves = [x.clone().to(where).requires_grad_(), size.clone().to(where).requires_grad_()]
        out, size_out = merge(leaves[0], plan_here, leaves[1] if sized else None)
        ((out * weight.to(where)).sum() + (size_out * weight_of_size.to(where) * sized).sum()).backward()
        grads.append([leaf.grad for leaf in leaves[: 1 + sized]])
    for got, want in zip(*grads, strict=True):
        torch.testing.assert_close(got.cpu(), want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("width", [4, 8, 14, 20])
def test_widening_equals_torch(width, device, dtype):
    q, k, v = torch.randn(2, 11, 3, 3, width, device=device).to(dtype).permute(2, 0, 3, 1, 4).unbind(0)
    size = torch.randint(1, 4097, (2, 11), device=device).float()
    size[0, 4] = 0  # padding
    with using(merging="triton"):
        got = size_channel.widen(q, k, v, size, 0.3)
    with using(merging="torch"):
        want = size_channel.widen(q, k, v, size, 0.3)
    exact = [width, width + 1]  # the key channels, whose logarithms may differ in the last bit
    for a, b, is_key in zip(got, want, (False, True, False), strict=True):
        assert a.shape[-1] % 8 == 0
        if is_key:
            sums = [t[..., exact].double().sum(-1) for t in (a, b)]
            torch.testing.assert_close(*sums, atol=WIDENED[dtype], rtol=0)
            a, b = (t.index_fill(-1, torch.tensor(exact, device=device), 0.0) for t in (a, b))
        assert torch.equal(a, b)


LAUNCHED = {  # by a trunk of two blocks
    "tome": ["merge"] * 2 + ["plan_most_similar"] * 2 + ["widen"],
    "random": ["merge"] * 2 + ["plan_pairs"] * 2 + ["widen"],
    "masked": ["merge"] * 2 + ["plan_pairs"] * 2 + ["widen"],
}


@pytest.mark.parametrize("prefix", [0, 1, 3])
@pytest.mark.parametrize("method", [*METHODS, "masked"])
def test_trunks_equal_those_of_torch(method, prefix, device, monkeypatch):
    """Every bipartite method plans and merges in kernels, whatever its name is."""
    vit, x = ToyViT(depth=2).eval().to(device), torch.randn(1, 24 + prefix, 32, device=device)
    results, launched = [], []
    for name in ("plan_most_similar", "plan_pairs", "merge", "widen"):
        monkeypatch.setattr(ops, name, counted(name, launched))
    options = {"num_prefix_tokens": prefix, "grid": (6, 4)}
    options["method"] = "tome" if method == "masked" else method
    schedule = "threshold:0.5x2" if METHODS[options["method"]].reads == "thresholds" else "6x2"
    if method == "masked":
        options["mask"] = torch.arange(x.shape[1], device=device) == 9
    for backend, attention in (("triton", "channel"), ("torch", "mask")):
        with using(merging=backend, attention=attention), torch.no_grad():
            results.append(run_trunk(vit.blocks, x, Schedule.parse(schedule), **options))
    (got, plan), (want, want_plan) = results
    if method in LAUNCHED:
        assert sorted(launched) == LAUNCHED[method]
    if plan.source_map is not None:
        assert torch.equal(plan.source_map, want_plan.source_map)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_operators_keep_the_rules_of_pytorch(device):
    x, size = torch.randn(1, 12, 6, device=device), torch.rand(1, 12, device=device) + 1
    plan, before = random_map(1, 12, 7), random_map(1, 15, 12)
    maps = [p.source_map.to(device) for p in (plan, before)]
    q = torch.randn(1, 3, 12, 6, device=device)
    checks = ("test_schema", "test_faketensor")
    for call, arguments in [
        (ops.match_similar, (x, 1)),
        (ops.plan_pairs, (x[:, :6, 0].contiguous(), maps[0][:, :6] % 6, 4, 12, 0)),
        (ops.plan_most_similar, (x, 3, 2)),
        (ops.merge, (x, maps[0], 7, size, maps[1])),
        (ops.merge, (x, maps[0], 7, None, None)),
        (ops.widen, (q, q, q, size, 8, 2.0, 0.5)),
    ]:
        library.opcheck(call, arguments, test_utils=checks)


def test_compiled_in_one_graph(device):
    vit, x = ToyViT(depth=2).eval().to(device), torch.randn(1, 24, 32, device=device)

    def run(x):
        return run_trunk(vit.blocks, x, Schedule.parse("6x2"))[0]

    with using(merging="triton"), torch.no_grad():
        backend = "aot_eager" if device.type == "cpu" else "inductor"
        got = torch.compile(run, fullgraph=True, backend=backend)(x)
        torch.testing.assert_close(got, run(x), atol=1e-5, rtol=1e-5)
