"""Tokens and FLOPs of runs whose counts depend on the image."""

from __future__ import annotations

import pytest
import torch
from toy_learned import DEPTH, GRID, TASKS, WIDTH, Program, batch_of, build

from shared_tmu import Schedule
from shared_tmu.evaluation import learned_costs
from shared_tmu.evaluation.learned_costs import BlockCosts, equal_threshold, tokens_left
from shared_tmu.flops import TrunkShape
from shared_tmu.methods import count_tokens

SHAPE = TrunkShape(DEPTH, WIDTH, GRID[0] * GRID[1] + TASKS, TASKS, 2.0)


@torch.no_grad()
@pytest.mark.parametrize("text", ["4x3", "0x1+5x1", "3x1+0x1+3x1", "1000x1"])
def test_counts_are_those_of_the_schedule(text):
    vit, schedule = build(), Schedule.parse(text)
    with Program.patch(vit, schedule, "diffrate", record=True) as handle:
        vit(batch_of()["img"])
        left = tokens_left(handle.plans_by_block, 4, SHAPE)
    want = torch.tensor(count_tokens("diffrate", schedule, DEPTH, SHAPE.num_tokens, TASKS)).float()
    assert torch.equal(left, want.expand(4, -1))


@torch.no_grad()
def test_counts_that_depend_on_the_image_do_not_depend_on_its_batch():
    vit, schedule = build(), Schedule.parse("threshold:0.7/0.03")
    images = batch_of()["img"]
    with Program.patch(vit, schedule, "ltmp", record=True) as handle:
        vit(images)
        together = tokens_left(handle.plans_by_block, 4, SHAPE)
        alone = []
        for image in images:
            vit(image[None])
            alone.append(tokens_left(handle.plans_by_block, 1, SHAPE))
    assert torch.equal(together, torch.cat(alone))
    assert len(together[:, -1].unique()) > 1
    assert (together.diff(dim=1) <= 0).all()


@torch.no_grad()
def test_thresholds_that_nothing_meets_leave_all_tokens():
    vit, schedule = build(), Schedule.parse("threshold:1")
    with Program.patch(vit, schedule, "ltmp", record=True) as handle:
        vit(batch_of()["img"])
        left = tokens_left(handle.plans_by_block, 4, SHAPE)
    assert torch.equal(left, torch.full((4, DEPTH + 1), float(SHAPE.num_tokens)))


@torch.no_grad()
def test_blocks_that_merge_nothing_keep_their_tokens():
    vit, schedule = build(), Schedule.parse("threshold:1.0x1+0.5x1+1.0x1")
    with Program.patch(vit, schedule, "ltmp", record=True) as handle:
        vit(batch_of()["img"])
        left = tokens_left(handle.plans_by_block, 4, SHAPE)
    assert (left[:, 1] == SHAPE.num_tokens).all()
    assert (left[:, 2] < left[:, 1]).all()
    assert torch.equal(left[:, 3], left[:, 2])


def test_the_threshold_costs_at_least_as_much_and_hardly_more(monkeypatch):
    def measure(program, model, run, count):
        threshold = run.schedule.every[0]
        return BlockCosts(run.schedule, 0.0, 0.0, threshold**2)

    monkeypatch.setattr(learned_costs, "measure_costs", measure)
    found = equal_threshold(None, None, "ltmp", 0.5, 1)
    assert 0.5 <= found.flops_share < 0.501
    assert found.schedule == Schedule.parse("threshold:0.7073")
