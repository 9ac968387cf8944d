"""Schedules: every form, every error, printing and parsing as inverses, counts."""

from __future__ import annotations

import logging
from fractions import Fraction

import numpy as np
import pytest
import torch
from golden_trunk import read_golden, read_r
from hypothesis import given
from hypothesis import strategies as st

from shared_tmu import Schedule, TMUError, schedule
from shared_tmu.errors import ScheduleError
from shared_tmu.flops import TrunkShape
from shared_tmu.schedule import all_but_one, half

ASKS = st.one_of(st.integers(0, 50), st.floats(1e-6, 1, exclude_max=True))
SHARES = st.lists(ASKS, max_size=40)
TOTALS = st.one_of(
    st.builds("total:{}".format, st.integers(0, 10**6)),
    st.builds("total:{}@{}".format, st.integers(0, 10**6), st.floats(-1, 1)),
    st.builds("total:{}^{}".format, st.integers(0, 10**6), st.floats(0, 9)),
)
LEVELS = st.lists(st.floats(-5, 5), min_size=1, max_size=2).map(lambda levels: "/".join(map(str, levels)))
THRESHOLDS = st.lists(st.tuples(st.one_of(LEVELS, st.just("off")), st.integers(1, 4)), min_size=1, max_size=9)
SCHEDULES = st.one_of(
    SHARES,
    TOTALS,
    THRESHOLDS.map(lambda terms: "threshold:" + "+".join(f"{ask}x{layers}" for ask, layers in terms)),
    st.integers(0, 400),
    st.lists(st.integers(0, 50), max_size=40),
    st.tuples(st.integers(0, 400), st.floats(-1, 1)),
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([5] * 20, "5x20"),
        ([10] * 8 + [6] * 8, "10x8+6x8"),
        ([20, 0, 30, 7], "20x1+0x1+30x1+7x1"),
        ([5, 5, 0, 0], "5x2"),
        ([], "off"),
        ([0, 0, 0], "off"),
        (0, "off"),
        (8, "8"),
        ("8", "8"),
        ((8, -1.0), "8@-1"),
        ((8, 0.5), "8@0.5"),
        ((8, 0.0), "8"),
        ((0, 1.0), "off"),
        ("8@-1.0", "8@-1"),
        ("8@+.5", "8@0.5"),
        ("8@1e-1", "8@0.1"),
        ("OFF", "off"),
        (" off\n", "off"),
        (" 10x8 +  6x8 ", "10x8+6x8"),
        ("10X8", "10x8"),
        ("05x020", "5x20"),
        ("5x10+5x10", "5x20"),
        ("0x3+5x2", "0x3+5x2"),
        ("0x3", "off"),
        ("5x2+0x9", "5x2"),
        (range(3), "0x1+1x1+2x1"),
        (np.int64(7), "7"),
        (np.array([5, 5]), "5x2"),
        ([np.int32(5), torch.tensor(5)], "5x2"),
        (torch.tensor([3, 3, 3]), "3x3"),
        (torch.tensor(3), "3"),
        ((np.int64(8), np.float32(-0.5)), "8@-0.5"),
        ((8, Fraction(1, 2)), "8@0.5"),
        (0.9, "0.9"),
        (".9", "0.9"),
        ("0.90x12", "0.9x12"),
        ([0.9] * 12, "0.9x12"),
        ([5, 5, 0.925, np.float64(0.925)], "5x2+0.925x2"),
        ("1.0x3+5x2", "0x3+5x2"),
        ("1.0", "off"),
        ("1e-3x2", "0.001x2"),
        ("total:98", "total:98"),
        (" Total: 98 ", "total:98"),
        ("total:98@-0.50", "total:98@-0.5"),
        ("total:98@0", "total:98"),
        ("total:98^2.0", "total:98^2"),
        ("total:0^2", "off"),
        ("threshold:0.9x4", "threshold:0.9x4"),
        ("threshold:.9/0.010x2+offx1+1/-.5x3", "threshold:0.9/0.01x2+offx1+1/-0.5x3"),
        ("threshold:0.9", "threshold:0.9"),
        ("THRESHOLD:offx2", "off"),
    ],
)
def test_parse_and_print(value, text):
    assert str(Schedule.parse(value)) == text
    assert Schedule.parse(text) == Schedule.parse(value)
    assert hash(Schedule.parse(text)) == hash(Schedule.parse(value))
    assert repr(Schedule.parse(value)) == f"Schedule({text!r})"


