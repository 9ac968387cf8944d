"""Method: a row of the table of token-compression methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from ..blocks.parts import Block
from ..errors import MethodError
from ..flops import Work
from ..schedule import Limit, half
from .places import Place, Plan, Step
from .seen import Needs

Learn = Callable[[Sequence[Block]], nn.Module]
"""Makes the module of a method that learns, for the blocks of a trunk."""


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        name: what users type.
        step: runs a block with the method in it: a place with a plan, such as `Between(plan)`, or its own
            step.
        needs: values that it reads; no others are computed for it.
        limit: the largest number of tokens that it can remove in one block.
        paper: arXiv number, None for controls.
        proportional: whether attention is proportional (weights keys by their size), unless the user switches
            it off.
        reads: what a schedule must give it per block: `counts`, or `thresholds` if the counts depend on the
            images.
        num_thresholds: the most numbers per block that it reads of a schedule of thresholds.
        mixes: whether slots are mixtures of all tokens, so that there are no groups and no source map.
        learn: makes the module with its learned parts; None for methods that learn nothing.
        runs_untrained: whether the module is of use as it is made, before any training.
        shares_all: whether a share that a schedule keeps is of all tokens, prefix tokens included, as the
            original counts; else of those after the prefix.

    Raises:
        MethodError: the place cannot provide values that the method reads, or the method does not list values
            that the place needs.
    """

    name: str
    step: Step
    needs: Needs = Needs.KEYS | Needs.SIZES
    limit: Limit = half
    paper: str | None = None
    proportional: bool = True
    reads: Literal["counts", "thresholds"] = "counts"
    num_thresholds: int = 2
    mixes: bool = False
    learn: Learn | None = None
    shares_all: bool = False
    runs_untrained: bool = False

    def __post_init__(self) -> None:
        place = self.step
        if not isinstance(place, Place):
            return
        kind = type(place).__name__
        if late := self.needs & place.lacks:
            raise MethodError(
                f"method {self.name!r} reads {_say(late)}, but {kind} acts before attention has computed "
                "it: use Between, After or Inside, or read only TOKENS and SIZES."
            )
        if missing := place.requires & ~self.needs:
            raise MethodError(
                f"method {self.name!r} acts in {kind}, which needs the attention map: add {_say(missing)} "
                "to its needs, or use Between."
            )

    @property
    def removes(self) -> bool:
        """Whether blocks return fewer tokens than they get."""
        return not (isinstance(self.step, Place) and self.step.undoes_at_once)

    def work(self, before: int, after: int) -> Work:
        """What the parts of a block work on in which the method leaves `after` of `before` tokens.

        Raises:
            MethodError: the method has a step of its own that is a function.
        """
        if not isinstance(self.step, Place):
            raise MethodError(
                f"method {self.name!r} has a function as its step, which does not tell how many tokens the "
                "parts of a block process: derive a class from Place that has `work`."
            )
        return self.step.work(before, after)

    @property
    def plans_from_metric(self) -> bool:
        """Whether it reads only a metric or nothing, so that it can make plans outside a trunk."""
        more = self.needs & ~(Needs.KEYS | Needs.SIZES)
        is_plain = isinstance(self.step, Place) and Needs.SIZES in self.needs and not self.learn
        return is_plain and not more and self.reads == "counts"

    @property
    def plan(self) -> Plan:
        """The planning function, for methods that plan from a metric only.

        Raises:
            MethodError: the method reads more than that, or has its own step.
        """
        if not self.plans_from_metric or not isinstance(self.step, Place):
            raise MethodError(
                f"method {self.name!r} needs more than a metric to make a plan: run it with run_trunk or "
                "patch."
            )
        return self.step.plan


def _say(needs: Needs) -> str:
    return ", ".join(str(need.name) for need in needs)
