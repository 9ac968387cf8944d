"""Tokens that a schedule leaves, and what it costs."""

from __future__ import annotations

import json
import logging

import pytest
from golden_trunk import GOLDEN, read_golden, read_r
from hypothesis import given
from hypothesis import strategies as st

from shared_tmu import Schedule
from shared_tmu.errors import ScheduleError
from shared_tmu.flops import TrunkShape
from shared_tmu.late import late_schedule
from shared_tmu.methods import count_costs
from shared_tmu.schedule import all_but_one, half
from shared_tmu.schedule_limits import say_where_limited
from shared_tmu.schedule_rules import divide_as_opentome, incline


def test_too_many_layers_says_what_would_fit():
    with pytest.raises(
        ScheduleError, match=r"schedule '10x40' names 40 layers, this trunk has 32: use at most '10x32'\."
    ):
        Schedule.parse("10x40").per_layer(32)
    with pytest.raises(ScheduleError, match=r"use at most '10x8\+6x4'"):
        Schedule.parse("10x8+6x8").per_layer(12)
    with pytest.raises(ScheduleError, match="names 999999999 layers"):  # and does not try to list them
        Schedule.parse("1x999999999").per_layer(32)
    assert (
        Schedule.parse([1] * 4 + [0] * 9).per_layer(4) == [1] * 4
    )  # layers that merge nothing are not named


@pytest.mark.parametrize(
    ("value", "depth", "want"), [(8, 1, [8]), ((8, -1.0), 1, [8]), ((8, 1.0), 2, [0, 16])]
)
def test_shallow_trunks(value, depth, want):
    assert Schedule.parse(value).per_layer(depth) == want


@given(st.integers(0, 300), st.floats(-1, 1), st.integers(1, 40))
def test_pair_is_never_negative_and_near_its_mean(r, inflection, depth):
    layers = Schedule.parse((r, inflection)).per_layer(depth)
    assert len(layers) == depth
    assert min(layers) >= 0
    assert max(layers) <= 2 * r
    assert abs(sum(layers) - r * depth) <= depth


def test_pair_is_the_published_rule():
    tensors, meta = read_golden("matching/tome")
    cases = {name: case for name, case in meta["cases"].items() if case["kind"] == "schedule"}
    assert len(cases) == 10
    for name, case in cases.items():
        assert (
            Schedule.parse(read_r(case)).per_layer(case["layers"]) == tensors[f"{name}.r_per_layer"].tolist()
        )
    assert sum(Schedule.parse("5@-1").per_layer(32)) == 145


RECORDED = json.loads((GOLDEN / "methods/schedules.json").read_text())


@pytest.mark.parametrize("case", RECORDED["per_layer_schedule"])
def test_tome_pairs_and_lists(case):
    if case["inflect"] is None:
        assert Schedule.parse(case["r"]).per_layer(case["layers"]) == case["r_per_layer"]
    else:
        assert incline(case["r"], case["inflect"], case["layers"]) == case["r_per_layer"]


@pytest.mark.parametrize("case", RECORDED["total_to_r"])
def test_totals_of_opentome(case):
    total, inflection, depth = case["merge_num"], case["inflect"], case["layers"]
    exact = case["r_per_layer_exact"]
    assert incline(case["r"], inflection, depth) == case["r_per_layer"]
    assert divide_as_opentome(total, inflection, depth) == exact
    schedule = Schedule.parse(f"opentome:{total}@{inflection}")
    assert schedule.per_layer(depth) == [max(r, 0) for r in exact]
    assert schedule.num_layers is None


@pytest.mark.parametrize("total", [1, 2, 7, 98])
def test_totals_of_opentome_in_one_layer(total):
    assert Schedule.parse(f"opentome:{total}@-0.5").per_layer(1) == [total]


def test_counts_kept():
    schedule = Schedule.keeping({3: 96, 6: 48, 9: 24}, 192 + 18, 18)
    assert str(schedule) == "0x3+96x1+0x2+48x1+0x2+24x1"
    counts = schedule.token_counts(12, 210, 18, all_but_one)
    assert [count - 18 for count in counts] == [192] * 4 + [96] * 3 + [48] * 3 + [24] * 3
    merged = [197, 194, 176, 156, 141, 133, 121, 107, 88, 64, 56, 3]  # DiffRate, with the class token
    published = Schedule.keeping(dict(enumerate(merged)), 197)
    assert published.token_counts(12, 197, 1, all_but_one)[1:] == merged
    assert Schedule.keeping({}, 192).is_off
    assert Schedule.keeping({2: 192}, 192).is_off
    for bad in ({1: 0}, {1: 193}, {1: 90, 2: 91}, {-1: 5}):
        with pytest.raises(ScheduleError, match="cannot keep"):
            Schedule.keeping(bad, 192)


def test_shares_of_all_tokens():
    schedule = Schedule.parse("0.8x4")
    assert schedule.token_counts(4, 65, 1) == [65, 53, 43, 35, 29]
    assert schedule.token_counts(4, 65, 1, shares_all=True) == [65, 52, 42, 34, 28]


