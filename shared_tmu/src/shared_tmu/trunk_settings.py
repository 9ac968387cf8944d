"""The settings for running a trunk: one object, checked when it is created, read once per forward pass."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any, Literal

from .errors import PatchError, ScheduleError
from .method_parts.method import Method
from .method_parts.protection import WEIGHT
from .method_parts.restores import COPY, Restore, find_restore
from .method_parts.seen import Grid, Watch
from .schedule import Schedule

Unmerge = bool | Literal["sparse"]
Protect = Literal["first", "last"]


@dataclass(frozen=True)
class TrunkSettings:
    """How to run a trunk; see `run_trunk` for the meaning of each field.

    Raises:
        PatchError: an invalid value.
        ScheduleError: the schedule gives thresholds but the method needs counts, or the reverse.
    """

    schedule: Schedule
    method: Method
    num_prefix_tokens: int = 0
    unmerge: Unmerge = True
    proportional: bool = True
    protect: Protect = "first"
    restore: str = COPY
    grid: Grid | None = None
    certain: float = WEIGHT
    watch: Watch | None = None

    def __post_init__(self) -> None:
        if self.unmerge not in (True, False, "sparse"):
            raise PatchError(f"unmerge = {self.unmerge!r}: use True, False or 'sparse'.")
        if self.protect not in ("first", "last"):
            raise PatchError(
                f"protect = {self.protect!r}: use 'first', or 'last' to reproduce published runs."
            )
        if self.unmerge is not True and find_restore(self.restore).name != COPY:
            raise PatchError(
                f"restore = {self.restore!r} says how all tokens come back, but with unmerge = "
                f"{self.unmerge!r} they do not: leave one of the two out."
            )
        if not 0.0 <= self.certain < math.inf:
            raise PatchError(f"certain = {self.certain!r}: use a number of at least 0, such as {WEIGHT:g}.")
        if self.ending and self.ending.needs_map and self.method.mixes:
            raise PatchError(
                f"restore {self.ending.name!r} needs to know which tokens a slot carries, but method "
                f"{self.method.name!r} mixes all tokens: use 'copy', or unmerge = True or False."
            )
        prefix = _read_whole(self.num_prefix_tokens)
        if prefix is None:
            raise PatchError(
                f"num_prefix_tokens = {self.num_prefix_tokens!r}: use 0, 1, 2, ..., the tokens in front of "
                "the patches."
            )
        object.__setattr__(self, "num_prefix_tokens", prefix)
        if self.protect == "last" and not prefix:
            raise PatchError(
                "protect = 'last' has no effect without prefix tokens: use 'first'; only models with task "
                "tokens differ."
            )
        if self.grid is not None:
            object.__setattr__(self, "grid", _read_grid(self.grid))
        self._require_schedule_of_method()

    def _require_schedule_of_method(self) -> None:
        takes, gives = self.method.reads, "thresholds" if self.schedule.reads_thresholds else "counts"
        if self.schedule.is_off:
            return
        if takes == gives:
            most, found = self.method.num_thresholds, self.schedule.num_thresholds
            if found > most:
                raise ScheduleError(
                    f"schedule '{self.schedule}' gives {found} thresholds per layer, but method "
                    f"{self.method.name!r} reads at most {most}: use one such as 'threshold:0.9/0.001'."
                )
            return
        example = "'threshold:0.9'" if takes == "thresholds" else "'5x20' or '0.9x12'"
        raise ScheduleError(
            f"schedule '{self.schedule}' gives {gives}, but method {self.method.name!r} needs {takes}: use "
            f"a schedule such as {example}."
        )

    @property
    def ending(self) -> Restore | None:
        """How the full grid is restored after the last block; None to return the short sequence."""
        if self.unmerge == "sparse":
            return find_restore("sparse")
        return find_restore(self.restore) if self.unmerge else None

    @property
    def may_pad(self) -> bool:
        """Whether images may keep different numbers of tokens in a sequence that stays short."""
        return self.ending is None and self.schedule.reads_thresholds

    def merges(self, depth: int) -> bool:
        """Whether anything merges in a trunk with this number of blocks.

        Raises:
            ScheduleError: the schedule is for more blocks.
        """
        return any(self.schedule.per_layer(depth))


def _read_whole(value: Any) -> int | None:
    """A whole number of at least 0 (also numpy's) as an int; None for anything else."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    number = operator.index(value)
    return number if number >= 0 else None


def _read_grid(value: Any) -> Grid:
    sides = [_read_whole(side) for side in value] if isinstance(value, tuple | list) else []
    if len(sides) != 2 or not sides[0] or not sides[1]:
        raise PatchError(f"grid = {value!r}: use (rows, columns) of the patches, such as (16, 12).")
    return sides[0], sides[1]
