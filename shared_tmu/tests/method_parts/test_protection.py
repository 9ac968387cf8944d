"""Masks that differ per forward: by thread and task, gone after the block, refused where they get lost."""

from __future__ import annotations

import asyncio
import copy
import threading

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from toy_vit import MapViT, SequentialViT, ToyViT

from shared_tmu import METHODS, MergePlan, Method, patch, plan_merge, run_trunk
from shared_tmu.errors import PatchError, PlanError
from shared_tmu.method_parts.places import Between
from shared_tmu.methods.tome import plan_tome
from shared_tmu.plans.matching import match_similar

VITS = pytest.mark.parametrize("build", [ToyViT, SequentialViT])


def random_mask(seed, tokens=40):
    return torch.rand(2, tokens, generator=torch.Generator().manual_seed(seed)) < 0.2


@VITS
@torch.no_grad()
def test_a_mask_per_forward(build, tokens):
    vit = build(depth=3).eval()
    mask = random_mask(1)
    want, route = run_trunk(vit.blocks, tokens, "5x3", mask=mask)
    plain, _ = run_trunk(vit.blocks, tokens, "5x3")
    with patch(vit, "5x3", record=True) as handle:
        assert torch.equal(vit(tokens), vit.last_norm(plain))
        with handle.masked(mask):
            assert torch.equal(vit(tokens), vit.last_norm(want))
            assert torch.equal(handle.plan.source_map, route.source_map)
            with handle.masked(torch.zeros_like(mask)):
                assert torch.equal(vit(tokens), vit.last_norm(plain))
            assert torch.equal(copy.deepcopy(vit)(tokens), vit.last_norm(plain))  # a copy is another model
        assert torch.equal(vit(tokens), vit.last_norm(plain))
    for given in (mask, lambda x: mask, mask[:1].expand(2, -1)):
        with patch(vit, "5x3", mask=given):
            if given is not mask[:1]:
                assert vit(tokens).shape == tokens.shape
    with patch(vit, "5x3", mask=lambda x: x.norm(dim=-1) > x.norm(dim=-1).median()):
        assert not torch.equal(vit(tokens), vit.last_norm(plain))


@pytest.mark.parametrize("wrong", [-0.5, -torch.inf, torch.nan])
@torch.no_grad()
def test_weights_below_0_are_refused(wrong, tokens):
    """A mask of 0 and -inf, to be added to attention, would merge what it shows first."""
    vit, mask = ToyViT(depth=3).eval(), torch.zeros(tokens.shape[:2])
    mask[:, 7:] = wrong
    error = pytest.raises(PlanError, match=r"at least 0, but 66 of 80 are not .* by mask == 0")
    with error:
        run_trunk(vit.blocks, tokens, "5x3", mask=mask)
    with error:
        patch(vit, "5x3", mask=mask)
    with error:
        plan_merge(tokens, 5, protected=mask)
    with patch(vit, "5x3") as handle, error, handle.masked(mask):
        pass
    with patch(vit, "5x3", mask=lambda x: mask), error:
        vit(tokens)
    with patch(vit, "5x3", mask=mask == 0):
        vit(tokens)


def test_a_mask_that_is_no_tensor_is_refused(tokens):
    with pytest.raises(PlanError, match=r"must be a tensor, not a list: use torch\.tensor"):
        plan_merge(tokens, 5, protected=[True] * 40)


@VITS
@torch.no_grad()
def test_threads_have_masks_of_their_own(build, tokens):
    vit = build(depth=3).eval()
    want = [vit.last_norm(run_trunk(vit.blocks, tokens, "5x3", mask=random_mask(i))[0]) for i in range(3)]
    plain = vit.last_norm(run_trunk(vit.blocks, tokens, "5x3")[0])
    wrong = []
    with patch(vit, "5x3") as handle:

        @torch.no_grad()
        def work(i):
            for _ in range(15):
                with handle.masked(random_mask(i)):
                    if not torch.equal(vit(tokens), want[i]):
                        wrong.append(i)
                if not torch.equal(vit(tokens), plain):
                    wrong.append(-i)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        async def task(i):
            with handle.masked(random_mask(i)):
                await asyncio.sleep(0)
                return torch.equal(vit(tokens), want[i])

        async def tasks():
            return await asyncio.gather(*(task(i) for i in range(3)))

        assert asyncio.run(tasks()) == [True] * 3
    assert not wrong


