"""Every method under masks, patched, compiled, and as a plan."""

from __future__ import annotations

import copy
import inspect
import io
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rows import EVERY, METHODS, TOLERANCE, check, run, schedule_for
from torch import Tensor

from shared_tmu import MergePlan, Method, patch, plan_merge, run_trunk, unmerge
from shared_tmu.errors import MethodError
from shared_tmu.method_parts.places import Place
from shared_tmu.method_parts.reductions import Chain, Linear
from shared_tmu.methods import table

# -- protection


def masked_schedule(method: str, r: int = 6) -> str:
    """Counts that follow from the images are the same with a mask in the first block only."""
    return "threshold:0.8x1" if METHODS[method].reads == "thresholds" else schedule_for(method, r)


def masks(kind: str, tokens: int) -> Tensor:
    """Masks of two images over the tokens."""
    mask = torch.zeros(2, tokens, dtype=torch.bool)
    if kind == "few":
        mask[0, 5:9] = True
        mask[1, [4, 11, 12]] = True
    elif kind == "full":
        mask[:] = True
    return mask


def spared_alone(route: MergePlan | Chain, mask: Tensor) -> Tensor:
    """Which of the masked tokens have a slot to themselves, whose features nobody else gets."""
    if isinstance(route, MergePlan):
        users = torch.zeros(len(mask), route.num_slots, dtype=torch.int64)
        users.scatter_add_(1, route.copy_map, torch.ones_like(route.copy_map))
        alone = (route.source_map >= 0) & (users.gather(1, route.copy_map) == 1)
        return alone[mask]
    matrix = None
    for part in route.parts:
        assert isinstance(part, Linear)
        matrix = part.matrix if matrix is None else part.matrix @ matrix
    columns = matrix.expand(len(mask), -1, -1).mT[mask]  # [masked, M]
    return ((columns - 1).abs() < 1e-9).sum(1).eq(1) & ((columns.abs() > 1e-9).sum(1) == 1)


@EVERY
@torch.no_grad()
def test_weights_of_any_size_count_as_the_most_that_they_can(method, vit):
    """Else little of the similarities is left beside them, and nothing beside infinite ones."""
    x, mask = torch.randn(2, 40, 32), masks("few", 40)
    mask[1, :28] = True  # so that some of them have to go

    def merged(weight: float) -> Tensor:
        weights = torch.where(mask, weight, 0.0)
        return run(vit, x, masked_schedule(method), method, mask=weights)[0]

    want = merged(1e3)
    assert want.isfinite().all()
    for weight in (1e9, torch.inf):
        assert torch.equal(merged(weight), want)


@EVERY
@pytest.mark.parametrize("prefix", [0, 1, 3])
@torch.no_grad()
def test_masked_tokens_are_spared_while_there_are_others(method, prefix, vit):
    x = torch.randn(2, prefix + 40, 32)
    mask = masks("few", prefix + 40)
    _, route = run(vit, x, masked_schedule(method, 4), method, prefix, mask=mask)
    check(route, prefix)
    if METHODS[method].removes:
        mergers = METHODS[method].reads == "counts"
        spared = spared_alone(route, mask)
        # pruned tokens may copy a spared one, which leaves it as it is
        assert spared.all() or (isinstance(route, MergePlan) and route.prunes and mergers)
        if isinstance(route, MergePlan):
            assert (route.source_map[mask] >= 0).all()
            assert route.sizes().gather(1, route.source_map.clamp_min(0))[mask].eq(1).all()
    _, plain = run(vit, x, masked_schedule(method, 4), method, prefix)
    assert route.num_slots == plain.num_slots  # a mask changes which tokens go, not how many


@EVERY
@pytest.mark.parametrize("prefix", [0, 1])
@torch.no_grad()
def test_masks_with_weights(method, prefix, vit):
    """Heavy ones spare tokens as flags do, and none at all are no mask."""
    x, mask = torch.randn(2, prefix + 40, 32), masks("few", prefix + 40)
    _, route = run(vit, x, masked_schedule(method, 4), method, prefix, mask=mask * 8.0)
    check(route, prefix)
    _, plain = run(vit, x, masked_schedule(method, 4), method, prefix)
    _, light = run(vit, x, masked_schedule(method, 4), method, prefix, mask=mask * 0.0)
    assert route.num_slots == plain.num_slots == light.num_slots
    if isinstance(route, MergePlan) and METHODS[method].removes:
        assert torch.equal(light.source_map, plain.source_map)
        assert (route.source_map[mask] >= 0).all()
        assert route.sizes().gather(1, route.source_map.clamp_min(0))[mask].eq(1).all()


