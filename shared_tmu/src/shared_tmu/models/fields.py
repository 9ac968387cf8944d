"""Reads frozen dataclasses from plain mappings; errors name the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

from shared_tmu.errors import ConfigError
from shared_tmu.files.yaml_files import brief

T = TypeVar("T")

_LARGEST = 1 << 40  # largest number in a configuration


def section(content: Mapping[str, Any], key: str, source: str, model: str) -> Mapping[str, Any]:
    """A section of a configuration.

    Args:
        content: the configuration.
        key: name of the section.
        source: where the configuration comes from, for the message.
        model: the model to which it belongs, for the message.

    Raises:
        ConfigError: the section is missing or not a mapping.
    """
    value = content.get(key)
    if not isinstance(value, Mapping):
        raise ConfigError(f"{source} has no section {key}, which {model}'s configuration needs.")
    return value


def expect(source: str, key: str, found: Any, wanted: Any) -> None:
    """Refuse a configuration in which `key` is `found` instead of `wanted`, the only supported value.

    Raises:
        ConfigError: they differ.
    """
    if found != wanted:
        raise ConfigError(
            f"{source}: {key} is {brief(found)}, but only {wanted!r}, as in the published weights, is "
            "supported."
        )


def expect_within(key: str, found: float, least: float, most: float) -> None:
    """Refuse a number outside the range that models can have.

    Raises:
        ConfigError: `found` is not a number from `least` to `most`.
    """
    if not least <= found <= most:
        raise ConfigError(f"{key} must be from {least:g} to {most:g}, found {brief(found)}.")


def expect_published(key: str, found: Any, published: Any) -> None:
    """Refuse a value that differs from the one used for crops or cameras: predictions would otherwise be
    wrong without a warning.

    Raises:
        ConfigError: they differ.
    """
    if found != published:
        raise ConfigError(
            f"{key} is {brief(found)}, but crops and cameras always use {published}, as for the published "
            "weights; other values are not supported."
        )


def build(cls: type[T], content: Mapping[str, Any], source: str) -> T:
    """Make a frozen dataclass from a mapping; missing fields keep their defaults, also in nested dataclasses.

    Args:
        cls: a dataclass in which all fields have defaults.
        content: values by field name; values that can be converted without loss are accepted.
        source: where it comes from, for messages.

    Raises:
        ConfigError: a field is unknown, or a value has the wrong type.
    """
    known = {f.name: f for f in fields(cast(Any, cls))}
    if not isinstance(content, Mapping):
        raise ConfigError(f"{source} must be a mapping with some of {sorted(known)}, found {brief(content)}.")
    unknown = [key for key in content if key not in known]
    if unknown:
        raise ConfigError(
            f"{source}: {cls.__name__} has no field {brief(unknown)}; its fields are {sorted(known)}."
        )
    values: dict[str, Any] = {}
    for key, value in content.items():
        factory = known[key].default_factory
        default = factory() if callable(factory) else known[key].default
        try:
            values[key] = _convert(value, default, f"{source}, {key}")
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"{source}: {key} must be a value such as {default!r}, found {brief(value)}."
            ) from error
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def plain(value: Any) -> Any:
    """The same value with lists instead of tuples at every level, as YAML and JSON store them."""
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
    if isinstance(default, str):
        if not isinstance(value, str):
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
