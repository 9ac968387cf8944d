"""Reductions: what a method does to the tokens of a block, and how all tokens are restored.

A method returns a `Reduction`. The reductions of successive blocks compose to a route: a `MergePlan` as long
as every token is carried by one slot or pruned, else a `Chain` of plans and linear operators.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import MethodError, PlanError
from ..plans.matching import without_autocast
from ..plans.ops import merge, merge_and_compose, take, unmerge
from ..plans.plan import MergePlan


class Reduction(ABC):
    """A reduction of tokens, decided by a method for one block; `Merge`, `Prune` and `Linear` cover most
    methods.

    For any other reduction, derive from `Planned` and write `reduce`.
    """

    @property
    @abstractmethod
    def route(self) -> MergePlan | Chain:
        """The route from the N tokens of this block to M slots, and back."""

    @abstractmethod
    def reduce(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Tokens `[B, N, C]` and sizes `[B, N]` (None for ones) to `[B, M, C]` and `[B, M]`.

        Sizes may stay None if every slot still stands for one token, or if sizes have no meaning.
        """

    @abstractmethod
    def carry(self, flags: Tensor) -> Tensor:
        """Which slots have a flagged token in them: booleans `[B, N]` to `[B, M]`. Of weights, float, the
        largest."""

    def follow(
        self, x: Tensor, size: Tensor | None, before: MergePlan | Chain | None
    ) -> tuple[Tensor, Tensor | None, MergePlan | Chain]:
        """`reduce`, and the route from the first tokens on; `before` leads to these, None if they are."""
        x, size = self.reduce(x, size)
        return x, size, self.route if before is None else join(before, self.route)


@dataclass(frozen=True, eq=False)
class Applied:
    """One reduction of a forward pass, kept for a restore that needs the history.

    Attributes:
        reduction: the reduction.
        before: the tokens before it, `[B, N, C]`.
        after: the slots after it, `[B, M, C]`.
    """

    reduction: Reduction
    before: Tensor
    after: Tensor


@dataclass(frozen=True, eq=False)
class Planned(Reduction):
    """A reduction in which every token goes to one slot or is pruned.

    Attributes:
        plan: which tokens go where.
        takes_any_rows: whether `reduce` works channel by channel, the same in each, so that it can be applied
            to rows other than tokens, such as those of an attention map.
    """

    plan: MergePlan
    takes_any_rows = False

    @property
    def route(self) -> MergePlan:
        """The plan."""
        return self.plan

    def carry(self, flags: Tensor) -> Tensor:
        """See `Reduction`."""
        slots = self.plan.source_map
        if flags.is_floating_point():
            zeros = flags.new_zeros(flags.shape[0], self.plan.num_slots)
            return zeros.scatter_reduce_(1, slots.clamp_min(0), flags.where(slots >= 0, 0.0), "amax")
        counted = (flags & (slots >= 0)).to(torch.int64)
        zeros = counted.new_zeros(flags.shape[0], self.plan.num_slots)
        return zeros.scatter_add_(1, slots.clamp_min(0), counted) > 0


