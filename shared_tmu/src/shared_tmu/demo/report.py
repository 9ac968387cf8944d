"""What a run did: counts, times by stage, and the table at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

STAGES = {
    "read": "reading (in the background)",
    "detect": "finding hands",
    "crop": "cropping",
    "model": "model",
    "draw": "drawing",
    "save": "saving",
}


@dataclass
class Report:
    """Running totals; their size does not depend on the number of images, except for what failed.

    Attributes:
        images: processed in this run.
        hands: predicted in this run.
        kept: images that an earlier run had finished.
        without_hands: images in which none was found.
        failures: what could not be processed, one sentence each.
        seconds: by stage.
    """

    images: int = 0
    hands: int = 0
    kept: int = 0
    without_hands: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a `with` block to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - started

    def rows(self, model_crops: int, model_s: float, tokens: tuple[int, int]) -> list[tuple[str, str]]:
        """The closing table.

        Args:
            model_crops: crops that the model has run on.
            model_s: seconds it took, synchronised.
            tokens: patch tokens that enter the trunk, and those left at its end.
        """
        images = f"{self.images}" + (f" (and {self.kept} kept from before)" if self.kept else "")
        without = f" (none found in {self.without_hands} images)" if self.without_hands else ""
        rows = [("images", images), ("hands", f"{self.hands}{without}")]
        for stage, name in STAGES.items():
            spent = self.seconds[stage]
            each = f" ({1000 * spent / self.images:.1f} ms per image)" if self.images else ""
            rows.append((name, f"{spent:.2f} s{each}"))
        if model_crops:
            rows.append(("images/s, model alone", f"{model_crops / max(model_s, 1e-9):.1f}"))
        rows.append(("tokens kept", f"{tokens[1]} of {tokens[0]} ({100 * tokens[1] / tokens[0]:.0f} %)"))
        return rows


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of texts in aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