def test_a_forward_that_is_computed_again():
    """Checkpoints around blocks know their mask; around the whole model it would be lost, and is refused."""
    vit = MapViT((128, 64), 16, 32, 4, 64, depth=3)
    images, mask = torch.randn(2, 3, 128, 64), random_mask(3, 32)

    def gradient(run):
        x = images.clone().requires_grad_()
        with handle.masked(mask):
            out = run(x)
        out.square().sum().backward()
        return x.grad

    with patch(vit, "4x3", num_prefix_tokens=0) as handle:
        want = gradient(vit)
        vit.use_checkpoint = True
        torch.testing.assert_close(gradient(vit), want)
        vit.use_checkpoint = False
        with pytest.raises(PatchError, match="its mask is unknown"):
            gradient(lambda x: checkpoint(vit, x, use_reentrant=False))


@torch.no_grad()
def test_compiled_with_a_mask(tokens):
    torch._dynamo.reset()
    vit, mask = SequentialViT(depth=2).eval(), random_mask(2)
    with patch(vit, "5x2", mask=mask):
        want = vit(tokens)
        compiled = torch.compile(vit, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(tokens), want)


def test_masks_that_do_not_fit_are_refused(vit, tokens):
    for mask, message in (
        (
            torch.zeros(2, 7, dtype=torch.bool),
            r"must be \[B, N\] = \[2, 58\], or the same without the 18 prefix",
        ),
        (torch.zeros(3, 58, dtype=torch.bool), r"this one is \[3, 58\]"),
        (
            torch.zeros(2, 58, dtype=torch.int64),
            "must be bool, or float with weights, but this one is torch.int64",
        ),
    ):
        with patch(vit, "5x2", num_prefix_tokens=18, mask=mask), pytest.raises(PlanError, match=message):
            vit(tokens)
    patches = torch.zeros(2, 40, dtype=torch.bool)
    patches[:, 3] = True
    with patch(vit, "5x2", num_prefix_tokens=18, mask=patches, record=True) as handle:
        vit(tokens)
        assert handle.plan.sizes().gather(1, handle.plan.source_map)[:, 21].eq(1).all()


def test_the_papers_figure():
    """FastHMR's figure 3: pairs with a person token count less than others; its sources are odd."""
    similarity = {(1, 0): 0.56, (1, 2): 0.80, (1, 4): 0.31, (3, 0): 0.16, (3, 2): 0.87, (3, 4): 0.08,
                  (5, 0): 0.73, (5, 2): 0.12, (5, 4): 0.39}  # fmt: skip
    metric = torch.zeros(1, 6, 6)
    for column, target in enumerate((0, 2, 4)):
        metric[0, target, column] = 1
    for row, source in enumerate((1, 3, 5)):
        for column, target in enumerate((0, 2, 4)):
            metric[0, source, column] = similarity[source, target]
        metric[0, source, 3 + row] = (1 - metric[0, source, :3].square().sum()).clamp_min(0).sqrt()
    metric = metric.roll(-1, 1)  # sources stand first, as in ToMe: token n is token n + 1 of the figure
    person = torch.tensor([[False, True, True, False, False, False]])
    plan = plan_merge(metric, 2, protected=person)
    groups = plan.source_map[0].tolist()
    assert groups[0] == groups[4] == groups[5]  # 1, 5 and 0
    assert sorted(plan.sizes()[0].tolist()) == [1, 1, 1, 3]
    score, _ = match_similar(metric, 0, person)
    torch.testing.assert_close(score, torch.tensor([[0.56, 0.87 - 4, 0.73]]), atol=0.2, rtol=0)
    free = plan_merge(metric, 2).source_map[0].tolist()
    assert free[2] == free[1]  # 3 joins 2 without a mask
    assert free[0] == free[1]  # and so does 1


