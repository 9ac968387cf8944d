"""Converts nested dictionaries of tensors to flat ones, whose names an exported file can store, and back."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from shared_tmu.errors import ExportError

SEPARATOR = "."
OUTPUT = "output"
"""Name of the output of a model that returns one tensor."""


def name_input(model: nn.Module) -> str:
    """Name of the argument of a model that takes one tensor."""
    return next(iter(inspect.signature(model.forward).parameters), "input")


def flatten_output(output: Any) -> dict[str, Tensor]:
    """Convert `{"a": {"b": tensor}}` to `{"a.b": tensor}`, in the order of the dictionaries.

    Raises:
        ExportError: a value is neither a tensor nor a dictionary of tensors, or a name has a dot.
    """
    if not isinstance(output, Mapping):
        raise ExportError(
            "a model to export must return a tensor or a dictionary of tensors, not a "
            f"{type(output).__name__}."
        )
    flat: dict[str, Tensor] = {}
    for name, value in output.items():
        if not isinstance(name, str) or SEPARATOR in name:
            raise ExportError(f"the name of an output to export must be a text without dots, not {name!r}.")
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