@EVERY
@torch.no_grad()
def test_background_first(method, vit):
    """Where too few others are left, spared tokens go as well: counts stay, results are sound."""
    x = torch.randn(2, 2 + 24, 32)
    _, plain = run(vit, x, masked_schedule(method), method, 2)
    full, route = run(vit, x, masked_schedule(method), method, 2, mask=masks("full", 26))
    assert route.num_slots == plain.num_slots
    assert full.isfinite().all()
    check(route, 2)
    half = torch.ones(24, dtype=torch.bool)
    half[:5] = False
    some, route = run(vit, x, masked_schedule(method), method, 2, mask=half)
    assert route.num_slots == plain.num_slots
    assert some.isfinite().all()
    check(route, 2)


@EVERY
@torch.no_grad()
def test_an_empty_mask_is_none(method, vit):
    x = torch.randn(2, 3 + 30, 32)
    want, route = run(vit, x, schedule_for(method), method, 3)
    got, masked = run(vit, x, schedule_for(method), method, 3, mask=masks("empty", 33))
    torch.testing.assert_close(got, want, atol=TOLERANCE, rtol=TOLERANCE)
    if route.source_map is not None:
        assert torch.equal(route.source_map, masked.source_map)


@EVERY
@torch.no_grad()
def test_a_mask_of_one_image_does_not_touch_another(method, vit):
    x, mask = torch.randn(2, 30, 32), masks("few", 30)
    together, _ = run(vit, x, schedule_for(method), method, mask=mask)
    for image in range(2):
        part = slice(image, image + 1)
        alone, _ = run(vit, x[part], schedule_for(method), method, mask=mask[part])
        torch.testing.assert_close(together[part], alone, atol=TOLERANCE, rtol=TOLERANCE)


@EVERY
@torch.no_grad()
def test_protecting_the_last_is_protecting_the_first_in_another_order(method, vit):
    # "last" refuses counts that differ between images
    x = torch.randn(1 if METHODS[method].reads == "thresholds" else 2, 5 + 32, 32)
    settings = {"method": METHODS[method], "num_prefix_tokens": 5, "grid": (8, 4)}
    if METHODS[method].learn is not None:
        settings["learned"] = METHODS[method].learn(list(vit.blocks))
    got, route = run_trunk(vit.blocks, x, schedule_for(method), protect="last", **settings)
    want, first = run_trunk(vit.blocks, x.roll(5, 1), schedule_for(method), **settings)
    torch.testing.assert_close(got, want.roll(-5, 1), atol=TOLERANCE, rtol=TOLERANCE)
    assert route.num_slots == first.num_slots
    short, again = run_trunk(vit.blocks, x, schedule_for(method), protect="last", unmerge=False, **settings)
    torch.testing.assert_close(unmerge(short, again), got, atol=TOLERANCE, rtol=TOLERANCE)


# -- models that are patched


@EVERY
@torch.no_grad()
def test_a_patched_model(method, vit, tmp_path):
    model, x = copy.deepcopy(vit), torch.randn(2, 40, 32)
    plain, keys = model(x), list(model.state_dict())
    with patch(model, schedule_for(method), METHODS[method], grid=(8, 5), record=True) as handle:
        want = model(x)
        assert want.shape == plain.shape
        assert not torch.equal(want, plain)
        assert list(model.state_dict()) == keys
        assert handle.plan is not None
        assert handle.plan.num_tokens == 40
        twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
        stream = io.BytesIO()
        torch.save(model, stream)
        twins.append(torch.load(io.BytesIO(stream.getvalue()), weights_only=False))
        for twin in twins:
            assert torch.equal(twin(x), want)
        handle.schedule = "off"
        assert torch.equal(model(x), plain)
    assert torch.equal(model(x), plain)


