"""ToMe's k-th and random matching against the original's numbers, and merging in windows."""

from __future__ import annotations

import pytest
import torch
from golden_trunk import part
from golden_vit import assert_step, read_method, see

from shared_tmu import METHODS, plan_merge, run_trunk
from shared_tmu.method_parts.reductions import Merge
from shared_tmu.method_parts.seen import Needs, Seen
from shared_tmu.methods.tome_kth import limit_kth, plan_kth
from shared_tmu.methods.tome_random import join_drawn, plan_tome_random
from shared_tmu.methods.window import find_windows, plan_window
from shared_tmu.plans.matching import match_sets

KTH, KTH_CASES = read_method("tome_kth")
DRAWN, DRAWN_CASES = read_method("tome_random")


@pytest.mark.parametrize("name", [name for name, case in KTH_CASES.items() if case["k"] > 1])
def test_kth(name):
    want, k = part(KTH, name), KTH_CASES[name]["k"]
    most = limit_kth(want["x"].shape[1], 0, k)
    assert most == want["x"].shape[1] - want["out_mean"].shape[1]
    seen = see(want, METHODS["tome-kth"], 0)
    assert_step(plan_kth(seen, most, k, cuts_tail=True), want, "out_mean")
    kept = plan_kth(seen, most, k).plan.check()
    assert torch.equal(kept.source_map.where(want["map"] >= 0, -1), want["map"])


@pytest.mark.parametrize("r", [1, 2, 3, 9])
def test_the_tail_goes_first(r):
    seen = Seen.of_metric(torch.randn(2, 3 + 17, 4), 3, None, "tome-kth", Needs.KEYS | Needs.SIZES)
    plan = plan_kth(seen, r, 5, cuts_tail=True).plan.check()
    assert (plan.source_map[:, -2:] < 0).sum(1).eq(min(r, 2)).all()
    assert (plan.source_map[:, :-2] >= 0).all()


def test_one_in_one_is_nothing():
    assert limit_kth(7, 0, 1) == 0


@pytest.mark.parametrize("name", [name for name, case in DRAWN_CASES.items() if case["r"]])
def test_random_with_the_recorded_draw(name):
    want = part(DRAWN, name)
    assert_step(Merge(join_drawn(want["metric"], want["a_pos"], want["b_pos"])), want, "out_mean")


def test_the_random_draw_depends_on_the_seed_only():
    seen = Seen.of_metric(torch.randn(2, 40, 8), 2, None, "tome-random", Needs.KEYS | Needs.SIZES)
    maps = [plan_tome_random(seen, 9, seed).plan.source_map for seed in (0, 0, 1)]
    assert torch.equal(maps[0], maps[1])
    assert not torch.equal(maps[0], maps[2])
    single = plan_tome_random(seen, 37).plan.check()  # all but one target
    assert single.num_slots == 3


def test_positions_per_image_are_positions():
    metric, protected = torch.randn(2, 20, 4), torch.rand(2, 20) < 0.3
    sources, targets = torch.arange(0, 20, 2), torch.arange(1, 20, 2)
    want = match_sets(metric, sources, targets, protected)
    got = match_sets(metric, sources.expand(2, -1), targets.expand(2, -1), protected)
    assert all(torch.equal(a, b) for a, b in zip(want, got, strict=True))


# -- windows


def windows(rows: int, columns: int, side: int) -> torch.Tensor:
    row, column = torch.arange(rows)[:, None], torch.arange(columns)
    return (row // side * 100 + column // side).flatten()


@pytest.mark.parametrize(("rows", "columns"), [(16, 12), (7, 5)])
def test_groups_stay_in_their_window(rows, columns, vit):
    x = torch.randn(2, 3 + rows * columns, 32)
    room = rows * columns // 2 - 4 * 3  # the windows always have as many pairs
    schedule = [room // 3] * 3
    options = {"method": "window", "num_prefix_tokens": 3, "grid": (rows, columns)}
    _, route = run_trunk(vit.blocks, x, schedule, **options)
    home, slots = windows(rows, columns, 4), route.source_map[:, 3:]
    for image in range(2):
        for slot in slots[image].unique():
            assert home[slots[image] == slot].unique().numel() == 1


def test_one_window_is_another_order_of_tome():
    """All pairs of a grid that is one window: the most similar merge, as in ToMe."""
    metric = torch.randn(2, 16, 8)
    seen = Seen.of_metric(metric, 0, None, "window", Needs.KEYS | Needs.SIZES)
    seen.grid = (4, 4)
    plan = plan_window(seen, 5).plan
    assert torch.equal(plan.source_map, plan_merge(metric, 5).source_map)


def test_the_window_of_a_group_is_that_of_its_first_patch():
    seen = Seen(torch.randn(1, 8, 4), grid=(2, 4))
    seen.grid = (2, 4)
    assert find_windows(seen, (1, 2)).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]]
    seen.route = plan_merge(torch.randn(1, 8, 4), 3)
    seen.tokens = torch.randn(1, 5, 4)
    home = find_windows(seen, (1, 2))[0]
    for slot in range(5):
        first = int((seen.route.source_map[0] == slot).nonzero()[0, 0])
        assert home[slot] == first // 2
