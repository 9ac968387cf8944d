"""What a search for the fastest way has found: kept in the cache folder, shown as one table."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from shared_tmu.datasets.synthhand import cache_folder
from shared_tmu.errors import TMUError
from shared_tmu.evaluation.budget.request import Budget
from shared_tmu.files import write_text
from shared_tmu.layers import LayerRecipe
from shared_tmu.programs.model_program import Run
from shared_tmu.programs.rows import format_rows
from shared_tmu.schedule import Schedule

_log = logging.getLogger(__name__)
MOST_ROWS = 12
_DAMAGE = ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError


@dataclass(frozen=True)
class Tried:
    """A row of the table.

    Attributes:
        label: label of the run.
        tokens: left at the end, task tokens included.
        layers: blocks.
        speedup: over the unpatched model, measured in turn with all others.
        extra_mm: mean error less the unpatched model's.
        interval_mm: its 95 % interval; NaN if it is unknown.
        samples: on how many; fewer than all where it was clear.
        passed: whether it is within the budget.
    """

    label: str
    tokens: int
    layers: int
    speedup: float
    extra_mm: float
    interval_mm: tuple[float, float]
    samples: int
    passed: bool

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Tried:
        """Read a row that was kept."""
        low, high = map(float, _pair(content["interval_mm"]))  # of what was not finite it is not either
        return cls(
            label=str(content["label"]),
            tokens=int(content["tokens"]),
            layers=int(content["layers"]),
            speedup=_finite(content["speedup"]),
            extra_mm=float(content["extra_mm"]),
            interval_mm=(low, high),
            samples=int(content["samples"]),
            passed=content["passed"] is True,
        )


@dataclass(frozen=True)
class Answer:
    """The result of a search.

    Attributes:
        run: the fastest that was found.
        speedup: its speed-up, timed again with the unpatched model alone, and its quartiles.
        rows: all of which the error was measured; the fastest first.
        candidates: how many there were.
        base_mm: the unpatched model's error.
        samples: on so many samples, those that were used of the set.
    """

    run: Run
    speedup: float
    speedup_quartiles: tuple[float, float]
    rows: tuple[Tried, ...]
    candidates: int
    base_mm: float
    samples: int

    def show(self, budget: Budget, facts: Mapping[str, Any]) -> str:
        """The table, with what it is of; of many rows those that are faster than the answer and tell most."""
        chosen = next(row for row in self.rows if row.label == self.run.label)
        others = [row for row in self.rows if row is not chosen]
        near = sorted(others, key=lambda row: abs(row.speedup - chosen.speedup))[: MOST_ROWS - 1]
        shown = [row for row in self.rows if row is chosen or row in near]
        title = ("", "tokens left", "layers", "speed-up", "more error (mm)", "95 % interval", "samples", "")
        rows = [title, *(_cells(row, row is chosen) for row in shown)]
        low, high = self.speedup_quartiles
        about = (
            f"{budget}: {facts['metric']} of the unpatched model is {self.base_mm:.3f} mm on {self.samples} "
            f"samples of {facts['dataset']}; {facts['processor']}, {facts['cpu_threads']} threads, "
            f"{facts['dtype']}, batches of {facts['batch_size']}. "
            f"Error was measured of {len(self.rows)} of {self.candidates} ways"
            + (f"; {len(shown)} nearest are shown." if len(shown) < len(self.rows) else ".")
        )
        end = (
            f"Chosen: {self.run.label}, {self.speedup:.2f}x ({low:.2f}-{high:.2f}) when timed again. Its "
            "error and one standard error are within the budget on these samples; "
        ) + (
            "on others it may differ as the interval says."
            if math.isfinite(chosen.interval_mm[0])
            else "but they are all alike, such as the frames of one sequence, and how it differs on others "
            "is unknown: use a --calib with several."
        )
        return f"\n{about}\n\n{format_rows(rows)}\n\n{end}\n"

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` reads back."""
        layers = self.run.layers
        return {
            "schedule": str(self.run.schedule),
            "mask": self.run.mask,
            "layers": None if layers is None else layers.to_dict(),
            "speedup": self.speedup,
            "speedup_quartiles": list(self.speedup_quartiles),
            "candidates": self.candidates,
            "base_mm": self.base_mm,
            "samples": self.samples,
            "rows": [asdict(row) for row in self.rows],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], base: Run, masks: Collection[str], source: str) -> Answer:
        """Read what `to_dict` gave; what a search does not decide is that of `base`.

        Args:
            content: what was kept.
            base: see `AutoSettings`.
            masks: those that may have been chosen.
            source: where it is from, for messages.

        Raises:
            ValueError, KeyError, TypeError, TMUError: it is no answer, or none to this question.
        """
        layers = content["layers"]
        run = replace(
            base,
            schedule=Schedule.parse(content["schedule"]),
            mask=content["mask"],
            layers=None if layers is None else LayerRecipe.from_dict(layers, source),
        )
        rows = [Tried.from_dict(row) for row in content["rows"]]
        low, high = map(_finite, _pair(content["speedup_quartiles"]))
        numbers = (int(content["candidates"]), _finite(content["base_mm"]), int(content["samples"]))
        found = cls(run, _finite(content["speedup"]), (low, high), tuple(rows), *numbers)
        chosen = next((row for row in rows if row.label == run.label and row.passed), None)
        if chosen is None or run.mask not in masks:
            raise ValueError("the answer is none of its rows")
        if layers is not None and run.layers is not None and chosen.layers != run.layers.depth:
            raise ValueError("its recipe is of another depth")
        run.schedule.per_layer(chosen.layers)
        return found


def _pair(values: Any) -> tuple[Any, Any]:
    first, second = values
    return first, second


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a number")
    return number


def answer_file(model: str, budget: Budget, key: str) -> Path:
    """Where an answer is kept."""
    return cache_folder() / "auto" / f"{model}-{budget}-{key[:16]}.json".lower().replace(":", "-")


def read_answer(path: Path, key: str, base: Run, masks: Collection[str]) -> Answer | None:
    """A kept answer; None if there is none to this question, or it cannot be read; see `Answer.from_dict`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["key"] != key:
            return None
        return Answer.from_dict(content["answer"], base, masks, str(path))
    except FileNotFoundError:
        return None
    except (OSError, *_DAMAGE, TMUError) as error:
        _log.warning("%s cannot be read (%s): the search is repeated.", path, error)
        return None


def write_answer(path: Path, key: str, facts: Mapping[str, Any], answer: Answer) -> None:
    """Keep an answer; where the cache cannot be written it is found again the next time, and this is said."""
    content = {"key": key, "question": dict(facts), "answer": answer.to_dict()}
    try:
        write_text(path, json.dumps(content, indent=1) + "\n")
    except (OSError, TMUError) as error:
        _log.warning("The result of the search cannot be saved in %s (%s).", path, error)


def _cells(row: Tried, is_chosen: bool) -> tuple[str, ...]:
    low, high = row.interval_mm
    verdict = "chosen" if is_chosen else "slower" if row.passed else "over the budget"
    return (
        row.label,
        str(row.tokens),
        str(row.layers),
        f"{row.speedup:.2f}x",
        f"{row.extra_mm:+.3f}",
        f"{low:+.3f} to {high:+.3f}" if math.isfinite(low) else "unknown",
        str(row.samples),
        verdict,
    )
