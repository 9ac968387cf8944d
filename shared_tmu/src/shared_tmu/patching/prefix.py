"""Determines the number of prefix tokens before a ViT's patch tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ..blocks.verification import BlockCheck
from ..errors import PatchError
from .arrival import Arrival, watch_arrival
from .checks import refuse_arguments
from .search import FoundTrunk

_ONE_EACH = ("cls_token", "class_token", "class_embedding", "dist_token")
_REGISTERS = ("register_tokens", "reg_token", "reg_tokens")
_TASKS = ("task_tokens",)


def find_prefix(model: nn.Module, found: FoundTrunk, given: int | None) -> tuple[int, BlockCheck]:
    """The number of prefix tokens, and the checked blocks of a ViT, which is run on noise up to them.

    Blocks are checked first: whether a ViT says its prefix does not matter if its blocks do something else.

    Raises:
        PatchError: the blocks compute something else, get more than tokens and positions, or are not called;
            or the number cannot be determined.
    """
    count = read_prefix(found.owner) if given is None else given
    arrival = watch_arrival(model, found)
    refuse_arguments(found, arrival)
    check = BlockCheck(found.blocks, *(() if arrival is None else (arrival.shape, arrival.given)))
    return count_prefix(found.owner, arrival) if count is None else count, check


def read_prefix(owner: nn.Module) -> int | None:
    """A ViT's attribute `num_prefix_tokens`, which timm's and ours have; None if it has none."""
    said = getattr(owner, "num_prefix_tokens", None)
    return said if isinstance(said, int) and not isinstance(said, bool) and said >= 0 else None


def count_prefix(owner: nn.Module, arrival: Arrival | None) -> int:
    """Number of tokens before a ViT's patch tokens: measured, or else read from its attributes.

    Args:
        owner: the ViT.
        arrival: the arguments of its first block, if a test run reached it.

    Raises:
        PatchError: it cannot be determined, or such tokens are not at the front.
    """
    measured = None if arrival is None else arrival.count_prefix()
    found = _count_held(owner) if measured is None else measured
    if found is None:
        raise PatchError(
            f"{type(owner).__name__} does not tell how many class, register or task tokens precede its "
            "patch tokens, and a test run failed: pass num_prefix_tokens (0 if there are none). These "
            "tokens must not merge."
        )
    return found


def _count_held(owner: nn.Module) -> int | None:
    """The number from parameters and attributes of published classes; None if there are none of these."""
    held = [_length(getattr(owner, name, None)) for name in (*_ONE_EACH, *_REGISTERS, *_TASKS)]
    total = sum(n for n in held if n is not None)
    numbers = [getattr(owner, name, None) for name in ("num_tokens", "num_register_tokens", "num_reg_tokens")]
    counts = [n for n in numbers if isinstance(n, int) and not isinstance(n, bool)]
    if all(n is None for n in held) and not counts:
        return None
    return max(total, sum(counts))


def _length(tokens: Any) -> int | None:
    """T of a parameter `[1, T, C]`, `[T, C]` or `[C]`."""
    if not isinstance(tokens, Tensor):
        return None
    return 1 if tokens.ndim == 1 else int(tokens.shape[-2])
