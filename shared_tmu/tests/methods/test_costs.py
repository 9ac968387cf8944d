"""FLOPs that are counted from the places of methods, against those that torch counts while the trunk runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from rows import EVERY, METHODS, options
from torch.utils.flop_counter import FlopCounterMode
from toy_vit import ToyViT

from shared_tmu import Method, Schedule, patch
from shared_tmu.bench.floor import make_floor
from shared_tmu.errors import MethodError, ScheduleError
from shared_tmu.flops import TrunkShape, Work
from shared_tmu.method_parts.places import (
    After,
    Around,
    Before,
    Between,
    Inside,
    Place,
    attend,
    compress,
    transform,
)
from shared_tmu.method_parts.seen import Needs, Watch
from shared_tmu.methods import count_costs, count_tokens
from shared_tmu.methods.slicing import plan_drop
from shared_tmu.schedule import all_but_one

DEPTH, PATCHES = 4, 24


class OwnFlops(Watch):
    """Counts what a method computes besides the blocks' own products."""

    def __init__(self, counter: FlopCounterMode) -> None:
        self.counter, self.total = counter, 0

    def call(self, part: str, function: Any, *arguments: Any) -> Any:
        before = self.counter.get_total_flops()
        out = function(*arguments)
        if part in ("matching", "merging", "unmerging"):
            self.total += self.counter.get_total_flops() - before
        return out


@torch.no_grad()
def torch_counts(method: Method, schedule: str, prefix: int, is_floor: bool = False, **more: Any) -> int:
    """FLOPs of the matrix products in the blocks of a trunk."""
    vit = ToyViT(depth=DEPTH, task_tokens=prefix, heads=4, hidden=96).eval()
    with patch(vit, schedule, method=method, num_prefix_tokens=prefix, **more) as handle:
        if is_floor:
            make_floor(vit)
        # the maths of attention in plain products, which torch counts on every device
        maths = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
        with maths, FlopCounterMode(display=False) as counter, handle.watching(own := OwnFlops(counter)):
            vit(torch.randn(1, PATCHES, 32))
    return int(counter.get_total_flops()) - own.total


def counts(method: Method, schedule: str, prefix: int) -> int:
    """The same, from the places."""
    shape = TrunkShape(DEPTH, 32, PATCHES + prefix, prefix, mlp_ratio=3)
    return sum(cost.flops for cost in count_costs(method, Schedule.parse(schedule), shape))


@EVERY
@pytest.mark.parametrize("schedule", ["off", "5x2", "0x1+3x1+0x1+9x1", "0.7x3"])
@pytest.mark.parametrize("prefix", [0, 3])
def test_rows_cost_what_torch_counts(method: str, schedule: str, prefix: int) -> None:
    if METHODS[method].reads == "thresholds":
        with pytest.raises(ScheduleError, match="depend on the images"):
            counts(METHODS[method], "threshold:0.5", prefix)
        return
    grid = {"grid": options(method, PATCHES, prefix)["grid"]}
    expected = counts(METHODS[method], schedule, prefix)
    assert torch_counts(METHODS[method], schedule, prefix, **grid) == expected
    assert torch_counts(METHODS[method], schedule, prefix, is_floor=True, **grid) == expected


class BothEnds(Place):
    """Half of the tokens go before the block, the other half in the middle, after a look at the MLP."""

    def work(self, before: int, after: int) -> Work:
        """Attention sees the middle number, an MLP that and another one the rest."""
        middle = after + (before - after) // 2
        return Work(middle, middle**2, middle**2, middle, mlp=middle + after)

    def __call__(self, block: Any, seen: Any, r: int) -> None:
        compress(seen, self.plan, r - r // 2)
        attend(block, seen)
        transform(block, seen)
        compress(seen, self.plan, r // 2)
        transform(block, seen)


@dataclass(frozen=True)
class Turns(Place):
    """Two places in one step: the second acts on what the first leaves."""

    second: Place

    def work(self, before: int, after: int) -> Work:
        """Both, as if the block ran twice."""
        middle = before - (before - after) // 2
        first, second = After(self.plan).work(before, middle), self.second.work(middle, after)
        return Work(*(getattr(first, name) + getattr(second, name) for name in Work.__dataclass_fields__))

    def __call__(self, block: Any, seen: Any, r: int) -> None:
        After(self.plan)(block, seen, r // 2)
        self.second(block, seen, r - r // 2)


PLACES = {
    "between": Between(plan_drop),
    "before": Before(plan_drop),
    "after": After(plan_drop),
    "inside": Inside(plan_drop),
    "inside, the map again": Inside(plan_drop, reuses_map=False),
    "around attention": Around(plan_drop),
    "around MLP": Around(plan_drop, part="MLP"),
    "both ends": BothEnds(plan_drop),
    "after, then inside": Turns(plan_drop, Inside(plan_drop)),
    "after, then before": Turns(plan_drop, Before(plan_drop)),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("schedule", ["5x2", "1x1+0x1+6x2", "99"])
def test_places_cost_what_torch_counts(place: str, schedule: str) -> None:
    needs = Needs.MAP if "inside" in place else Needs.NOTHING
    method = Method("own", PLACES[place], needs, all_but_one)
    expected = counts(method, schedule, 2)
    assert torch_counts(method, schedule, 2) == expected
    assert torch_counts(method, schedule, 2, is_floor=True) == expected


def test_tokens_of_methods_that_undo_at_once_are_all_there_after_every_block() -> None:
    schedule, shape = Schedule.parse("5x2"), TrunkShape(3, 32, 24)
    assert count_tokens("tomesd", schedule, 3, 24) == [24] * 4
    costs = count_costs("tomesd", schedule, shape)
    assert [(cost.work.qkv, cost.work.mlp) for cost in costs] == [(19, 24), (19, 24), (24, 24)]


def test_a_function_as_a_step_does_not_say_its_cost_but_has_its_floor() -> None:
    def step(block: Any, seen: Any, r: int) -> None:
        compress(seen, METHODS["tome"].plan, r)
        attend(block, seen)
        transform(block, seen)

    method = Method("own", step, Needs.KEYS | Needs.SIZES, all_but_one)
    with pytest.raises(MethodError, match="'own' has a function as its step"):
        counts(method, "5x2", 0)
    before = Method("before", Before(plan_drop), Needs.NOTHING, all_but_one)
    assert torch_counts(method, "5x2", 0, is_floor=True) == counts(before, "5x2", 0)
