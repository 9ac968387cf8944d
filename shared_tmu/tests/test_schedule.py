"""Schedules: every form, every error, printing and parsing as inverses, counts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared_tmu import Schedule, TMUError
from shared_tmu.errors import ScheduleError

ASKS = st.one_of(st.integers(0, 50), st.floats(1e-6, 1, exclude_max=True))
SHARES = st.lists(ASKS, max_size=40)
TOTALS = st.one_of(
    st.builds("total:{}".format, st.integers(0, 10**6)),
    st.builds("total:{}@{}".format, st.integers(0, 10**6), st.floats(-1, 1)),
    st.builds("total:{}^{}".format, st.integers(0, 10**6), st.floats(0, 9)),
    st.builds("opentome:{}@{}".format, st.integers(0, 500), st.floats(-1, 2)),
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
        (np.float32(0.6), "0.6"),
        ([np.float16(0.6), torch.tensor(0.7), 0.8], "0.6x1+0.7x1+0.8x1"),
        (np.array([0.6, 0.7], np.float32), "0.6x1+0.7x1"),
        (torch.tensor([0.1, 1 / 3]), "0.1x1+0.33333334x1"),
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
        ("OpenToMe: 98@-0.50", "opentome:98@-0.5"),
        ("opentome:98", "opentome:98"),
        ("opentome:0@2", "off"),
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
        ("5x0", "has 0 layers"),
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
        ("opentome:98^2", "cannot read '98^2' in schedule 'opentome:98^2': expected 'opentome:<tokens>'"),
        ("opentome:98@-1.5", "inflection -1.5 in schedule 'opentome:98@-1.5' is outside -1..2"),
        ("opentome:98@3", "outside -1..2"),
        ("threshold:", "cannot read ''"),
        ("threshold:0.9y3", "cannot read '0.9y3'"),
        ("threshold:0.9x0", "has 0 layers"),
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
        ((5,), "a tuple means the pair"),
        ((5, 5, 5), "a tuple means the pair"),
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
