"""ECLM's Algorithm 1 on tables of errors; E3, E4 and E7 are acceptance criteria, as in `test_layers`."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_tmu.errors import LayersError
from shared_tmu.layers import check_partition, find_windows, singles


def simulate(depth, table, threshold, flush):
    """Algorithm 1 written a second time: over the set of boundaries between blocks instead of windows."""
    cuts, trace = set(range(1, depth)), []  # cut k lies between block k - 1 and block k

    def error(some):
        edges = [0, *sorted(some), depth]
        return table(tuple((a, b - 1) for a, b in itertools.pairwise(edges)))

    base, top, open_cuts = error(cuts), depth - 1, set()
    for low in range(depth - 2, -1, -1):  # every trial removes the cut above `low`
        tried = cuts - open_cuts - {low + 1}
        found = error(tried)
        passed = found - base < threshold
        trace.append((low, top, found, passed))
        if passed:
            open_cuts.add(low + 1)
        else:
            cuts, open_cuts, top = cuts - open_cuts, set(), low
    if flush:
        cuts -= open_cuts
    edges = [0, *sorted(cuts), depth]
    return trace, tuple((a, b - 1) for a, b in itertools.pairwise(edges)), base


class Table:
    """A random error for every partition, always the same one, and how often it was asked for."""

    def __init__(self, seed: int, values: list[float]) -> None:
        self.seed, self.values, self.known, self.calls = seed, values, {}, 0

    def __call__(self, partition):
        self.calls += 1
        if partition not in self.known:
            draw = random.Random(f"{self.seed} {partition}")
            self.known[partition] = draw.choice(self.values)
        return self.known[partition]


@settings(max_examples=150)
@given(
    depth=st.integers(2, 32),
    seed=st.integers(0, 10**6),
    values=st.lists(st.sampled_from([-1.0, -0.25, 0.0, 0.25, 0.5, 1.0, math.nan]), min_size=1, max_size=5),
    threshold=st.sampled_from([-0.25, 0.0, 0.25, 0.5, 2.0]),
    flush=st.booleans(),
)
def test_e3_and_e4_the_search_is_algorithm_1(depth, seed, values, threshold, flush) -> None:
    table = Table(seed, values)
    table.known[singles(depth)] = 0.0
    found = find_windows(depth, table, threshold, flush=flush)
    assert table.calls == depth  # one baseline and L - 1 trials
    trace, partition, base = simulate(depth, table, threshold, flush)
    assert repr([(t.first, t.last, t.error, t.passed) for t in found.trials]) == repr(trace)
    assert (found.partition, found.base) == (partition, base)
    check_partition(found.partition, depth)
    again = table(found.partition)
    if found.partition == singles(depth):
        assert again == found.error == base
    else:
        assert again - base < threshold
        assert found.error == again


def passes(*windows):
    """Errors under which the trials of these windows pass, and no others: 0 or 1."""

    def error_of(partition) -> float:
        merged = [window for window in partition if window[0] != window[1]]
        return float(bool(merged) and merged[0] not in windows)  # the trial is the lowest window

    return error_of


def test_e3_the_two_worked_traces() -> None:
    found = find_windows(6, passes((4, 5), (1, 2)), 0.5)
    assert [(t.first, t.last, t.passed) for t in found.trials] == [
        (4, 5, True), (3, 5, False), (2, 3, False), (1, 2, True), (0, 2, False),
    ]  # fmt: skip
    assert found.partition == ((0, 0), (1, 2), (3, 3), (4, 5))
    late = passes((2, 3), (1, 3), (0, 3))
    assert find_windows(6, late, 0.5).partition == singles(6)
    assert find_windows(6, late, 0.5, flush=True).partition == ((0, 3), (4, 4), (5, 5))


def test_e7_every_trial_passes_or_none_can() -> None:
    always = find_windows(5, lambda partition: 1.0, 0.1)
    assert (always.partition, always.error, len(always.trials)) == (singles(5), 1.0, 4)
    assert find_windows(5, lambda partition: 1.0, 0.1, flush=True).partition == ((0, 4),)
    assert find_windows(1, lambda partition: 1.0, 0.1, flush=True).trials == ()
    nan = find_windows(4, lambda partition: 1.0 if len(partition) == 4 else math.nan, 0.1, flush=True)
    assert nan.partition == singles(4)
    with pytest.raises(LayersError, match="unmerged model's error is nan"):
        find_windows(4, lambda partition: math.nan, 0.1)
    with pytest.raises(LayersError, match="threshold = nan"):
        find_windows(4, lambda partition: 1.0, math.nan)
