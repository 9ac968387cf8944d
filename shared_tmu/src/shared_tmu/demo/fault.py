"""A damaged part of a file."""

from __future__ import annotations


class FaultError(Exception):
    """Record where the damage is.

    Args:
        place: byte at which the damaged part begins.
        is_end: whether the file ends inside the part, that is, it was cut off.
    """

    def __init__(self, place: int, is_end: bool = False) -> None:
        super().__init__(place, is_end)
        self.place, self.is_end = place, is_end
