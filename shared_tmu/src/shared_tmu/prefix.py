"""How many tokens stand in front of the patch tokens, and who says so."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .arrival import Arrival
from .errors import PatchError

_ONE_EACH = ("cls_token", "class_token", "class_embedding", "dist_token")
_REGISTERS = ("register_tokens", "reg_token", "reg_tokens")
_TASKS = ("task_tokens",)


def read_prefix(owner: nn.Module) -> int | None:
    """What a ViT says in `num_prefix_tokens`, as timm's and ours do; None if it says nothing."""
    said = getattr(owner, "num_prefix_tokens", None)
    return said if isinstance(said, int) and not isinstance(said, bool) and said >= 0 else None


def count_prefix(owner: nn.Module, arrival: Arrival | None) -> int:
    """Tokens in front of a ViT's patch tokens: measured, or else read off what it holds.

    Args:
        owner: the ViT.
        arrival: what reaches its blocks, if that could be tried out.

    Raises:
        PatchError: it cannot be known, or such tokens do not stand in front.
    """
    measured = None if arrival is None else arrival.count_prefix()
    found = _count_held(owner) if measured is None else measured
    if found is None:
        raise PatchError(
            f"{type(owner).__name__} does not say how many class, register or task tokens stand in front of "
            "its patch tokens, and it could not be tried out: pass num_prefix_tokens (0 if there are none). "
            "They must not merge."
        )
    return found


def _count_held(owner: nn.Module) -> int | None:
    """From the parameters and numbers that published classes have; None if there are none of them."""
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
