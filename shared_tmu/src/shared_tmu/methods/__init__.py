"""The table of merging methods: one file each, one row each, one signature for all.

A method turns what it needs from attention (today the metric: keys averaged over heads) into a `MergePlan`,
and reduces the tokens that share a slot to one. To add one, write its file and list its row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from ..errors import MethodError, PlanError
from ..ops import merge
from ..plan import MergePlan
from ..schedule import limit_removal, read_count
from .random_pairs import plan_random_pairs
from .tome import plan_most_similar


class Planner(Protocol):
    """Decides which tokens join, from the metric alone."""

    def __call__(self, metric: Tensor, r: int, num_prefix_tokens: int) -> MergePlan:
        """Plan to remove exactly `r` of N tokens.

        Args:
            metric: `[B, N, D]`.
            r: 1 or more, at most half of the N - T tokens that may merge.
            num_prefix_tokens: T; the first T tokens keep the first T slots to themselves.
        """


Reducer = Callable[[Tensor, MergePlan, Tensor | None], tuple[Tensor, Tensor]]
"""Tokens `[B, N, C]`, plan and sizes `[B, N]` (None before the first merge) to `[B, M, C]` and `[B, M]`."""


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        name: what users type.
        plan: decides which tokens join.
        reduce: makes one token of those that share a slot.
        paper: arXiv number, None for controls.
    """

    name: str
    plan: Planner
    reduce: Reducer
    paper: str | None


def table(*rows: Method) -> Mapping[str, Method]:
    """Methods by name, read-only.

    Raises:
        MethodError: two rows share a name.
    """
    methods: dict[str, Method] = {}
    for row in rows:
        if row.name in methods:
            raise MethodError(f"two methods are called {row.name!r}: give the new one a name of its own.")
        methods[row.name] = row
    return MappingProxyType(methods)


METHODS: Mapping[str, Method] = table(
    Method("tome", plan=plan_most_similar, reduce=merge, paper="arXiv:2210.09461"),
    Method("random", plan=plan_random_pairs, reduce=merge, paper=None),  # the control every plot needs
)


def find_method(method: str | Method) -> Method:
    """The row of that name; a `Method` of your own passes through.

    Raises:
        MethodError: no such row.
    """
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise MethodError(
            f"there is no method {method!r}: use one of {', '.join(METHODS)}, or pass a Method."
        )
    return METHODS[method]


def plan_merge(
    metric: Tensor, r: int, num_prefix_tokens: int = 0, method: str | Method = "tome"
) -> MergePlan:
    """Decide which r of N tokens disappear into others.

    Args:
        metric: features compared when matching, `[B, N, D]`.
        r: tokens to remove, limited to half of the N - T that may merge; 0 gives the identity.
        num_prefix_tokens: T tokens at the front that never merge, receive nothing, and stay first.
        method: row of `METHODS`.

    Returns:
        The plan from N to M = N - r slots.

    Raises:
        PlanError: the metric is not `[B, N, D]`, or has fewer than T tokens.
        ScheduleError: r is negative or not a whole number.
        MethodError: no such method.
    """
    rule = find_method(method)
    count = read_count(r, r)
    if metric.ndim != 3:
        raise PlanError(f"a metric is [B, N, D], this one is {list(metric.shape)}.")
    if not 0 <= num_prefix_tokens <= metric.shape[1]:
        raise PlanError(
            f"{num_prefix_tokens} prefix tokens of {metric.shape[1]} tokens: use 0 to {metric.shape[1]}."
        )
    count = limit_removal(count, metric.shape[1], num_prefix_tokens)
    if count == 0:
        return MergePlan.identity(metric.shape[0], metric.shape[1], metric.device)
    return rule.plan(metric, count, num_prefix_tokens)
