"""`begin` and `learned_schedule`: where training starts from, and what it leaves as a schedule."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from toy_vit import ToyViT

from shared_tmu import METHODS, Schedule
from shared_tmu.flops import TrunkShape
from shared_tmu.method_parts.relaxed import Learned
from shared_tmu.methods import count_costs, count_tokens
from shared_tmu.methods.diffrate import PRUNED, Rates
from shared_tmu.methods.ltmp import START, Thresholds

SHAPE = TrunkShape(32, 128, 194, 2)
SCHEDULES = pytest.mark.parametrize("text", ["10x16", "5x20", "10x8+6x8", "0.9x12", "2", "0x8+96x1", "1x1"])


def flops(schedule: Schedule) -> int:
    return sum(cost.flops for cost in count_costs("diffrate", schedule, SHAPE))


@SCHEDULES
def test_rates_start_from_a_schedule(text):
    schedule, rates = Schedule.parse(text), Rates(32)
    rates.begin(schedule, SHAPE.num_tokens, SHAPE.num_prefix_tokens)
    kept = (rates.logits.softmax(-1) * rates.candidates(192)).sum(-1)
    want = torch.tensor(count_tokens("diffrate", schedule, 32, 194, 2)[1:]) - 2
    assert (kept[:, 1] - want).abs().max() < 8  # 48 candidates for 192 patches, cut at both ends
    assert (kept[:, 0] >= kept[:, 1] - 1e-3).all()


@SCHEDULES
@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_learned_rates_cost_what_the_schedule_costs(text, noise):
    schedule, rates = Schedule.parse(text), Rates(32)
    rates.begin(schedule, SHAPE.num_tokens, SHAPE.num_prefix_tokens)
    torch.manual_seed(0)
    rates.logits.data += noise * torch.randn(rates.logits.shape)
    found = rates.learned_schedule(schedule, SHAPE)
    assert isinstance(found, Schedule)
    assert flops(found) <= flops(schedule)
    assert flops(found) >= 0.9 * flops(schedule)
    counts = count_tokens("diffrate", found, 32, 194, 2)
    assert counts[-1] >= 3
    assert ((rates.pruned >= 0) & (rates.pruned <= 1)).all()
    assert rates.learned_schedule(schedule, SHAPE) == found  # asking twice changes nothing


def test_rates_that_prefer_late_blocks_remove_late():
    schedule, rates = Schedule.parse("10x16"), Rates(32)
    rates.begin(schedule, SHAPE.num_tokens, SHAPE.num_prefix_tokens)
    late = Schedule.parse("0x16+11x16")
    rates.begin(late, SHAPE.num_tokens, SHAPE.num_prefix_tokens)
    found = rates.learned_schedule(schedule, SHAPE)
    removed = [a - b for a, b in pairwise(count_tokens("diffrate", found, 32, 194, 2))]
    assert sum(removed[16:]) > sum(removed[:16])
    assert flops(found) <= flops(schedule)


def test_untrained_rates_have_the_published_shares_and_no_schedule():
    rates = METHODS["diffrate"].learn(list(ToyViT(depth=3).blocks))
    assert torch.equal(rates.pruned, torch.full((3,), PRUNED))
    assert rates.learned_schedule(Schedule.parse("5x3"), SHAPE) is None


def test_thresholds_start_from_the_paper_or_a_schedule():
    thresholds = Thresholds(3)
    thresholds.begin(Schedule.parse("10x3"), 192, 0)
    assert thresholds.merge_above.tolist() == pytest.approx([START[0]] * 3)
    assert thresholds.prune_below.tolist() == [START[1]] * 3
    asked = Schedule.parse("threshold:0.8/0.01x1+0.7x1")
    thresholds.begin(asked, 192, 0)
    assert thresholds.merge_above.tolist() == pytest.approx([0.8, 0.7, 1.01])
    found = thresholds.learned_schedule(asked, SHAPE)
    assert str(found) == "threshold:0.8/0.01x1+0.7/0x1+1.01/0x1"


def test_negative_thresholds_are_none():
    thresholds = Thresholds(2)
    thresholds.merge_above.data.fill_(-0.2)
    thresholds.prune_below.data.fill_(-0.1)
    assert str(thresholds.learned_schedule(Schedule.parse("1"), SHAPE)) == "threshold:0/0x2"


@pytest.mark.parametrize("method", ["dtem", "fpet", "crossget"])
def test_other_methods_learn_no_schedule(method):
    learned = METHODS[method].learn(list(ToyViT(depth=3).blocks))
    assert isinstance(learned, Learned)
    before = {name: value.clone() for name, value in learned.state_dict().items()}
    learned.begin(Schedule.parse("5x3"), 24, 0)
    assert all(torch.equal(value, before[name]) for name, value in learned.state_dict().items())
    assert learned.learned_schedule(Schedule.parse("5x3"), SHAPE) is None
