"""When a candidate passes: margins of samples that are alike, and of which samples a search measures."""

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

from shared_tmu.evaluation.budget.answer import Answer, Tried
from shared_tmu.evaluation.budget.judge import Judge, _standard_error
from shared_tmu.evaluation.budget.request import Budget
from shared_tmu.evaluation.budget.samples import spread
from shared_tmu.evaluation.budget.search import Contender
from shared_tmu.programs.model_program import BASELINE

FEW = [0.6] * 10 + [-0.1] * 30  # a mean of 0.075, with a bad beginning
NOISE = np.random.default_rng(0).normal(size=40) * 3


@dataclass(frozen=True)
class Names:
    """A set that is only its groups."""

    groups: tuple[str, ...]

    def __len__(self):
        return len(self.groups)

    def head(self, count):
        return self.part(slice(count))

    def part(self, rows):
        return replace(self, groups=self.groups[rows])


def judged(extra, groups, budget):
    """The verdict of samples, each a batch, with so much more error than the unpatched model."""

    class Known(Judge):
        def _errors(self, run, numbers):
            return np.zeros(len(extra))

        def _predict(self, run, numbers):
            return {"extra": np.asarray(extra)[numbers.start : numbers.stop]}

        def _extra(self, outputs):
            return outputs["extra"]

    samples = SimpleNamespace(data=Names(tuple(groups)), num_batches=len(extra))
    return Known(None, None, samples, "pa_mpvpe_mm", budget)(Contender(BASELINE, (4, 4), 0.5))


def test_a_part_of_few_groups_rejects_nothing():
    alone = judged(FEW, map(str, range(40)), 0.5)
    assert (alone.passed, alone.samples) == (False, 10)  # ten equal errors leave no doubt
    for groups in (["a"] * 40, ["a"] * 10 + ["b", "c", "d"] * 10):
        one = judged(FEW, groups, 0.5)
        assert (one.passed, one.samples) == (True, 40)


def test_one_group_has_a_margin_and_no_interval():
    extra = NOISE - NOISE.mean() + 0.49
    several, one = judged(extra, map(str, range(40)), 0.5), judged(extra, ["a"] * 40, 0.5)
    assert not several.passed
    assert not one.passed
    assert one.likely_mm == several.likely_mm
    assert all(map(math.isnan, one.interval_mm))
    assert several.interval_mm[0] < 0.49 < several.interval_mm[1]
    assert judged([0.3], ["a"], 0.5).likely_mm == 0.3


def test_the_standard_error_is_that_of_the_means_of_equal_groups():
    means = NOISE[:5]
    expected = means.std(ddof=1) / math.sqrt(5)
    assert _standard_error(np.repeat(means, 8), [*np.repeat(range(5), 8)]) == pytest.approx(expected)


def test_sequences_are_sampled_all_over_and_single_pictures_from_the_first():
    frames = Names(tuple(f"sequence{number // 25}" for number in range(100)))
    assert spread(frames, 8).groups == tuple(f"sequence{number}" for number in (0, 0, 0, 1, 1, 2, 2, 3))
    assert spread(spread(frames, 8), 4).groups == tuple(f"sequence{number}" for number in (0, 0, 1, 2))
    assert spread(frames, 1000) == frames
    single = Names(tuple(map(str, range(100))))
    assert spread(single, 8) == single.head(8)


@pytest.mark.parametrize(("low", "told"), [(0.1, "as the interval says"), (math.nan, "with several")])
def test_an_answer_says_if_its_interval_is_unknown(low, told):
    row = Tried(BASELINE.label, 64, 4, 1.5, 0.2, (low, low + 0.2), 40, passed=True)
    answer = Answer(BASELINE, 1.5, (1.4, 1.6), (row,), 3, 60.0, 40)
    facts = dict.fromkeys(("metric", "dataset", "processor", "cpu_threads", "dtype", "batch_size"), "some")
    shown = answer.show(Budget(0.5), facts)
    assert told in shown
    assert ("unknown" in shown) == math.isnan(low)
    assert "nan" not in shown
