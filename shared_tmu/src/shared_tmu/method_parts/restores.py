"""The table of ways to restore the full grid after the last block; the choice is independent of the
method."""

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


@dataclass(frozen=True)
class Restore:
    """One row of the table.

    Attributes:
        name: what users type.
        restore: slots `[B, M, C]` after the last block, the route that led to them, and the history, to
            tokens `[B, N, C]`.
        needs_history: whether tokens before and after every reduction are kept until the end; without it the
            history is empty.
        needs_map: whether it needs to know which tokens a slot carries, which is undefined for methods that
            mix all tokens.
    """

    name: str
    restore: Callable[[Tensor, Route, tuple[Applied, ...]], Tensor]
    needs_history: bool = False
    needs_map: bool = False


def _copy(x: Tensor, route: Route, history: tuple[Applied, ...]) -> Tensor:
    """Published TMU: every token gets its group's feature, a pruned one that of the slot it copies."""
    return unmerge(x, route)


def _sparse(x: Tensor, route: Route, history: tuple[Applied, ...]) -> Tensor:
    """A control: only each slot's first token gets its feature, all others are zero."""
    assert isinstance(route, MergePlan)
    return unmerge_sparse(x, route)


RESTORES: Mapping[str, Restore] = MappingProxyType(
    {row.name: row for row in (Restore("copy", _copy), Restore("sparse", _sparse, needs_map=True))}
)


def find_restore(name: str) -> Restore:
    """The row of that name.

    Raises:
        PatchError: no such row.
    """
    if name not in RESTORES:
        raise PatchError(f"there is no way to restore called {name!r}: use one of {', '.join(RESTORES)}.")
    return RESTORES[name]
