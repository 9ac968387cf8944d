"""Every row of METHODS through the same tests; a new method is tested by being listed."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from rows import EVERY, METHODS, TOLERANCE, check, run, schedule_for
from toy_vit import GammaBlock, ScaledBlock, ToyBlock, ToyViT

from shared_tmu import MergePlan, Schedule, unmerge
from shared_tmu.methods import count_tokens
from shared_tmu.trunk import TrunkPass, TrunkSettings

PREFIXES = pytest.mark.parametrize("prefix", [0, 1, 2, 3, 18])


@EVERY
@PREFIXES
@pytest.mark.parametrize("patches", [0, 1, 2, 3, 7, 9, 40])
@pytest.mark.usefixtures("poisoned_memory")
@torch.no_grad()
def test_shapes(method, prefix, patches, vit):
    patches = max(patches, 1 - prefix)  # the blocks take no empty sequence
    x = torch.randn(3, prefix + patches, 32)
    if method == "tomesd" and patches == 7:
        pytest.skip("a row of 7 has no cell of 2 x 2: refused, see test_tomesd.py")
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
            counts = count_tokens(METHODS[method], Schedule.parse(f"{r}x3"), 4, prefix + patches, prefix)
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
    x[3] *= 40
    for dtype in (torch.float32, torch.float64):
        blocks = copy.deepcopy(vit).to(dtype)
        together, route = run(blocks, x.to(dtype), schedule_for(method), method, prefix)
        for image in range(4):
            alone, _ = run(blocks, x[image : image + 1].to(dtype), schedule_for(method), method, prefix)
            if dtype == torch.float64:  # in float32 rounding may decide between nearly equal scores
                torch.testing.assert_close(together[image : image + 1], alone, atol=1e-6, rtol=1e-6)
        assert route.batch_size == 4


@EVERY
@pytest.mark.parametrize("period", [2, 3, 4, 1])
@torch.no_grad()
def test_ties_leave_a_sound_plan(method, period, vit):
    """Equal tokens: a trunk rounds a batch and an image alone differently, so either choice is right."""
    x = torch.randn(3, 2 + 30, 32)
    x[:, 2::period] = x[:, 2:3]
    full, route = run(vit, x, schedule_for(method), method, 2)
    check(route, 2)
    assert full.isfinite().all()


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
    assert got.dtype == torch.float32  # as without merging
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