@pytest.mark.parametrize("text", ["2", "3", "2x16", "2@-1", "total:30", "0.99"])
def test_a_late_schedule_costs_the_same(text):
    shape, flat = TrunkShape(32, 1280, 192), Schedule.parse(text)
    late = late_schedule(flat, shape)
    costs = [sum(cost.flops for cost in count_costs("tome", one, shape)) for one in (flat, late)]
    assert abs(costs[1] / costs[0] - 1) < 0.005
    assert late.power == 2
    assert late.total > 192 - flat.token_counts(32, 192)[-1]
    assert late_schedule(Schedule.parse("off"), shape).is_off
    with pytest.raises(ScheduleError, match=r"'8x16' costs 49% of .* power 2 cost at least 74%"):
        late_schedule(Schedule.parse("8x16"), shape)
    assert late_schedule(Schedule.parse("5x20"), shape, power=0.5).power == 0.5
    assert str(late_schedule(Schedule.parse("2"), shape, power=1)).endswith("^1")


def test_token_counts():
    assert Schedule.parse("5x20").token_counts(32, 192)[-1] == 92
    assert Schedule.parse("10x8+6x8").token_counts(32, 192)[-1] == 64
    assert Schedule.parse("off").token_counts(3, 192) == [192] * 4
    assert Schedule.parse("200x4").token_counts(5, 192) == [192, 96, 48, 24, 12, 12]
    assert Schedule.parse(99).token_counts(4, 22, num_prefix_tokens=18) == [22, 20, 19, 19, 19]
    with pytest.raises(ScheduleError, match="30 prefix tokens of 22"):
        Schedule.parse("5").token_counts(4, 22, num_prefix_tokens=30)


def test_limit_is_said_once_with_real_counts(caplog):
    say_where_limited.cache_clear()
    asked = Schedule.parse("60x3")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            say_where_limited(asked, 4, 192, 0, "tome", half)
        say_where_limited(Schedule.parse("5x3"), 4, 192, 0, "tome", half)
    (record,) = caplog.records
    assert record.getMessage() == (
        "schedule '60x3' asks layer 2 to remove 60 tokens, but of the 72 that may be removed there method "
        "'tome' can remove at most 36 (limited in 1 of 4 layers; tokens per layer: 192 132 72 36 36)."
    )


def test_costs_of_vit_h():
    shape = TrunkShape(depth=32, width=1280, num_tokens=192)
    off = count_costs("tome", Schedule.parse("off"), shape)
    # by hand: qkv 3, projection 1, MLP 8 times C^2 per token, logits and values 2 N C per token; times two
    assert off[0].flops == 2 * 192 * (12 * 1280**2 + 2 * 192 * 1280)
    total = sum(cost.flops for cost in off)
    first = count_costs("tome", Schedule.parse("5x20"), shape)[0]
    assert (first.tokens_in, first.tokens_out) == (192, 187)
    assert first.mlp == 2 * 187 * 8 * 1280**2
    for text, ratio in (("5x20", 1.58), ("10x16", 2.72)):
        costs = count_costs("tome", Schedule.parse(text), shape)
        assert total / sum(cost.flops for cost in costs) == pytest.approx(ratio, abs=0.01)
    with pytest.raises(ScheduleError):
        count_costs("tome", Schedule.parse("5x33"), shape)


@pytest.mark.parametrize(
    ("share", "tokens", "kept"),
    [
        (0.9, 192, 173),
        (0.5, 16, 8),
        (0.6, 15, 9),
        (0.2, 50, 10),
        (0.9, 196, 177),
        (0.01, 20, 1),
        (0.07, 100, 7),
    ],
)
def test_a_share_keeps_so_many_rounded_up(share, tokens, kept):
    """The counts that published programs recorded, and one where binary fractions would round wrongly."""
    assert Schedule.parse([share]).token_counts(1, tokens + 1, 1, all_but_one) == [tokens + 1, kept + 1]
    assert Schedule.parse([share]).token_counts(1, tokens, 0, half) == [
        tokens,
        max(kept, tokens - tokens // 2),
    ]


def test_shares_are_of_what_is_left():
    assert Schedule.parse("0.9x4").token_counts(5, 65, 1) == [65, 59, 54, 49, 45, 45]  # as PiToMe's and DCT's
    assert Schedule.parse("0.95").token_counts(4, 65, 1) == [65, 62, 59, 57, 55]


@given(st.integers(0, 400), st.floats(-1, 1), st.integers(1, 40))
def test_a_total_is_exact(total, inflection, depth):
    for text in (f"total:{total}", f"total:{total}@{inflection}", f"total:{total}^{2 * abs(inflection)}"):
        layers = Schedule.parse(text).per_layer(depth)
        assert (len(layers), sum(layers)) == (depth, total)
        assert min(layers) >= 0
    assert max(Schedule.parse(f"total:{total}").per_layer(depth)) <= total // depth + 1


def test_profiles_of_a_total():
    assert Schedule.parse("total:98").per_layer(12) == [8, 8, 9, 8, 8, 8, 8, 8, 9, 8, 8, 8]
    assert Schedule.parse("total:98@-1").per_layer(4) == [49, 33, 16, 0]
    assert Schedule.parse("total:98@1").per_layer(4) == [0, 16, 33, 49]
    assert Schedule.parse("total:60^2").per_layer(4) == [2, 8, 18, 32]
    assert Schedule.parse("total:7@-1").per_layer(1) == [7]


def test_thresholds_give_no_counts():
    asked = Schedule.parse("threshold:0.9/0.01x2+offx1+0.8x1")
    assert asked.per_layer(5) == [(0.9, 0.01), (0.9, 0.01), 0, (0.8,), 0]
    assert asked.num_layers == 4
    assert asked.reads_thresholds
    assert not asked.is_off
    with pytest.raises(ScheduleError, match="token counts depend on the images"):
        asked.token_counts(5, 40)
    with pytest.raises(ScheduleError, match=r"use at most 'threshold:0\.9/0\.01x2'"):
        asked.per_layer(2)