@given(SCHEDULES)
def test_text_round_trip(value):
    parsed = Schedule.parse(value)
    assert Schedule.parse(str(parsed)) == parsed
    assert Schedule.parse(parsed) is parsed
    if not parsed.reads_thresholds:
        assert Schedule.parse(parsed.per_layer(40)).per_layer(40) == parsed.per_layer(40)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("10x8+8y4", "cannot read '8y4' in schedule '10x8+8y4': expected '<r>x<layers>' terms joined by '+'"),
        ("", "empty schedule"),
        ("   ", "empty schedule"),
        ("10x8+", "cannot read ''"),
        ("+10x8", "cannot read ''"),
        ("10x8++6x8", "cannot read ''"),
        ("5x", "cannot read '5x'"),
        ("x5", "cannot read 'x5'"),
        ("5 0x2", "cannot read '5 0x2'"),
        ("5x0", "names 0 layers"),
        ("-5x3", "cannot read '-5x3'"),
        (
            "2.5x3",
            "cannot read '2.5' in schedule '2.5x3': a share of tokens to keep is above 0 and at most 1",
        ),
        ("0.0x3", "cannot read '0' in schedule '0.0x3': a share of tokens to keep is above 0"),
        ("0.9x", "cannot read '0.9x'"),
        ("0.9@-1", "cannot read '0.9@-1'"),
        ("total:", "cannot read '' in schedule 'total:': expected 'total:<tokens>'"),
        ("total:98x3", "cannot read '98x3'"),
        ("total:9.5", "cannot read '9.5'"),
        ("total:98@-2", "inflection -2 in schedule 'total:98@-2' is outside -1..1"),
        ("total:98^-1", "cannot read '98^-1'"),
        ("threshold:", "cannot read ''"),
        ("threshold:0.9y3", "cannot read '0.9y3'"),
        ("threshold:0.9x0", "names 0 layers"),
        ("threshold:0.9/x3", "cannot read '0.9/x3'"),
        ([0.9, 1.5], "r = 1.5 in schedule [0.9, 1.5] is not a whole number"),
        ([0.9, 0.0], "r = 0.0 in schedule"),
        (1.0, "r = 1.0 is not a whole number"),
        ("1e3", "cannot read '1e3'"),
        ("[5]*20", "cannot read"),
        ("5,5", "cannot read '5,5'"),
        ("٥x٢", "cannot read '٥x٢'"),
        ("5×20", "cannot read"),
        ("9999999999x1", "cannot read"),
        ("8@2", "inflection 2 in schedule '8@2' is outside -1..1"),
        ("8@", "cannot read '8@'"),
        ("8@nan", "cannot read '8@nan'"),
        (-1, "r = -1 is negative"),
        ([5, -2], "r = -2 in schedule [5, -2] is negative"),
        (2.5, "r = 2.5 is not a whole number"),
        (1e3, "r = 1000.0 is not a whole number"),
        (float("nan"), "not a whole number"),
        ([5, 2.5], "r = 2.5 in schedule"),
        (np.float64(3), "not a whole number"),
        (np.array([1.5]), "not a whole number"),
        (torch.tensor([1.0]), "not a whole number"),
        (True, "cannot read True"),
        ([True], "cannot read True"),
        (np.bool_(True), "cannot read True"),
        (torch.tensor(True), "cannot read True"),
        (None, "cannot read None"),
        (["5"], "cannot read '5'"),
        ([[5]], "cannot read"),
        ({5: 20}, "cannot read"),
        ({5}, "cannot read"),
        (b"5x20", "cannot read"),
        ((5,), "a tuple is the pair"),
        ((5, 5, 5), "a tuple is the pair"),
        ((5, 2), "outside -1..1"),
        ((5, float("nan")), "outside -1..1"),
        ((5, "1"), "not a number"),
        ((5, True), "not a number"),
        ((5, None), "not a number"),
        ((-5, 1.0), "negative"),
        ((2.5, 1.0), "not a whole number"),
    ],
)
def test_errors_quote_what_is_wrong(value, message):
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse(value)
    assert message in str(caught.value)
    assert isinstance(caught.value, TMUError)


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


def test_token_counts():
    assert Schedule.parse("5x20").token_counts(32, 192)[-1] == 92
    assert Schedule.parse("10x8+6x8").token_counts(32, 192)[-1] == 64
    assert Schedule.parse("off").token_counts(3, 192) == [192] * 4
    assert Schedule.parse("200x4").token_counts(5, 192) == [192, 96, 48, 24, 12, 12]
    assert Schedule.parse(99).token_counts(4, 22, num_prefix_tokens=18) == [22, 20, 19, 19, 19]
    with pytest.raises(ScheduleError, match="30 prefix tokens of 22"):
        Schedule.parse("5").token_counts(4, 22, num_prefix_tokens=30)


def test_limit_is_said_once_with_real_counts(caplog):
    schedule.say_where_limited.cache_clear()
    asked = Schedule.parse("60x3")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            schedule.say_where_limited(asked, 4, 192, 0, "tome", half)
        schedule.say_where_limited(Schedule.parse("5x3"), 4, 192, 0, "tome", half)
    (record,) = caplog.records
    assert record.getMessage() == (
        "schedule '60x3' asks layer 2 to remove 60 tokens, but of the 72 that may go there 'tome' can remove "
        "at most 36 (limited in 1 of 4 layers; tokens per layer: 192 132 72 36 36)."
    )


def test_costs_of_vit_h():
    shape = TrunkShape(depth=32, width=1280, num_heads=16, num_tokens=192)
    off = Schedule.parse("off").layer_costs(shape)
    assert {cost.matching for cost in off} == {0}
    # by hand: qkv 3, projection 1, MLP 8 times C^2 per token, logits and values 2 N C per token; times two
    assert off[0].flops == 2 * 192 * (12 * 1280**2 + 2 * 192 * 1280)
    total = sum(cost.flops for cost in off)
    first = Schedule.parse("5x20").layer_costs(shape)[0]
    assert (first.tokens_in, first.tokens_out, first.matching) == (192, 187, 2 * 96 * 96 * 80)
    assert first.mlp == 2 * 187 * 8 * 1280**2
    assert total / sum(cost.flops for cost in Schedule.parse("5x20").layer_costs(shape)) == pytest.approx(
        1.58, abs=0.01
    )
    assert total / sum(cost.flops for cost in Schedule.parse("10x16").layer_costs(shape)) == pytest.approx(
        2.72, abs=0.01
    )
    with pytest.raises(ScheduleError):
        Schedule.parse("5x33").layer_costs(shape)


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
    with pytest.raises(ScheduleError, match="token counts follow from the images"):
        asked.token_counts(5, 40)
    with pytest.raises(ScheduleError, match=r"use at most 'threshold:0\.9/0\.01x2'"):
        asked.per_layer(2)
