"""Arguments of blocks besides tokens, and whether they have an effect."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

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


def name_given(args: tuple[Any, ...], kwargs: dict[str, Any], defaults: Defaults) -> list[str]:
    """Names of arguments besides tokens whose value differs from the default.

    Args:
        args: positional arguments after the tokens.
        kwargs: named arguments.
        defaults: defaults of the block.
    """
    names = list(defaults)
    names += [f"argument {place}" for place in range(len(names) + 2, len(args) + 2)]
    given = dict(zip(names, args, strict=False)) | kwargs
    return [name for name, value in given.items() if not _says_nothing(value, defaults.get(name))]


def _says_nothing(value: Any, default: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, bool | int | float | str) and type(value) is type(default) and value == default
