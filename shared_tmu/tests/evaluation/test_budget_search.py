"""What a search for the fastest way tries, and what it finds; texts of budgets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared_tmu.errors import ScheduleError
from shared_tmu.evaluation.budget.ladder import cost_of, is_as_strong, make_ladder, thin_out
from shared_tmu.evaluation.budget.request import Budget
from shared_tmu.evaluation.budget.search import Contender, Judgement, find_fastest
from shared_tmu.methods import METHODS, count_tokens
from shared_tmu.programs.model_program import Run


@pytest.mark.parametrize(
    ("text", "extra", "layers"),
    [
        ("auto:0.5mm", 0.5, False),
        (" AUTO: 0.05 mm ", 0.05, False),
        ("auto:1e-2mm+layers", 0.01, True),
        ("auto:2mm +Layers", 2.0, True),
    ],
)
def test_budgets_are_read_and_written(text, extra, layers):
    assert Budget.is_one(text)
    budget = Budget.parse(text)
    assert budget == Budget(extra, layers)
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    "text", ["auto", "auto:", "auto:0.5", "auto:mm", "auto:0mm", "auto:-1mm", "auto:nanmm", "auto:infmm",
             "auto:0.5cm", "auto0.5mm", "auto:0.5mm+depth", "auto:0.5mm+layers+layers", "automatic",
             "auto:0_5mm", "auto:1 0mm", "auto:0x1mm", "auto:1e999mm"]
)  # fmt: skip
def test_what_is_no_budget_is_refused_by_name(text):
    assert Budget.is_one(text)
    with pytest.raises(ScheduleError, match=r"such as auto:0\.5mm"):
        Budget.parse(text)


@pytest.mark.parametrize(
    ("depth", "tokens", "prefix"), [(32, 192, 0), (32, 272, 80), (26, 210, 18), (1, 64, 0)]
)
def test_the_ladder_is_of_possible_schedules_from_weak_to_strong(depth, tokens, prefix):
    ladder = make_ladder("tome", depth, tokens, prefix)
    costs = [cost_of(counts) for counts in ladder.values()]
    assert costs == sorted(costs, reverse=True)
    assert len(set(ladder.values())) == len(ladder)
    for schedule, counts in ladder.items():
        assert list(counts) == count_tokens("tome", schedule, depth, tokens, prefix)
        assert prefix < counts[-1] < tokens
    if depth == 32:
        names = {str(schedule) for schedule in ladder}
        assert {"5x20", "8x16", "12x8+6x8", "10x16"} <= names
        assert 40 <= len(ladder) <= 90


def test_a_thinner_ladder_keeps_its_ends():
    ladder = make_ladder("tome", 32, 192, 0)
    thin = thin_out(ladder, 12)
    assert len(thin) == 12
    assert list(thin)[-1] == list(ladder)[-1]
    assert [s for s in ladder if s in thin] == list(thin)
    assert thin_out(ladder, 1000) == ladder


METHOD = next(iter(METHODS))


@given(
    weights=st.lists(st.floats(0.01, 1.0), min_size=32, max_size=32),
    relief=st.floats(0.0, 0.9),
    noise=st.floats(0.0, 0.05),
    budget=st.floats(0.0, 300.0),
    seed=st.integers(0, 99),
)
def test_the_fastest_that_passes_is_found_wherever_more_merging_is_never_better(
    weights, relief, noise, budget, seed
):
    ladder = make_ladder(METHOD, 32, 192, 0)
    candidates = []
    for mask in ("none", "box"):
        for number, (schedule, counts) in enumerate(ladder.items()):
            wobble = 1 + noise * ((number * 7919 + seed) % 13 - 6) / 6
            share = cost_of(counts) / cost_of([192] * 33) * wobble
            candidates.append(Contender(Run(schedule, METHOD, unmerge=True, mask=mask), counts, share))
    asked = []

    def error(one):
        lost = sum(w * (192 - c) for w, c in zip(weights, one.counts[1:], strict=True))
        return lost * (1 - relief if one.run.mask == "box" else 1)

    def judge(one):
        asked.append(one)
        extra = error(one)
        return Judgement(one, extra, extra, (extra, extra), 10, extra <= budget)

    best, judged = find_fastest(candidates, judge)
    possible = [one for one in candidates if error(one) <= budget]
    assert (best is None) == (not possible)
    if best is not None:
        assert best.passed
        assert best.candidate.share == min(one.share for one in possible)
    assert [verdict.candidate for verdict in judged] == asked
    assert len({id(one) for one in asked}) == len(asked)
    assert len(asked) <= len(candidates) / 2


def test_strength_is_at_every_place():
    assert is_as_strong((4, 3, 2), (4, 3, 3))
    assert is_as_strong((4, 3, 3), (4, 3, 3))
    assert not is_as_strong((4, 3, 2), (4, 2, 2))
    assert not is_as_strong((4, 3), (4, 3, 3))
