"""A part of a file that cannot be right."""

from __future__ import annotations


class FaultError(Exception):
    """Says where.

    Args:
        place: byte at which the part begins.
        is_end: whether the file ends before the part does: it is cut off.
    """

    def __init__(self, place: int, is_end: bool = False) -> None:
        super().__init__(place, is_end)
        self.place, self.is_end = place, is_end
