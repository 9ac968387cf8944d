"""Allowed ranges of numeric settings, and the error message for other values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared_tmu.errors import ConfigError


@dataclass(frozen=True)
class Limit:
    """A range of numbers.

    Attributes:
        low, high: the smallest and the largest; NaN and infinity are never allowed.
        is_open: whether `low` itself is excluded.
        unit: unit of the number, for the message.
    """

    low: float
    high: float
    is_open: bool = False
    unit: str = ""

    def holds(self, value: float) -> bool:
        """Whether a number lies in the range."""
        return (self.low < value if self.is_open else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if self.is_open:
            return f"above {self.low:g} and at most {self.high:.15g}{unit}"
        return f"from {self.low:g} to {self.high:.15g}{unit}"


def check_limits(values: Any, limits: Mapping[str, Limit]) -> None:
    """Refuse an object with a number out of range; None is always allowed.

    Args:
        values: object with an attribute for each name.
        limits: ranges by name.

    Raises:
        ConfigError: a number is out of its range; the message names the first.
    """
    for name, limit in limits.items():
        value = getattr(values, name)
        if value is not None and not limit.holds(value):
            raise ConfigError(f"{name}={shown(value)} was asked for; it must be {limit}.")


def shown(value: object, most: int = 60) -> str:
    """A value for a message, shortened if it has more than `most` characters."""
    text = str(value)
    return text if len(text) <= most else f"{text[: 2 * most // 3]}... ({len(text)} characters)"
