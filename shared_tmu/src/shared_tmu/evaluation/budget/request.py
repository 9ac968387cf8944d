"""`auto:0.5mm`, what `--r` is given in place of a schedule that is to be found."""

from __future__ import annotations

import math
from dataclasses import dataclass

from shared_tmu.errors import ScheduleError

PREFIX = "auto"
_LAYERS = "+layers"
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
        """Read what `str` writes; capitals and blanks do not count.

        Raises:
            ScheduleError: it cannot be read, or is no positive number.
        """
        plain = "".join(text.split()).lower()
        number = plain.removeprefix(f"{PREFIX}:").removesuffix(_LAYERS)
        try:
            extra = float(number.removesuffix("mm")) if number.endswith("mm") else math.nan
        except ValueError:
            extra = math.nan
        if not plain.startswith(f"{PREFIX}:") or not (math.isfinite(extra) and extra > 0):
            raise ScheduleError(
                f"cannot read {text!r}: give one allowed increase of the error in millimetres, more than 0, "
                f"such as {PREFIX}:0.5mm, or {PREFIX}:0.5mm{_LAYERS} to also merge layers."
            )
        return cls(extra, plain.endswith(_LAYERS))


def split_budgets(text: str) -> tuple[tuple[Budget, ...], str]:
    """The budgets in a comma list of schedules, and the rest of the list.

    Raises:
        ScheduleError: a budget that cannot be read.
    """
    parts = text.split(",")
    budgets = dict.fromkeys(Budget.parse(part) for part in parts if Budget.is_one(part))
    return tuple(budgets), ",".join(part for part in parts if not Budget.is_one(part))