@torch.no_grad()
def test_person_tokens_stay_alone_while_background_lasts():
    """40, 40 and 22 of 192 tokens: 124 tokens of background are enough."""
    vit = ToyViT(depth=3).eval()
    x = torch.randn(2, 192, 32)
    mask = torch.zeros(2, 192, dtype=torch.bool)
    mask[0, 60:100] = True
    mask[1, 10:40] = True
    _, plan = run_trunk(vit.blocks, x, [40, 40, 22], mask=mask)
    assert isinstance(plan, MergePlan)
    assert plan.num_slots == 90
    assert plan.sizes().gather(1, plan.source_map)[mask].eq(1).all()
    assert plan.sizes().sum(1).tolist() == [192, 192]
    full, plan = run_trunk(vit.blocks, x, [40, 40, 22], mask=torch.ones(192, dtype=torch.bool))
    assert plan.num_slots == 90
    assert full.isfinite().all()


def similar_pair(cosine):
    """Two unit vectors."""
    return torch.tensor([[1.0, 0.0], [cosine, (1 - cosine**2) ** 0.5]])


def test_weights_are_taken_off_similarities():
    # sources 0, 2; targets 1, 3: pairs (0, 1) and (2, 3) are alike, all others nearly at right angles
    alike, less = similar_pair(0.95), similar_pair(0.8)
    metric = torch.zeros(1, 4, 4)
    metric[0, :2, :2], metric[0, 2:, 2:] = alike, less
    subject = torch.tensor([[True, False, False, False]])
    score, target = match_similar(metric, 0, subject * 0.25)
    torch.testing.assert_close(score, torch.tensor([[0.70, 0.80]]))
    assert target.tolist() == [[0, 1]]
    for weight, first in ((0.1, 0), (0.25, 2)):  # equal tokens of the subject may come before others
        for mask in (subject * weight, subject * 2 * weight / 2):
            plan = plan_merge(metric, 1, protected=mask)
            assert plan.source_map[0, first] == plan.source_map[0, first + 1]
    strict = plan_merge(metric, 1, protected=subject)
    assert strict.source_map[0, 2] == strict.source_map[0, 3]
    both = torch.tensor([[0.3, 0.2, 0.0, 0.1]])  # the larger of the two counts
    torch.testing.assert_close(match_similar(metric, 0, both)[0], torch.tensor([[0.65, 0.70]]))


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.reads == "counts"])
@torch.no_grad()
def test_weights_of_zero_change_nothing_and_large_ones_are_the_rule_first(method, tokens):
    vit = ToyViT(depth=3).eval()
    options = {"method": method, "grid": (5, 8), "num_prefix_tokens": 0}
    if METHODS[method].learn is not None:
        options["learned"] = METHODS[method].learn(vit.blocks)
    mask = random_mask(5)
    plain, _ = run_trunk(vit.blocks, tokens, "4x3", **options)
    strict, _ = run_trunk(vit.blocks, tokens, "4x3", mask=mask, **options)
    nothing, _ = run_trunk(vit.blocks, tokens, "4x3", mask=mask * 0.0, **options)
    heavy, _ = run_trunk(vit.blocks, tokens, "4x3", mask=mask * 8.0, **options)
    torch.testing.assert_close(nothing, plain)
    torch.testing.assert_close(heavy, strict, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_slots_keep_the_largest_weight(tokens):
    weights = torch.rand(2, 40, generator=torch.Generator().manual_seed(2))
    seen = []

    def plan(given, r):
        seen.append(given.mask)
        return plan_tome(given, r)

    blocks, spy = ToyViT(depth=2).eval().blocks, Method("spy", Between(plan))
    run_trunk(blocks, tokens, "15x2", method=spy, mask=weights)
    first, second = seen
    assert torch.equal(first, weights)
    for image in range(2):
        assert second.shape == (2, 25)
        assert second[image].max() == weights[image].max()
        assert set(second[image].tolist()) <= set(weights[image].tolist())
