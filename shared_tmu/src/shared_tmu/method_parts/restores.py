"""The table of ways to restore the full grid after the last block; the choice is independent of the
method.

Two more were measured and left out, because they lose, see `METHODS.md`: means of the copies around a
token in the grid, and copies of the three most similar groups, weighted by similarity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

from ..errors import PatchError
from ..plans.ops import unmerge
from ..plans.plan import MergePlan
from .controls import unmerge_sparse
from .reductions import Applied, Route

COPY = "copy"  # the row that is used unless another is asked for


@dataclass(frozen=True, eq=False)
class Ended:
    """What is left after the last block of a pass.

    Attributes:
        slots: `[B, M, C]`.
        route: from the N tokens to these slots.
        history: every reduction, for rows that need it; else empty.
    """

    slots: Tensor
    route: Route
    history: tuple[Applied, ...] = ()


@dataclass(frozen=True)
class Restore:
    """One row of the table.

    Attributes:
        name: what users type.
        restore: from the end of a pass to all tokens, `[B, N, C]`.
        needs_history: whether tokens before and after every reduction are kept until the end.
        needs_map: whether it needs to know which tokens a slot carries, which is undefined for methods that
            mix all tokens.
    """

    name: str
    restore: Callable[[Ended], Tensor]
    needs_history: bool = False
    needs_map: bool = False


def _copy(end: Ended) -> Tensor:
    """Published TMU: every token gets its group's feature, a pruned one that of the slot it copies."""
    return unmerge(end.slots, end.route)


def _sparse(end: Ended) -> Tensor:
    """A control: only each slot's first token gets its feature, all others are zero."""
    assert isinstance(end.route, MergePlan)
    return unmerge_sparse(end.slots, end.route)


def _residual(end: Ended) -> Tensor:
    """Each token keeps its features at the time of merging, and receives what its group gained since."""
    x = end.slots
    for applied in reversed(end.history):
        x = applied.before + unmerge(x - applied.after, applied.reduction.route)
    return x


RESTORES: Mapping[str, Restore] = MappingProxyType(
    {
        row.name: row
        for row in (
            Restore(COPY, _copy),
            Restore("residual", _residual, needs_history=True),
            Restore("sparse", _sparse, needs_map=True),
        )
    }
)


def find_restore(name: str) -> Restore:
    """The row of that name.

    Raises:
        PatchError: no such row.
    """
    if name not in RESTORES:
        raise PatchError(f"there is no way to restore called {name!r}: use one of {', '.join(RESTORES)}.")
    return RESTORES[name]
