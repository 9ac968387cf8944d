"""The ways of merging that `compare_methods.py` compares: methods, schedules of equal cost, restores."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from shared_tmu.flops import TrunkShape
from shared_tmu.method_parts.restores import COPY
from shared_tmu.methods import METHODS, count_costs, find_method
from shared_tmu.schedule import Schedule

BUDGETS = ("5x20", "8x16", "10x16")
"""Schedules of the thesis: what they cost with ToMe is what every way may cost."""
LIGHT = ("2x20", "3x20")
"""Budgets for profiles only: the others are too large for late merging of 192 tokens."""
PUBLISHED = "published"
PROFILES = {PUBLISHED: "", "flat": "total:{}", "falling": "total:{}@-1", "late": "total:{}^2"}
"""How a budget is spent over the layers: as the schedule says, or a total with the same FLOPs."""
BASE = "tome"
TOGETHER = 4  # methods in one command: what it has not finished begins again after an interruption
NEAR = 0.02
"""How far the FLOPs may be from the budget, as a share of what merging removes."""


class Way(NamedTuple):
    """One way to spend a budget.

    Args:
        budget: a schedule.
        method: row of `METHODS`, with or without options.
        restore: row of `RESTORES`.
        profile: one of `PROFILES`.
    """

    budget: str
    method: str = BASE
    restore: str = COPY
    profile: str = PUBLISHED


def usual_ways() -> list[Way]:
    """What is compared unless the command line asks for something else: all methods at all budgets; the other
    restores and the profiles with ToMe only."""
    ways = [Way(budget, method) for method in METHODS for budget in BUDGETS]
    ways += [Way(budget, restore="residual") for budget in BUDGETS]
    ways += [Way(budget) for budget in LIGHT]
    return ways + [Way(b, profile=name) for b in (*LIGHT, *BUDGETS) for name in PROFILES if name != PUBLISHED]


def all_ways(
    methods: Sequence[str], budgets: Sequence[str], restores: Sequence[str], profiles: Sequence[str]
) -> list[Way]:
    """The product of what the command line lists."""
    return [Way(b, m, r, p) for m in methods for r in restores for p in profiles for b in budgets]


def reads_thresholds(method: str) -> bool:
    """Whether counts depend on the image, so that a schedule of counts does not say what it costs."""
    return find_method(method).reads == "thresholds"


def flops_of(method: str, schedule: str, shape: TrunkShape) -> int:
    """FLOPs of the blocks for one image, without the method's own computations."""
    return sum(cost.flops for cost in count_costs(method, Schedule.parse(schedule), shape))


def find_schedule(way: Way, shape: TrunkShape) -> str | None:
    """The schedule of a way; None if no schedule of that profile has the FLOPs of the budget.

    A method that gives tokens back within each block runs in all blocks, since it removes nothing for later
    ones; where even its most costs more than the budget, that is its schedule.
    """
    if way.profile == PUBLISHED and find_method(way.method).removes:
        return str(Schedule.parse(way.budget))
    whole, asked = flops_of(BASE, "off", shape), flops_of(BASE, way.budget, shape)
    tries = {text: flops_of(way.method, text, shape) for text in _candidates(way, shape)}
    nearest = min(tries, key=lambda text: abs(tries[text] - asked))
    is_met = abs(tries[nearest] - asked) <= NEAR * (whole - asked)
    return nearest if is_met or way.profile == PUBLISHED else None


def _candidates(way: Way, shape: TrunkShape) -> Iterator[str]:
    free = shape.num_tokens - shape.num_prefix_tokens
    if way.profile == PUBLISHED:
        most = find_method(way.method).limit(shape.num_tokens, shape.num_prefix_tokens)
        yield from (str(Schedule.parse([r] * shape.depth)) for r in range(1, most + 1))
    else:
        yield from (PROFILES[way.profile].format(total) for total in range(1, free))


def group_runs(runs: Sequence[tuple[str, str, str]]) -> list[list[str]]:
    """Flags of eval.py: commands with several runs each, as eval.py takes the product of its lists.

    Args:
        runs: method, schedule and restore of each.
    """
    schedules: dict[tuple[str, str], list[str]] = {}
    for method, schedule, restore in runs:
        schedules.setdefault((method, restore), []).append(schedule)
    methods: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (method, restore), texts in schedules.items():
        methods.setdefault((restore, tuple(dict.fromkeys(texts))), []).append(method)
    return [
        ["--r", ",".join(texts), "--method", ",".join(few), "--restore", restore]
        for (restore, texts), names in methods.items()
        for few in (names[k : k + TOGETHER] for k in range(0, len(names), TOGETHER))
    ]
