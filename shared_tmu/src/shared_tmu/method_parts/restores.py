"""The table of ways to restore the full grid after the last block; the choice is independent of the
method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from ..errors import PatchError
from ..plans.ops import merge, unmerge
from ..plans.plan import MergePlan
from .controls import unmerge_sparse
from .reductions import Applied, Route

COPY = "copy"  # the row that is used unless another is asked for
_NEIGHBOURS = 3  # groups that a weighted copy is made of
_TEMPERATURE = 0.1  # of their cosines


@dataclass(frozen=True, eq=False)
class Ended:
    """What is left after the last block of a pass.

    Attributes:
        slots: `[B, M, C]`.
        route: from the N tokens to these slots.
        history: every reduction, for rows that need it; else empty.
        grid: rows and columns of the patches, if they are known.
        num_prefix_tokens: T tokens at the front, each its own slot.
    """

    slots: Tensor
    route: Route
    history: tuple[Applied, ...] = ()
    grid: tuple[int, int] | None = None
    num_prefix_tokens: int = 0


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


def _interpolate(end: Ended) -> Tensor:
    """Tokens of groups become the mean of the copies around them in the grid, weighted 4 : 2 : 1 by distance.

    Tokens that did not merge keep their own features.
    """
    copied, prefix = _copy(end), end.num_prefix_tokens
    batch, count, width = copied[:, prefix:].shape
    rows, columns = end.grid or (0, 0)
    if rows * columns != count:
        raise PatchError(
            f"restore 'interpolate' needs the grid of the {count} patches, but it is "
            f"{f'{rows} x {columns}' if end.grid else 'not known'}: pass grid=(rows, columns), or use 'copy'."
        )
    weights = torch.tensor([1.0, 2.0, 1.0], device=copied.device)
    kernel = (weights[:, None] * weights).to(copied).expand(width, 1, 3, 3)
    picture = copied[:, prefix:].transpose(1, 2).reshape(batch, width, rows, columns)
    blurred = torch.nn.functional.conv2d(picture, kernel, padding=1, groups=width)
    total = torch.nn.functional.conv2d(torch.ones_like(picture[:1, :1]), kernel[:1], padding=1)
    patches = (blurred / total).flatten(2).transpose(1, 2)
    return torch.where(_is_alone(end), copied, torch.cat([copied[:, :prefix], patches], 1))


def _weighted(end: Ended) -> Tensor:
    """Tokens of groups become the mean of the nearest groups, weighted by similarity at the first merge.

    Tokens that did not merge keep their own features.
    """
    assert isinstance(end.route, MergePlan)
    prefix, first = end.num_prefix_tokens, end.history[0].before.float()
    groups, _ = merge(first, end.route)
    unit = torch.nn.functional.normalize
    cosine = unit(first, dim=-1) @ unit(groups, dim=-1).mT
    is_empty = end.route.sizes() == 0
    is_empty[:, :prefix] = True  # task tokens are no mean of patches
    cosine = cosine.masked_fill(is_empty.unsqueeze(1), -torch.inf)
    best, nearest = cosine.topk(min(_NEIGHBOURS, cosine.shape[2] - prefix), dim=2)
    shares = torch.zeros_like(cosine).scatter(2, nearest, (best / _TEMPERATURE).softmax(2))
    mixed = shares.to(end.slots.dtype) @ end.slots
    return torch.where(_is_alone(end), _copy(end), mixed)


def _is_alone(end: Ended) -> Tensor:
    """Which tokens are the only one of their slot, `[B, N, 1]` bool; tokens before the patches always."""
    assert isinstance(end.route, MergePlan)
    slots = end.route.source_map
    alone = (end.route.sizes().gather(1, slots.clamp_min(0)) == 1) & (slots >= 0)
    alone[:, : end.num_prefix_tokens] = True
    return alone.unsqueeze(2)


RESTORES: Mapping[str, Restore] = MappingProxyType(
    {
        row.name: row
        for row in (
            Restore(COPY, _copy),
            Restore("residual", _residual, needs_history=True),
            Restore("interpolate", _interpolate, needs_map=True),
            Restore("weighted", _weighted, needs_history=True, needs_map=True),
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
