"""`auto:0.5mm`, what `--r` is given in place of a schedule that is to be found."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from shared_tmu.errors import ScheduleError

PREFIX = "auto"
_LAYERS = "+layers"
_NUMBER = r"\+?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_WRITTEN = re.compile(rf"\s*{PREFIX}\s*:\s*({_NUMBER})\s*mm\s*(\+\s*layers)?\s*", re.ASCII | re.IGNORECASE)
HELP = "auto:0.5mm finds the fastest within so much more error, auto:0.5mm+layers also merges layers"


@dataclass(frozen=True)
class Budget:
    """How much more error than the unpatched model's a search may accept.

    Attributes:
        extra_mm: mean over the calibration samples.
        with_layers: whether blocks may be merged, too.
    """

    extra_mm: float
    with_layers: bool = False

    def __str__(self) -> str:
        return f"{PREFIX}:{self.extra_mm:.15g}mm" + (_LAYERS if self.with_layers else "")

    @staticmethod
    def is_one(text: str) -> bool:
        """Whether a part of `--r` asks for a search."""
        return text.strip().lower().startswith(PREFIX)

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read what `str` writes; capitals, and blanks between its parts, do not count.

        Raises:
            ScheduleError: it cannot be read, or is no positive number.
        """
        found = _WRITTEN.fullmatch(text)
        extra = float(found[1]) if found else math.nan
        if found is None or not (math.isfinite(extra) and extra > 0):
            raise ScheduleError(
                f"cannot read {text!r}: give one allowed increase of the error in millimetres, more than 0, "
                f"such as {PREFIX}:0.5mm, or {PREFIX}:0.5mm{_LAYERS} to also merge layers."
            )
        return cls(extra, found[2] is not None)


def split_budgets(text: str) -> tuple[tuple[Budget, ...], str]:
    """The budgets in a comma list of schedules, and the rest of the list.

    Raises:
        ScheduleError: a budget that cannot be read.
    """
    parts = text.split(",")
    budgets = dict.fromkeys(Budget.parse(part) for part in parts if Budget.is_one(part))
    return tuple(budgets), ",".join(part for part in parts if not Budget.is_one(part))
