"""Arguments of blocks besides tokens, and whether they have an effect."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from .positions import FOLLOWED, Given

Defaults = dict[str, Any]
"""Arguments of a block's forward besides tokens, by name, in order, with defaults; None also for required
ones.
"""


def read_defaults(block: nn.Module) -> Defaults:
    """The arguments of a block's forward besides tokens, with their plain defaults."""
    try:
        _, *others = inspect.signature(block.forward).parameters.values()
    except (TypeError, ValueError):  # not written in Python, or has no arguments
        return {}
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    plain = bool | int | float | str
    return {
        p.name: p.default if isinstance(p.default, plain) else None for p in others if p.kind not in variable
    }


def read_given(args: tuple[Any, ...], kwargs: dict[str, Any], defaults: Defaults) -> tuple[Given, list[str]]:
    """What a block is given besides tokens: positions, which follow the tokens, and the names of all else.

    Args:
        args: positional arguments after the tokens.
        kwargs: named arguments.
        defaults: defaults of the block; arguments equal to them count as not given.
    """
    names = list(defaults)
    names += [f"argument {place}" for place in range(len(names) + 2, len(args) + 2)]
    given = dict(zip(names, args, strict=False)) | kwargs
    given = {name: value for name, value in given.items() if not _says_nothing(value, defaults.get(name))}
    followed = {name: v for name, v in given.items() if name in FOLLOWED and isinstance(v, Tensor)}
    return followed, [name for name in given if name not in followed]


def _says_nothing(value: Any, default: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, bool | int | float | str) and type(value) is type(default) and value == default


def find_needed_arguments(block: nn.Module) -> list[str]:
    """Names of required arguments of a block's forward besides the tokens."""
    return [name for name, is_needed in _other_arguments(block).items() if is_needed]


def find_positions(block: nn.Module) -> list[str]:
    """Names of the arguments through which a block's forward gets positions, and of its required
    arguments."""
    starts, ends = ("rope", "rot", "rel_pos", "pos_"), ("_rope", "_rel_pos", "_pos")
    return [
        name
        for name, is_needed in _other_arguments(block).items()
        if is_needed or name == "pos" or name.startswith(starts) or name.endswith(ends)
    ]


def _other_arguments(block: nn.Module) -> dict[str, bool]:
    try:
        first, *others = inspect.signature(block.forward).parameters.values()
    except (TypeError, ValueError):  # not written in Python, or takes nothing
        return {}
    if first.kind is first.VAR_POSITIONAL:
        others = [first, *others]
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {p.name: p.default is p.empty and p.kind not in variable for p in others}
