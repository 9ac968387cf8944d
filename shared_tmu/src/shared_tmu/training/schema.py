"""Checks configurations against typed, frozen dataclasses, with OmegaConf's structured configs.

OmegaConf checks names and types, the dataclasses check ranges; every error is one sentence that names the
entry.
"""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass, make_dataclass
from dataclasses import field as dataclass_field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from shared_tmu.errors import ConfigError, nearest
from shared_tmu.limits import shown

T = TypeVar("T")
Place = tuple[str, ...]
_KINDS = {  # by words in OmegaConf's messages
    "to Integer": "a whole number",
    "to Float": "a number",
    "to Path": "a path",
    "Union[int, str]": "a whole number or a word",
    "ListConfig, list": "a list",
    "a subclass of": "settings by name, as in {name: value}",
    "Dict[": "settings by name, as in {name: value}",
}


def read_as(kind: type[T], raw: Mapping[str, Any]) -> T:
    """Make a frozen dataclass, and the dataclasses in it, from plain values.

    Args:
        kind: a dataclass of numbers, texts, paths, dataclasses, and lists and mappings of these.
        raw: contents of a configuration, without interpolations.

        Raises:
        ConfigError: a name does not exist, or a value is missing, has another type or is out of range.
    """
    _check_plain(kind, raw, ())
    schema = OmegaConf.structured(_thawed(cast(Hashable, kind)))
    try:
        merged = OmegaConf.merge(schema, dict(raw))
        values: Any = OmegaConf.to_container(merged, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key} is not set: give it a value.") from error
    except (OmegaConfBaseException, ValueError, TypeError, ArithmeticError) as error:
        place, value = _blame(schema, raw)
        raise ConfigError(_sentence(error, place, value)) from error
    return cast(T, _made(kind, values, ()))


def _blame(schema: Any, raw: Any, place: Place = ()) -> tuple[Place, Any]:
    """The innermost entry that does not fit, and its value."""
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            inner = (*place, key)
            if not _fits(schema, inner, value):
                return _blame(schema, value, inner) if isinstance(key, str) else (inner, value)
    return place, raw


def _fits(schema: Any, place: Place, value: Any) -> bool:
    nested = value
    for key in reversed(place):
        nested = {key: nested}
    try:
        OmegaConf.merge(schema, nested)
    except (OmegaConfBaseException, ValueError, TypeError, ArithmeticError):
        return False
    return True


def _sentence(error: Exception, place: Place, value: Any) -> str:
    """The error of one entry."""
    name = ".".join(map(str, place)) or "the configuration"
    if isinstance(error, ConfigKeyError):
        name = name if str(error.key) in name else f"{name}.{error.key}"
        known = [f.name for f in fields(error.object_type)] if is_dataclass(error.object_type) else []
        close = nearest(str(place[-1]) if place else "", known)
        hint = f"did you mean {close!r}?" if close else f"there are {', '.join(known)}."
        return f"{name} does not exist; {hint}"
    text = str(error).splitlines()[0].rstrip(".")
    if value is None:
        return f"{name}=null was asked for; it must have a value."
    wanted = next((words for part, words in _KINDS.items() if part in text), text)
    return f"{name}={shown(value)} was asked for; it must be {wanted}."


def _check_plain(kind: Any, raw: Any, place: Place) -> None:
    """Refuse values that OmegaConf would accept with another meaning: any number as true, an empty text as
    the current folder.
    """
    for name, hint in _hints(kind).items():
        if not isinstance(raw, Mapping) or name not in raw:
            continue
        where, value = ".".join((*place, name)), raw[name]
        if hint is bool and not isinstance(value, bool | None):
            raise ConfigError(f"{where}={shown(value)} was asked for; it must be true or false.")
        if Path in (hint, *get_args(hint)) and isinstance(value, str) and not value.strip():
            raise ConfigError(f"{where} is empty; it must be a path.")
        if is_dataclass(hint):
            _check_plain(hint, value, (*place, name))


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _thawed(kind: Hashable) -> Any:
    """The same type with dataclasses that are not frozen, since OmegaConf cannot merge into frozen ones."""
    if is_dataclass(kind):
        made = []
        for one in fields(kind):
            hint = _thawed(_hints(kind)[one.name])
            default: Any = {} if one.default is MISSING else {"default": one.default}
            if one.default_factory is not MISSING:
                nested = is_dataclass(_hints(kind)[one.name])
                default = {"default_factory": hint if nested else one.default_factory}
            made.append((one.name, hint, dataclass_field(**default)))
        return make_dataclass(cast(type, kind).__name__, made, kw_only=True)
    origin, arguments = get_origin(kind), tuple(map(_thawed, get_args(kind)))
    if origin in (Union, types.UnionType):
        return Union[arguments]  # noqa: UP007 (made while running)
    return origin[arguments] if origin in (list, dict) else kind


def _made(kind: Any, value: Any, place: Place) -> Any:
    """Convert plain values that fit to frozen dataclasses, paths, and containers of these."""
    if value is None:
        return None
    if is_dataclass(kind):
        hints = _hints(cast(Hashable, kind))
        inner = {key: _made(hints[key], one, (*place, key)) for key, one in value.items()}
        try:
            return cast(Any, kind)(**inner)
        except ConfigError as error:
            where = ".".join(place)
            raise ConfigError(f"{where}: {error}" if where else str(error)) from error
    if kind is Path:
        return _path(value, ".".join(place))
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _made(next((a for a in arguments if is_dataclass(a) or a is Path), Any), value, place)
    if origin is list:
        return [_made(arguments[0], one, (*place, str(i))) for i, one in enumerate(value)]
    if origin is dict:
        return {key: _made(arguments[1], one, (*place, key)) for key, one in value.items()}
    return value


def _path(value: Any, name: str) -> Path:
    text = str(value)
    if not text.strip() or "\0" in text:
        raise ConfigError(f"{name}={text!r} was asked for; it must be a path.")
    return Path(text).expanduser()