@EVERY
@torch.no_grad()
def test_compiled_in_one_graph(method, vit):
    torch._dynamo.reset()
    if METHODS[method].reads == "thresholds":
        pytest.skip("counts follow from numbers, which a graph has not")
    model, x = copy.deepcopy(vit), torch.randn(2, 24, 32)
    with patch(model, "5x2", METHODS[method], grid=(6, 4)):
        want = model(x)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), want, atol=TOLERANCE, rtol=TOLERANCE)


@EVERY
@torch.no_grad()
def test_watching_changes_nothing(method, vit):
    from shared_tmu.method_parts.seen import Watch

    class Note(Watch):
        def __init__(self):
            self.parts, self.planned_at = [], []

        def call(self, part, function, *arguments):
            self.parts.append(part)
            return function(*arguments)

        def planned(self, seen, reduction):
            self.planned_at.append(seen.layer)

    model, x, note = copy.deepcopy(vit), torch.randn(2, 24, 32), Note()
    with patch(model, schedule_for(method), METHODS[method], grid=(6, 4)) as handle:
        want = model(x)
        with handle.watching(note):
            assert torch.equal(model(x), want)
        seen = len(note.parts)
        assert torch.equal(model(x), want)
    assert len(note.parts) == seen > 0
    assert {"attention", "MLP", "matching"} <= set(note.parts)
    assert note.planned_at
    assert set(note.planned_at) <= {0, 1, 2, 3}


# -- plans from a metric, and the table

PLANNERS = [name for name, row in METHODS.items() if row.plans_from_metric]


@given(
    st.integers(1, 3), st.integers(0, 20), st.integers(2, 30), st.integers(0, 999), st.sampled_from(PLANNERS)
)
def test_plans_from_a_metric_compose(batch, prefix, patches, seed, method):
    torch.manual_seed(seed)
    tokens = torch.randn(batch, prefix + patches, 6)
    total, count = MergePlan.identity(batch, prefix + patches), prefix + patches
    for r in (1, patches // 3, patches):
        metric = torch.randn(batch, count, 4).to(torch.float16 if r == 1 else torch.float32)
        plan = plan_merge(metric, r, prefix, METHODS[method])
        assert torch.equal(plan_merge(metric.float(), r, prefix, METHODS[method]).source_map, plan.source_map)
        total = total.then(plan)
        count = plan.num_slots
        check(total, prefix)
    assert unmerge(tokens[:, : total.num_slots], total).shape == tokens.shape


@given(st.integers(0, 999), st.integers(1, 5), st.sampled_from(PLANNERS))
def test_ties_of_a_metric_do_not_depend_on_the_neighbours(seed, period, method):
    torch.manual_seed(seed)
    # rows of length 1 with a single number: products are exact, and so are ties
    metric = torch.nn.functional.one_hot(torch.randint(0, 4, (3, 24)), 4).double()
    metric[:, ::period] = metric[:, :1]
    together = plan_merge(metric, 5, method=METHODS[method]).source_map
    for image in range(3):
        alone = plan_merge(metric[image : image + 1].clone(), 5, method=METHODS[method]).source_map
        assert torch.equal(together[image : image + 1], alone)


@EVERY
def test_what_does_not_plan_from_a_metric_says_so(method):
    metric = torch.randn(2, 20, 4, requires_grad=True)
    if method in PLANNERS:
        assert not plan_merge(metric, 3, method=METHODS[method]).source_map.requires_grad
        return
    with pytest.raises(MethodError, match="run it with run_trunk or patch"):
        plan_merge(metric, 3, method=METHODS[method])


def test_a_name_can_be_given_once():
    row = METHODS["tome"]
    with pytest.raises(MethodError, match="two methods have the name 'tome'"):
        table(row, row)
    with pytest.raises(TypeError):
        METHODS["tome"] = row
    with pytest.raises(MethodError, match="no method 'nope'"):
        run_trunk([], torch.randn(1, 2, 3), "off", method="nope")


@EVERY
def test_every_row_is_documented(method):
    row = METHODS[method]
    function = row.step.plan if isinstance(row.step, Place) else row.step
    assert inspect.getdoc(function)
    assert inspect.getdoc(inspect.getmodule(function))
    assert row.paper is None or row.paper.startswith("arXiv:")
    assert isinstance(row, Method)
    for tokens, prefix in ((0, 0), (5, 5), (10, 2), (192, 0)):
        assert 0 <= row.limit(tokens, prefix) <= max(tokens - prefix, 0)
