"""Read frozen dataclasses from plain mappings, with errors that name the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

from shared_tmu.errors import ConfigError
from shared_tmu.files.yaml_files import brief

T = TypeVar("T")

_LARGEST = 1 << 40  # of any number in a configuration


def section(content: Mapping[str, Any], key: str, source: str, model: str) -> Mapping[str, Any]:
    """A part of a configuration.

    Args:
        content: holds it.
        key: its name.
        source: the configuration, for the message.
        model: whose configuration it is, for the message.

    Raises:
        ConfigError: it is not there, or no mapping.
    """
    value = content.get(key)
    if not isinstance(value, Mapping):
        raise ConfigError(f"{source} has no section {key}, which {model}'s configuration needs.")
    return value


def expect(source: str, key: str, found: Any, wanted: Any) -> None:
    """Refuse a configuration in which `key` is `found` instead of `wanted`, the only variant that is built.

    Raises:
        ConfigError: they differ.
    """
    if found != wanted:
        raise ConfigError(
            f"{source}: {key} is {brief(found)}; only {wanted!r}, as in the published weights, is built."
        )


def expect_within(key: str, found: float, least: float, most: float) -> None:
    """Refuse a number that no model is built with.

    Raises:
        ConfigError: `found` is not a number from `least` to `most`.
    """
    if not least <= found <= most:
        raise ConfigError(f"{key} must be from {least:g} to {most:g}, found {brief(found)}.")


def expect_published(key: str, found: Any, published: Any) -> None:
    """Refuse a value that differs from the one used for crops or cameras: predictions would be wrong without
    a warning.

    Raises:
        ConfigError: they differ.
    """
    if found != published:
        raise ConfigError(
            f"{key} is {brief(found)}; crops and cameras are made with {published}, as for the published "
            "weights, and other values are not supported."
        )


def build(cls: type[T], content: Mapping[str, Any], source: str) -> T:
    """Make a frozen dataclass from a mapping; missing fields keep their defaults, also in nested ones.

    Args:
        cls: a dataclass all of whose fields have defaults.
        content: field name to value; values may be of a kind that converts without loss.
        source: where it comes from, for messages.

    Raises:
        ConfigError: an unknown field, or a value of the wrong kind.
    """
    known = {f.name: f for f in fields(cast(Any, cls))}
    if not isinstance(content, Mapping):
        raise ConfigError(f"{source} should be like a mapping of {sorted(known)}, found {brief(content)}.")
    unknown = [key for key in content if key not in known]
    if unknown:
        raise ConfigError(f"{source}: {cls.__name__} has no {brief(unknown)}; it has {sorted(known)}.")
    values: dict[str, Any] = {}
    for key, value in content.items():
        factory = known[key].default_factory
        default = factory() if callable(factory) else known[key].default
        try:
            values[key] = _convert(value, default, f"{source}, {key}")
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{source}: {key} should be like {default!r}, found {brief(value)}.") from error
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def plain(value: Any) -> Any:
    """The same value with tuples as lists, at every depth, as YAML and JSON hold them."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, tuple) else value


def _convert(value: Any, default: Any, source: str) -> Any:
    if is_dataclass(default):
        return build(type(default), value, source)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise TypeError
        return value
    if isinstance(default, tuple):
        if not isinstance(value, (list, tuple)) or len(value) != len(default):
            raise ValueError
        return tuple(_convert(v, d, source) for v, d in zip(value, default, strict=True))
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError
    if not abs(float(value)) <= _LARGEST or (isinstance(default, int) and int(value) != float(value)):
        raise ValueError
    return type(default)(value)