class Merge(Planned):
    """Tokens that share a slot become their mean, weighted by size: `ops.merge`."""

    takes_any_rows = True

    def reduce(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `ops.merge`."""
        return merge(x, self.plan, size)

    def follow(
        self, x: Tensor, size: Tensor | None, before: MergePlan | Chain | None
    ) -> tuple[Tensor, Tensor | None, MergePlan | Chain]:
        """As for any reduction; in a single kernel launch if Triton is used."""
        if before is None or isinstance(before, MergePlan):
            return merge_and_compose(x, self.plan, size, before)
        return super().follow(x, size, before)


@dataclass(frozen=True, eq=False)
class Prune(Planned):
    """Some tokens stay unchanged and the others are dropped; a dropped token copies another one when the grid
    is restored.

    Attributes:
        plan: one token per slot, -1 for all others.
        kept: position of the token in each slot, `[B, M]` int64.
    """

    kept: Tensor
    takes_any_rows = True

    def reduce(self, x: Tensor, size: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The rows that stay; the sizes of dropped tokens are lost."""
        return take(x, self.kept), None if size is None else take(size, self.kept)


@dataclass(frozen=True, eq=False)
class Linear(Reduction):
    """Slots are linear combinations of tokens, the same in every channel; the transpose restores the tokens.

    Sizes have no meaning afterwards. A flagged token must have its own row.

    Attributes:
        matrix: `[M, N]`, or `[B, M, N]` for a different one per image; its rows are orthonormal.
        batch_size: B.
    """

    matrix: Tensor
    batch_size: int

    @property
    def route(self) -> Chain:
        """A chain of this one."""
        return Chain((self,))

    @property
    def num_tokens(self) -> int:
        """N."""
        return self.matrix.shape[-1]

    @property
    def num_slots(self) -> int:
        """M."""
        return self.matrix.shape[-2]

    def reduce(self, x: Tensor, size: Tensor | None = None) -> tuple[Tensor, None]:
        """`[B, N, C]` to `[B, M, C]`, and no sizes."""
        with without_autocast(x.device):  # tokens keep their dtype, as in a mean
            return self.matrix.to(x) @ x, None

    def restore(self, x: Tensor) -> Tensor:
        """`[B, M, C]` to `[B, N, C]`."""
        with without_autocast(x.device):
            return self.matrix.to(x).mT @ x

    def carry(self, flags: Tensor) -> Tensor:
        """Which slots are a flagged token: booleans `[B, N]` to `[B, M]`. Of weights, those of such slots."""
        share = (self.matrix @ flags.to(self.matrix.dtype).unsqueeze(2)).squeeze(2)  # [B, M]
        if not flags.is_floating_point():
            return share > 0.5
        is_token = self.matrix.amax(dim=-1) > 0.999  # its row contains only this token
        return share.where(is_token, 0.0).to(flags.dtype)


@dataclass(frozen=True, eq=False)
class Chain:
    """Several steps one after the other, of which at least one is linear: it has no source map.

    Attributes:
        parts: plans and linear operators, in the order of the blocks.
    """

    parts: tuple[MergePlan | Linear, ...]
    source_map: None = None

    @property
    def batch_size(self) -> int:
        """B, images."""
        return self.parts[0].batch_size

    @property
    def num_tokens(self) -> int:
        """N, tokens before the first step."""
        return self.parts[0].num_tokens

    @property
    def num_slots(self) -> int:
        """M, tokens after the last."""
        return self.parts[-1].num_slots

    def reduce(self, x: Tensor) -> Tensor:
        """`[B, N, C]` to `[B, M, C]`, all steps in order, every token of the same size."""
        for part in self.parts:
            x, _ = merge(x, part) if isinstance(part, MergePlan) else part.reduce(x)
        return x

    def restore(self, x: Tensor) -> Tensor:
        """`[B, M, C]` to `[B, N, C]`, the steps in reverse order."""
        for part in reversed(self.parts):
            x = unmerge(x, part) if isinstance(part, MergePlan) else part.restore(x)
        return x


Route = MergePlan | Chain


def join(first: Route, second: Route) -> Route:
    """The composition of two routes; successive plans become one plan.

    Raises:
        PlanError: `second` does not start where `first` ends.
    """
    if isinstance(first, MergePlan) and isinstance(second, MergePlan):
        return first.then(second)
    if (second.batch_size, second.num_tokens) != (first.batch_size, first.num_slots):
        raise PlanError(
            f"the second step was made for {second.num_tokens} tokens of {second.batch_size} images, but "
            f"the first one leaves {first.num_slots} tokens of {first.batch_size} images."
        )
    parts = [*_parts(first)]
    for part in _parts(second):
        if isinstance(part, MergePlan) and isinstance(last := parts[-1], MergePlan):
            parts[-1] = last.then(part)
        else:
            parts.append(part)
    return Chain(tuple(parts))


def _parts(route: Route) -> tuple[MergePlan | Linear, ...]:
    return (route,) if isinstance(route, MergePlan) else route.parts


def require_count(removed: int, asked: int, num_tokens: int, layer: int, method: str) -> None:
    """Refuse a plan that removes another number of tokens than asked: counts, FLOPs and schedules would be
    wrong.

    Raises:
        MethodError: it does.
    """
    if removed != asked:
        raise MethodError(
            f"method {method!r} removed {removed} of {num_tokens} tokens in block {layer}, but was asked to "
            f"remove {asked}: its plan must remove r tokens, or its limit must exclude this number, or its "
            'row needs reads="thresholds".'
        )


def require_reduction(value: object, method: str) -> None:
    """Refuse an invalid return value of a plan.

    Raises:
        MethodError: it is not a `Reduction`.
    """
    if not isinstance(value, Reduction):
        example = "Merge(plan), or Prune" if isinstance(value, MergePlan) else "Merge, Prune, Linear"
        raise MethodError(
            f"{method!r} returned a {type(value).__name__}, but a plan must return a Reduction: {example} "
            "or your own class, see method_parts/reductions.py."
        )
