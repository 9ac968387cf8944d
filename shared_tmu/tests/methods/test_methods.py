"""Every row of METHODS through the same tests; a new method is tested by being listed."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from toy_vit import GammaBlock, ScaledBlock, ToyBlock, ToyViT

from shared_tmu import METHODS, MergePlan, Method, Schedule, patch, plan_merge, run_trunk, unmerge
from shared_tmu.errors import MethodError
from shared_tmu.methods import count_tokens, table
from shared_tmu.places import Place
from shared_tmu.reductions import Chain, Linear
from shared_tmu.trunk import TrunkPass, TrunkSettings

EVERY = pytest.mark.parametrize("method", METHODS)
PREFIXES = pytest.mark.parametrize("prefix", [0, 1, 2, 3, 18])
TOLERANCE = 2e-5


def schedule_for(method: str, r: int = 6, layers: int = 3) -> str:
    """A schedule of the kind that the method takes."""
    return "threshold:0.5" if METHODS[method].reads == "thresholds" else f"{r}x{layers}"


def options(method: str, patches: int, prefix: int = 0) -> dict[str, object]:
    """What the method needs to know beside the tokens; a grid with rows and columns where there is one."""
    rows = next(n for n in (4, 3, 2, 1) if patches % n == 0)
    grid = (patches // rows, rows) if patches else None
    return {"method": method, "num_prefix_tokens": prefix, "grid": grid}


def run(vit: nn.Module, x: Tensor, schedule: str, method: str, prefix: int = 0, **more: object):
    """A trunk, its tokens and its route."""
    given_options = {**options(method, x.shape[1] - prefix, prefix), **more}
    if METHODS[method].learn is not None and "learned" not in given_options:
        torch.manual_seed(7)
        given_options["learned"] = METHODS[method].learn(list(vit.blocks)).to(x.dtype)
    return run_trunk(vit.blocks, x, schedule, **given_options)


@pytest.fixture(scope="module")
def vit() -> ToyViT:
    """Four blocks without task tokens."""
    torch.manual_seed(1)
    return ToyViT(depth=4).eval()


def check(route: MergePlan | Chain, prefix: int) -> None:
    """Its maps are sound; prefix tokens stay first, alone, and nobody copies them."""
    parts = [route] if isinstance(route, MergePlan) else route.parts
    for part in parts:
        if isinstance(part, Linear):
            rows = part.matrix.double()
            unit = torch.eye(part.num_slots, dtype=torch.float64).expand_as(rows @ rows.mT)
            torch.testing.assert_close(rows @ rows.mT, unit, atol=1e-10, rtol=0)
            first = rows[..., :prefix, :prefix]
            assert torch.equal(first, torch.eye(prefix).double().expand_as(first))
            assert rows[..., :prefix, prefix:].eq(0).all()
            assert rows[..., prefix:, :prefix].eq(0).all()
            continue
        part.check()
        assert torch.equal(part.source_map[:, :prefix], torch.arange(prefix).expand(part.batch_size, -1))
        assert part.sizes()[:, :prefix].eq(1).all()
        assert (part.copy_map[:, prefix:] >= prefix).all()


@EVERY
@PREFIXES
@pytest.mark.parametrize("patches", [0, 1, 2, 3, 7, 40])
@pytest.mark.usefixtures("poisoned_memory")
@torch.no_grad()
def test_shapes(method, prefix, patches, vit):
    patches = max(patches, 1 - prefix)  # the blocks take no empty sequence
    x = torch.randn(3, prefix + patches, 32)
    for r in (1, max(patches // 4, 1), patches + 50):
        full, route = run(vit, x, schedule_for(method, r), method, prefix)
        short, again = run(vit, x, schedule_for(method, r), method, prefix, unmerge=False)
        assert full.shape == x.shape
        assert short.shape == (3, route.num_slots, 32)
        assert route.num_tokens == prefix + patches
        assert torch.equal(unmerge(short, again), full)
        assert full.isfinite().all()
        check(route, prefix)
        if METHODS[method].reads == "counts":
            counts = count_tokens(method, Schedule.parse(f"{r}x3"), 4, prefix + patches, prefix)
            assert route.num_slots == counts[-1] >= prefix + min(patches, 1)


@EVERY
@pytest.mark.parametrize("family", [ToyBlock, ScaledBlock, GammaBlock])
@torch.no_grad()
def test_off_is_the_loop_bit_for_bit(method, family):
    vit = ToyViT(depth=3, block=family).eval()
    x = torch.randn(2, 12, 32)
    want = x
    for block in vit.blocks:
        want = block(want)
    for off in ("off", 0, [0, 0, 0], []):
        got, plan = run(vit, x, off, method)
        assert torch.equal(got, want)
        assert torch.equal(plan.source_map, torch.arange(12).expand(2, -1))
    changed, _ = run(vit, x, schedule_for(method, 4), method)
    assert not torch.allclose(changed, want, atol=1e-3)


@EVERY
@torch.no_grad()
def test_blocks_run_untouched_until_the_method_acts(method):
    vit, called = ToyViT(depth=4).eval(), []
    if METHODS[method].reads != "counts":
        pytest.skip("acts in every block that has thresholds")
    for number, block in enumerate(list(vit.blocks)[:2]):
        block.register_forward_hook(lambda *_, number=number: called.append(number))
    run(vit, torch.randn(2, 40, 32), [0, 0, 6, 0], method)
    assert called == [0, 1]


@EVERY
@pytest.mark.parametrize("prefix", [0, 1, 18])
@torch.no_grad()
def test_an_image_does_not_depend_on_its_neighbours(method, prefix, vit):
    x = torch.randn(4, prefix + 30, 32)
    x[:, prefix + 3 :: 4] = x[:, prefix + 1 : prefix + 2]  # many ties
    x[3] *= 40
    for dtype in (torch.float32, torch.float64):
        blocks = copy.deepcopy(vit).to(dtype)
        together, route = run(blocks, x.to(dtype), schedule_for(method), method, prefix)
        for image in range(4):
            alone, _ = run(blocks, x[image : image + 1].to(dtype), schedule_for(method), method, prefix)
            if dtype == torch.float64:  # in float32 rounding may decide between ties
                torch.testing.assert_close(together[image : image + 1], alone, atol=1e-6, rtol=1e-6)
        assert route.batch_size == 4


@EVERY
@torch.no_grad()
def test_the_same_every_time_and_no_random_number_is_drawn(method, vit):
    x, state = torch.randn(2, 30, 32), torch.get_rng_state()
    learned = METHODS[method].learn and METHODS[method].learn(list(vit.blocks))
    state = torch.get_rng_state()
    first, route = run(vit, x, schedule_for(method), method, learned=learned)
    second, again = run(vit, x, schedule_for(method), method, learned=learned)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, second)
    if route.source_map is not None:
        assert torch.equal(route.source_map, again.source_map)


@EVERY
@torch.no_grad()
def test_threads_do_not_disturb_each_other(method, vit):
    inputs = [torch.randn(2, 24 + 4 * i, 32) for i in range(3)]
    schedules = [schedule_for(method, r) for r in (3, 5, 2)]
    want = [run(vit, x, s, method)[0] for x, s in zip(inputs, schedules, strict=True)]
    wrong = []

    def work(i):
        for _ in range(8):
            if not torch.equal(run(vit, inputs[i], schedules[i], method)[0], want[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    if METHODS[method].learn is not None:
        pytest.skip("makes its module from the global generator")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@EVERY
@torch.no_grad()
def test_block_by_block_is_all_at_once(method, vit):
    """Whoever iterates sees the full grid between blocks, and ends with the same."""
    x = torch.randn(2, 3 + 32, 32)
    row = METHODS[method]
    settings = TrunkSettings(Schedule.parse(schedule_for(method)), row, 3, grid=(8, 4))
    torch.manual_seed(7)
    learned = row.learn(list(vit.blocks)) if row.learn else None
    want, route = run(vit, x, schedule_for(method), method, 3, grid=(8, 4), learned=learned)
    full, before = x, TrunkPass(settings, 4, learned=learned)
    for number, block in enumerate(vit.blocks):
        after = copy.copy(before)
        slots = after.step(number, block, after.reduce(full))
        full = after.restore(slots) if number < 3 else after.leave(slots)
        assert full.shape == x.shape
        torch.testing.assert_close(after.restore(after.reduce(full)), full, atol=1e-5, rtol=1e-5)
        before = after
    torch.testing.assert_close(full, want, atol=TOLERANCE, rtol=TOLERANCE)
    if isinstance(route, MergePlan) and before.plans:
        assert torch.equal(full, want)
        assert torch.equal(before.plans[-1].source_map, route.source_map)


@EVERY
def test_gradients_reach_tokens_and_weights(method):
    vit = ToyViT(depth=2).double()
    x = torch.randn(2, 12, 32, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 12, 32, dtype=torch.float64)
    schedule = schedule_for(method, 3, 2)

    def loss(x):
        return (run(vit, x, schedule, method)[0] * weight).sum()

    loss(x).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vit.blocks.parameters())
    direction = torch.randn_like(x)
    step = 1e-6 * direction
    with torch.no_grad():
        slope = (loss(x + step) - loss(x - step)) / 2e-6
    torch.testing.assert_close((x.grad * direction).sum(), slope, atol=1e-5, rtol=1e-4)


@EVERY
@torch.no_grad()
def test_half_precision_follows_float32(method):
    vit = ToyViT(depth=3, width=64).eval()
    x = torch.randn(2, 40, 64)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        got, route = run(copy.deepcopy(vit).to(dtype), x.to(dtype), schedule_for(method), method)
        assert got.dtype == dtype
        assert got.isfinite().all()
        check(route, 0)
    with torch.autocast("cpu", torch.bfloat16):
        got, route = run(vit, x, schedule_for(method), method)
    assert got.isfinite().all()
    check(route, 0)


@EVERY
@torch.no_grad()
def test_numbers_that_are_none_leave_a_sound_plan(method, vit):
    for bad in (float("nan"), float("inf"), 0.0):
        x = torch.randn(2, 3 + 20, 32)
        x[1, 5:9] = bad
        out, route = run(vit, x, schedule_for(method, 4), method, 3)
        assert out.shape == x.shape
        if isinstance(route, MergePlan):
            route.check()
        clean, _ = run(vit, x[:1], schedule_for(method, 4), method, 3)
        torch.testing.assert_close(out[:1], clean, atol=TOLERANCE, rtol=TOLERANCE)


# -- protection


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
@pytest.mark.parametrize("prefix", [0, 1, 3])
@torch.no_grad()
def test_masked_tokens_are_spared_while_there_are_others(method, prefix, vit):
    x = torch.randn(2, prefix + 40, 32)
    mask = masks("few", prefix + 40)
    _, route = run(vit, x, schedule_for(method, 4), method, prefix, mask=mask)
    check(route, prefix)
    if METHODS[method].removes:
        mergers = METHODS[method].reads == "counts"
        spared = spared_alone(route, mask)
        # pruned tokens may copy a spared one, which leaves it as it is
        assert spared.all() or (isinstance(route, MergePlan) and route.prunes and mergers)
        if isinstance(route, MergePlan):
            assert (route.source_map[mask] >= 0).all()
            assert route.sizes().gather(1, route.source_map.clamp_min(0))[mask].eq(1).all()
    _, plain = run(vit, x, schedule_for(method, 4), method, prefix)
    assert route.num_slots == plain.num_slots  # a mask changes which tokens go, not how many


@EVERY
@torch.no_grad()
def test_background_first(method, vit):
    """Where too few others are left, spared tokens go as well: counts stay, results are sound."""
    x = torch.randn(2, 2 + 24, 32)
    _, plain = run(vit, x, schedule_for(method), method, 2)
    full, route = run(vit, x, schedule_for(method), method, 2, mask=masks("full", 26))
    assert route.num_slots == plain.num_slots
    assert full.isfinite().all()
    check(route, 2)
    half = torch.ones(24, dtype=torch.bool)
    half[:5] = False
    some, route = run(vit, x, schedule_for(method), method, 2, mask=half)
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
    x = torch.randn(2, 5 + 32, 32)
    settings = {"method": method, "num_prefix_tokens": 5, "grid": (8, 4)}
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
    with patch(model, schedule_for(method), method, grid=(8, 5), record=True) as handle:
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
    with patch(model, "5x2", method, grid=(6, 4)):
        want = model(x)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x), want, atol=TOLERANCE, rtol=TOLERANCE)


@EVERY
@torch.no_grad()
def test_watching_changes_nothing(method, vit):
    from shared_tmu.seen import Watch

    class Note(Watch):
        def __init__(self):
            self.parts, self.planned_at = [], []

        def call(self, part, function, *arguments):
            self.parts.append(part)
            return function(*arguments)

        def planned(self, seen, reduction):
            self.planned_at.append(seen.layer)

    model, x, note = copy.deepcopy(vit), torch.randn(2, 24, 32), Note()
    with patch(model, schedule_for(method), method, grid=(6, 4)) as handle:
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
        plan = plan_merge(metric, r, prefix, method)
        assert torch.equal(plan_merge(metric.float(), r, prefix, method).source_map, plan.source_map)
        total = total.then(plan)
        count = plan.num_slots
        check(total, prefix)
    assert unmerge(tokens[:, : total.num_slots], total).shape == tokens.shape


@EVERY
def test_what_does_not_plan_from_a_metric_says_so(method):
    metric = torch.randn(2, 20, 4, requires_grad=True)
    if method in PLANNERS:
        assert not plan_merge(metric, 3, method=method).source_map.requires_grad
        return
    with pytest.raises(MethodError, match="run it with run_trunk or patch"):
        plan_merge(metric, 3, method=method)


def test_a_name_can_be_given_once():
    row = METHODS["tome"]
    with pytest.raises(MethodError, match="two methods are called 'tome'"):
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
