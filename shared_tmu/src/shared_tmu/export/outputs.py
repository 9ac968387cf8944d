"""Nested dictionaries of tensors as flat ones, whose names an exported file can carry, and back."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from shared_tmu.errors import ExportError

SEPARATOR = "."
OUTPUT = "output"
"""Name of what a model returns that returns a tensor."""


def name_input(model: nn.Module) -> str:
    """What the forward of a model that takes one tensor calls it."""
    return next(iter(inspect.signature(model.forward).parameters), "input")


def flatten_output(output: Any) -> dict[str, Tensor]:
    """`{"a": {"b": tensor}}` to `{"a.b": tensor}`, in the order of the dictionaries.

    Raises:
        ExportError: something that is neither a tensor nor a dictionary of them, or a name with a dot.
    """
    if not isinstance(output, Mapping):
        raise ExportError(
            f"a model to export returns a tensor or a dictionary of tensors, not a {type(output).__name__}."
        )
    flat: dict[str, Tensor] = {}
    for name, value in output.items():
        if not isinstance(name, str) or SEPARATOR in name:
            raise ExportError(f"an output to export is named by a text without dots, not by {name!r}.")
        if isinstance(value, Tensor):
            flat[name] = value
        elif isinstance(value, Mapping):
            inner = flatten_output(value)
            flat |= {f"{name}{SEPARATOR}{key}": tensor for key, tensor in inner.items()}
        else:
            raise ExportError(f"output {name!r} is a {type(value).__name__}, not a tensor or a dictionary.")
    return flat


def nest_output(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `flatten_output`."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *folders, last = name.split(SEPARATOR)
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return nested
