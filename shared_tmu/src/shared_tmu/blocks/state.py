"""A snapshot of the parts of a block that merging replaces, taken when the block was checked; cheap to
compare.

Merging replaces the forward of a block and of its attention. Their parts (`norm1`, `qkv`, `mlp` ...) run in
any case, so they may change internally.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from .parts import parts_of, replaced_modules

_WITHOUT_EFFECT = {"training", "inplace"}
_OF_DROPOUT = {"p", "drop_prob", "drop_rate"}  # which merging reads, or leaves to a part
_OF_TORCH = frozenset(vars(nn.Module()))
FOLLOWS = "attributes_that_follow"
"""Name of a class's set of attributes that follow from its parameters, such as copies of weights."""


def describe_structure(block: nn.Module) -> tuple[Any, ...]:
    """The structure of a block without its weights: equal for two blocks that compute the same from equal
    weights, up to how often their parts drop values.

    Objects that are neither modules, tensors nor plain values count as different unless they are the same;
    those that a class names in its set `attributes_that_follow` do not count.
    """
    replaced = list(replaced_modules(parts_of(block)).values())
    return tuple(
        _describe_part(name, part, _WITHOUT_EFFECT if part in replaced else _WITHOUT_EFFECT | _OF_DROPOUT)
        for name, part in block.named_modules(remove_duplicate=False)
    )


def _describe_part(name: str, part: nn.Module, without_effect: set[str]) -> tuple[Any, ...]:
    without_effect = without_effect | getattr(type(part), FOLLOWS, frozenset())
    tensors = [*part._parameters.items(), *part._buffers.items()]
    shapes = tuple((key, None if t is None else (*t.shape, t.dtype)) for key, t in tensors)
    values = tuple(
        (key, _describe_value(value))
        for key, value in sorted(vars(part).items())
        if key not in without_effect and key not in _OF_TORCH
    )
    return name, type(part), shapes, values


def _describe_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str | torch.dtype):
        return value
    if isinstance(value, tuple | list | torch.Size):
        return tuple(_describe_value(v) for v in value)
    return id(value)


def describe_present(block: nn.Module) -> list[Any]:
    """What a block and its attention are now: equal to an earlier description if nothing in them was replaced
    since. It keeps neither of them alive.
    """
    return [
        [
            type(module),
            _Same(type(module).forward),
            {name: None if part is None else _Same(part) for name, part in module._modules.items()},
            _tell_tensors(module),
            _plain(vars(module), _Same),
        ]
        for module in replaced_modules(parts_of(block)).values()
    ]


class _Same:
    """Equal only for the same object, as long as it exists; without keeping it alive, where that is possible.

    Args:
        value: any object; a bound method counts as its function and its object.
    """

    def __init__(self, value: Any) -> None:
        objects = (value.__func__, value.__self__) if isinstance(value, MethodType) else (value,)
        self._places = [_refer_to(one) for one in objects]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same) or len(self._places) != len(other._places):
            return False
        pairs = [(mine(), its()) for mine, its in zip(self._places, other._places, strict=True)]
        return all(mine is its and mine is not None for mine, its in pairs)

    __hash__ = None  # type: ignore[assignment]


def _refer_to(value: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


class BlockState:
    """The present state of a block and its attention: classes, methods, attributes, and names of parts."""

    def __init__(self, block: nn.Module) -> None:
        replaced = replaced_modules(parts_of(block))
        self._block, self._attention = _Part(replaced[""]), _Part(replaced[".attn"])

    def still_holds(self, block: nn.Module) -> bool:
        """Whether it is the same block, and nothing in it has been replaced."""
        return self._block.still_holds(block) and self._attention.still_holds()


class _Part:
    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._kind, self._forward = type(module), type(module).forward
        self._attributes = dict(vars(module))
        self._modules = dict(module._modules)
        self._mutable = _read_mutable(vars(module))
        self._tensors = _tell_tensors(module)

    def __getstate__(self) -> dict[str, Any]:
        """A function that replaced a class's own may have no name to be saved by."""
        return {name: value for name, value in vars(self).items() if name != "_forward"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forward = self._kind.forward

    def still_holds(self, module: nn.Module | None = None) -> bool:
        """Whether nothing in the module has been replaced; one that is given must be the same."""
        if module is None:
            module = self._module
        if module is not self._module or type(module) is not self._kind:
            return False
        if self._kind.forward is not self._forward or module._modules != self._modules:
            return False
        has_tensors = module._parameters or module._buffers or self._tensors
        if has_tensors and _tell_tensors(module) != self._tensors:
            return False
        if self._mutable and any(_freeze(vars(module).get(k)) != v for k, v in self._mutable.items()):
            return False
        return self._has_equal_attributes(module)

    def _has_equal_attributes(self, module: nn.Module) -> bool:
        now = vars(module)
        try:
            if now == self._attributes:  # compares identity first, so it is quick if nothing has changed
                return True
        except (RuntimeError, ValueError, TypeError):  # arrays, whose values are compared one by one
            pass
        if _plain(now) != _plain(self._attributes):
            return False
        self._attributes, self._mutable = dict(now), _read_mutable(now)
        return True


def _tell_tensors(module: nn.Module) -> dict[str, bool]:
    held = [*module._parameters.items(), *module._buffers.items()]
    return {name: tensor is not None for name, tensor in held}


def _plain(attributes: dict[str, Any], tell: Callable[[Any], Any] = id) -> dict[str, Any]:
    """Attributes that a forward may depend on; of tensors, only whether they exist."""
    return {
        name: type(value) if isinstance(value, Tensor) else _freeze(value, tell)
        for name, value in attributes.items()
        if name not in _WITHOUT_EFFECT and name not in _OF_TORCH
    }


def _read_mutable(attributes: dict[str, Any]) -> dict[str, Any]:
    """The contents of lists, dictionaries and sets among the attributes, except torch's own."""
    return {
        name: _freeze(value)
        for name, value in attributes.items()
        if isinstance(value, list | dict | set) and name not in _OF_TORCH
    }


def _freeze(value: Any, tell: Callable[[Any], Any] = id) -> Any:
    """Plain values themselves, also inside containers; what tells any other object apart."""
    if isinstance(value, tuple | list):
        return [_freeze(v, tell) for v in value]
    if isinstance(value, dict):
        return {key: _freeze(v, tell) for key, v in value.items()}
    if isinstance(value, set):
        return set(value)
    return value if _is_plain(value) else tell(value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
