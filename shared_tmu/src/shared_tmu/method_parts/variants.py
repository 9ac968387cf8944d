"""Options of methods, as text: `pitome:variant=bsm:margin=0.5` is the row `pitome` with two of them set.

The options of a method are the keyword parameters of its plan that have a default and a simple type, and the
fields of its place, so a method declares nothing twice. The limit gets the options for which it has
parameters.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from ..errors import MethodError
from ..limits import Limit
from .method import Method
from .places import Place

_PAIR = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})")


class Option(NamedTuple):
    """A keyword parameter: its type without None, the numbers that are allowed, its default."""

    kind: Any
    limit: Limit | None
    default: Any

    def __str__(self) -> str:
        if get_origin(self.kind) is Literal:
            return "|".join(map(str, get_args(self.kind)))
        kind = {bool: "true|false", int: "a whole number", float: "a number"}.get(self.kind, "ROWSxCOLUMNS")
        return kind if self.limit is None else f"{kind} {self.limit}"


def find_options(method: Method) -> dict[str, Option]:
    """The options of a row, by name."""
    step = method.step
    if not isinstance(step, Place):
        return {}
    return _read(step.plan) | _read(type(step))


def _read(function: Callable[..., Any]) -> dict[str, Option]:
    """The options among the parameters of a function, or of a dataclass."""
    hints, options = get_type_hints(function, include_extras=True), {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind, limit = hints.get(name), None
        if get_origin(kind) in (Union, UnionType):
            kind = next(part for part in get_args(kind) if part is not NoneType)
        if get_origin(kind) is Annotated:
            kind, limit = get_args(kind)[:2]
        is_simple = kind in (bool, int, float, tuple[int, int]) or get_origin(kind) is Literal
        if parameter.default is not inspect.Parameter.empty and is_simple:
            options[name] = Option(kind, limit, parameter.default)
    return options


def vary(method: Method, text: str) -> Method:
    """A row with options, `name=value` pieces joined by `:`; its name contains those that are not the
    default.

    Raises:
        MethodError: the row has no such option, or the value does not fit it.
    """
    options, given = find_options(method), {}
    for piece in text.split(":"):
        name, equals, value = (part.strip() for part in piece.partition("="))
        if name not in options or not equals or name in given:
            known = ", ".join(f"{key}={option}" for key, option in options.items()) or "none"
            raise MethodError(
                f"cannot read {piece!r} as an option of method {method.name!r}: it has {known}."
            )
        given[name] = _parse(value, options[name])
        if given[name] is None:
            raise MethodError(f"option {piece!r} of method {method.name!r}: use {options[name]}.")
    given = {name: given[name] for name in options if name in given and given[name] != options[name].default}
    if not given:
        return method
    assert isinstance(method.step, Place)
    of_place = {field.name: given[field.name] for field in fields(method.step) if field.name in given}
    of_plan = {name: value for name, value in given.items() if name not in of_place}
    limited = {name: of_plan[name] for name in inspect.signature(method.limit).parameters if name in of_plan}
    label = ":".join([method.name, *(f"{name}={_write(value)}" for name, value in given.items())])
    plan = partial(method.step.plan, **of_plan) if of_plan else method.step.plan
    step = replace(method.step, plan=plan, **of_place)
    limit = partial(method.limit, **limited) if limited else method.limit
    return replace(method, name=label, step=step, limit=limit)


def _parse(text: str, option: Option) -> Any:
    """The value; None if it does not fit."""
    if get_origin(option.kind) is Literal:
        return text if text in get_args(option.kind) else None
    if option.kind is bool:
        return {"true": True, "false": False}.get(text.lower())
    if option.kind not in (int, float):
        pair = _PAIR.fullmatch(text)
        return None if pair is None else (int(pair[1]), int(pair[2]))
    try:
        number = option.kind(text)
    except ValueError:
        return None
    fits = math.isfinite(number) if option.limit is None else option.limit.holds(number)
    return number if fits else None


def _write(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if isinstance(value, float):
        return repr(int(value) if value.is_integer() else value)
    return str(value).lower() if isinstance(value, bool) else str(value)
