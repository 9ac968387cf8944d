"""The table of token-compression methods: one file each, one row each.

A row says where in a block a method acts (a place, from `shared_tmu.method_parts.places`), which function
makes the plan, what that function reads, and how many tokens it can remove. To add a method, write its file
and list its row; `shared_tmu.method_parts.method` explains the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType

from torch import Tensor

from ..errors import MethodError, PlanError, nearest
from ..flops import LayerCost, TrunkShape, Work, cost_of
from ..method_parts.method import Method
from ..method_parts.places import After, Around, Between, Inside
from ..method_parts.protection import fit_mask
from ..method_parts.reductions import Planned, require_reduction
from ..method_parts.seen import Needs, Seen
from ..method_parts.variants import vary
from ..plans.plan import MergePlan
from ..schedule import Schedule, all_but_one, count_removed
from ..schedule_text import read_count
from .atc import plan_atc
from .crossget import learn_crossget, plan_crossget
from .dct import plan_dct
from .diffrate import learn_diffrate, plan_diffrate
from .dtem import learn_dtem, plan_dtem
from .evit import plan_evit
from .fpet import learn_fpet, limit_fpet, plan_fpet
from .ltmp import learn_ltmp, plan_ltmp
from .mctf import limit_mctf, plan_mctf
from .pitome import plan_pitome
from .pool import plan_pool
from .preferring import plan_centre, plan_received
from .quadtree import plan_quadtree
from .random_pairs import plan_random_pairs
from .slicing import plan_drop
from .tofu import plan_tofu, plan_tofu_pitome
from .tome import plan_tome
from .tome_kth import limit_kth, plan_kth
from .tome_random import plan_tome_random
from .tomesd import limit_tomesd, plan_tomesd
from .window import plan_window

__all__ = ["METHODS", "Method", "count_costs", "count_tokens", "find_method", "plan_merge", "table"]


def table(*rows: Method) -> Mapping[str, Method]:
    """Methods by name, read-only.

    Raises:
        MethodError: two rows share a name.
    """
    methods: dict[str, Method] = {}
    for row in rows:
        if row.name in methods:
            raise MethodError(f"two methods have the name {row.name!r}: give the new one another name.")
        methods[row.name] = row
    return MappingProxyType(methods)


METHODS: Mapping[str, Method] = table(
    Method("tome", Between(plan_tome), paper="arXiv:2210.09461"),
    Method("random", Between(plan_random_pairs), Needs.SIZES),  # the control that every comparison needs
    Method("evit", Between(plan_evit), Needs.KEYS | Needs.ROWS, all_but_one, "arXiv:2202.07800"),
    Method("dct", After(plan_dct), Needs.NOTHING, all_but_one, "arXiv:2305.15099", mixes=True),
    Method("tomesd", Around(plan_tomesd), Needs.TOKENS | Needs.GRID, limit_tomesd, "arXiv:2303.17604"),
    Method("tome-kth", Between(plan_kth), limit=limit_kth, paper="arXiv:2210.09461"),
    Method("tome-random", Between(plan_tome_random), limit=all_but_one, paper="arXiv:2210.09461"),
    Method("tome-received", Between(plan_received), Needs.KEYS | Needs.SIZES | Needs.ROWS),
    Method("tome-centre", Between(plan_centre), Needs.KEYS | Needs.SIZES | Needs.GRID),
    Method("tofu", Between(plan_tofu), Needs.KEYS, paper="arXiv:2312.01026", shares_all=True),
    Method("tofu-pitome", Between(plan_tofu_pitome), Needs.KEYS, paper="arXiv:2312.01026", shares_all=True),
    Method("pitome", Between(plan_pitome), paper="arXiv:2405.16148", proportional=False),
    Method("mctf", Inside(plan_mctf), Needs.TOKENS | Needs.SIZES | Needs.MAP, limit_mctf, "arXiv:2403.10030"),
    Method("atc", Between(plan_atc), limit=all_but_one, paper="arXiv:2409.11923"),
    Method(
        "diffrate",
        Between(plan_diffrate),
        Needs.TOKENS | Needs.SIZES | Needs.ROWS,
        all_but_one,
        "arXiv:2305.17997",
        learn=learn_diffrate,
        runs_untrained=True,
    ),
    Method(
        "dtem",
        Between(plan_dtem),
        Needs.NORMED | Needs.SIZES,
        paper="arXiv:2412.10569",
        learn=learn_dtem,
        runs_untrained=True,
    ),
    Method(
        "fpet",
        Between(plan_fpet),
        Needs.KEYS | Needs.SIZES | Needs.GRID,
        limit_fpet,
        "arXiv:2503.20282",
        learn=learn_fpet,
        runs_untrained=True,
    ),
    Method(
        "ltmp",
        Between(plan_ltmp),
        Needs.KEYS | Needs.SIZES | Needs.ROWS,
        all_but_one,
        "arXiv:2307.10780",
        reads="thresholds",
        learn=learn_ltmp,
        runs_untrained=True,
    ),
    Method(
        "crossget",
        Between(plan_crossget),
        paper="arXiv:2305.17455",
        learn=learn_crossget,
        runs_untrained=True,
    ),
    Method("window", Between(plan_window), Needs.KEYS | Needs.SIZES | Needs.GRID),
    Method("quadtree", Between(plan_quadtree), Needs.KEYS | Needs.SIZES | Needs.GRID, all_but_one),
    Method("pool", Between(plan_pool), Needs.SIZES, all_but_one),  # the best that can be done without looking
    # the slicing floor: the lowest possible cost
    Method("drop", Between(plan_drop), Needs.NOTHING, all_but_one),
)


def find_method(method: str | Method) -> Method:
    """The row of that name, which options may follow (`pitome:variant=bsm`, see `method_parts.variants`); a
    `Method` of your own passes through.

    Raises:
        MethodError: no such row, or option.
    """
    if isinstance(method, Method):
        return method
    name, colon, options = method.partition(":")
    if name.strip() not in METHODS:
        near = nearest(name.strip(), METHODS)
        meant = f" (did you mean {near!r}?)" if near else ""
        raise MethodError(
            f"there is no method {method!r}{meant}: use one of {', '.join(METHODS)}, or pass a Method."
        )
    row = METHODS[name.strip()]
    return _vary(row, options) if colon else row


@lru_cache(maxsize=256)
def _vary(row: Method, options: str) -> Method:
    """`vary`; the same method for the same text, as for a row."""
    return vary(row, options)


def count_tokens(
    method: str | Method, schedule: Schedule, depth: int, num_tokens: int, num_prefix_tokens: int = 0
) -> list[int]:
    """Tokens before the first of `depth` blocks and after each of them, `depth + 1` numbers.

    Raises:
        ScheduleError: as `Schedule.token_counts`.
        MethodError: no such method.
    """
    rule = find_method(method)
    counts = schedule.token_counts(
        depth, num_tokens, num_prefix_tokens, rule.limit, shares_all=rule.shares_all
    )
    return counts if rule.removes else [num_tokens] * (depth + 1)


def count_costs(method: str | Method, schedule: Schedule, shape: TrunkShape) -> list[LayerCost]:
    """Tokens and FLOPs of every block for one image, by the place at which the method acts.

    `sum(cost.flops for cost in count_costs(...))` is the whole trunk's.

    Raises:
        ScheduleError: as `Schedule.token_counts`.
        MethodError: no such method, or its step does not say what the parts of a block work on.
    """
    rule, prefix = find_method(method), shape.num_prefix_tokens
    counts = count_tokens(rule, schedule, shape.depth, shape.num_tokens, prefix)
    costs = []
    for ask, (before, after) in zip(schedule.per_layer(shape.depth), pairwise(counts), strict=True):
        r = count_removed(ask, before, prefix, rule.limit, rule.shares_all)
        work = rule.work(before, before - r) if r else Work.of(before, before)
        costs.append(cost_of(work, before, after, shape))
    return costs


def plan_merge(
    metric: Tensor,
    r: int,
    num_prefix_tokens: int = 0,
    method: str | Method = "tome",
    protected: Tensor | None = None,
) -> MergePlan:
    """Decide which r of N tokens disappear into others.

    Args:
        metric: features compared when matching, `[B, N, D]`.
        r: tokens to remove, limited to what the method can: half of the N - T that may merge, for ToMe; 0
            gives the identity.
        num_prefix_tokens: T tokens at the front that never merge, receive nothing, and stay first.
        method: row of `METHODS` that needs no more than a metric.
        protected: further tokens to protect while there are others, `[B, N]` bool; see `run_trunk`.

    Returns:
        The plan from N to M = N - r slots.

    Raises:
        PlanError: the metric is not `[B, N, D]`, or has fewer than T tokens, or the mask does not fit it.
        ScheduleError: r is negative or not a whole number.
        MethodError: no such method, or one that reads more than a metric.
    """
    rule = find_method(method)
    plan = rule.plan
    count = read_count(r, r)
    if metric.ndim != 3:
        raise PlanError(f"a metric must be [B, N, D], but this one is {list(metric.shape)}.")
    batch, num_tokens = metric.shape[:2]
    if not 0 <= num_prefix_tokens <= num_tokens:
        raise PlanError(f"{num_prefix_tokens} prefix tokens of {num_tokens} tokens: use 0 to {num_tokens}.")
    spared = None if protected is None else fit_mask(protected, batch, num_tokens, num_prefix_tokens)
    count = count_removed(count, num_tokens, num_prefix_tokens, rule.limit)
    if count == 0:
        return MergePlan.identity(batch, num_tokens, metric.device)
    seen = Seen.of_metric(metric, num_prefix_tokens, spared, rule.name, rule.needs)
    reduction = plan(seen, count)
    require_reduction(reduction, rule.name)
    if not isinstance(reduction, Planned):
        raise MethodError(
            f"method {rule.name!r} cannot make a plan from a metric: run it with run_trunk or patch."
        )
    return reduction.plan
