"""Statistics of a run: counts, times by stage, how busy the model was, memory; and the closing table."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared_tmu.masks import NO_MASK, MaskChoice

STAGES = {
    "read": "reading",
    "detect": "finding",
    "crop": "cropping",
    "model": "model",
    "draw": "drawing",
    "save": "saving",
}
"""All stages except the model run in their own threads and processes, so their times overlap."""

MEMORY_SAMPLES = 10


@dataclass
class Report:
    """Running totals that any thread may add to; their size does not depend on the number of images, except
    for failures.

    Attributes:
        images: processed in this run.
        many: name of what is predicted: hands or people.
        unit: name of the inputs: images or frames.
        found: hands or people predicted in this run.
        kept: images that an earlier run had finished.
        shown: processed and kept images that have pictures or meshes.
        empty: images in which no hand or person was found.
        searched: images on which the detector ran.
        masks: number of hands or people by the source of their mask, including `none`; empty if no mask was
            asked for.
        failures: names of images and their problems, one sentence each.
        unlisted: number of further problems.
        seconds: time by stage; "model" is the time during which a forward pass of the model was running.
        wall_s: from the first image being read until the last file is written, without `converting_s`;
            loading the model and its first, untimed pass come before.
            converting_s: time spent once on converting the model's number format and comparing it with
                float32.
            waited_for_crops_s: part of `wall_s` in which the model waited for crops.
            waited_for_files_s: part of `wall_s` in which it waited for images to be drawn and saved,
                including the last.
        memory_mb: resident memory of this process and the drawing processes, the largest value in each tenth
            of the images; empty if the system does not report it.
    """

    many: str = "hands"
    unit: str = "images"
    images: int = 0
    found: int = 0
    kept: int = 0
    shown: int = 0
    empty: int = 0
    searched: int = 0
    masks: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    unlisted: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    wall_s: float = 0.0
    converting_s: float = 0.0
    waited_for_crops_s: float = 0.0
    waited_for_files_s: float = 0.0
    memory_mb: list[tuple[float, float]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a `with` block to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def add(self, stage: str, seconds: float) -> None:
        """Add to the time of a stage."""
        with self._lock:
            self.seconds[stage] += seconds

    def count(self, **counts: int) -> None:
        """Add to counters by name."""
        with self._lock:
            for name, more in counts.items():
                setattr(self, name, getattr(self, name) + more)

    def fail(self, name: str, messages: Sequence[str], most: int | None = None) -> bool:
        """Record the problems of an image; beyond `most` failures they are only counted.

        Returns:
            Whether the messages are listed.
        """
        with self._lock:
            is_listed = most is None or len(self.failures) < most
            if is_listed:
                self.failures += [(name, message) for message in messages]
            else:
                self.unlisted += len(messages)
            return is_listed

    def failures_in_order(self, place: Callable[[str], int]) -> list[str]:
        """Messages in the order of the images, independent of the order in which they came.

        Args:
            place: function from an image's name to its place in the order.
        """
        in_order = sorted(self.failures, key=lambda failure: place(failure[0]))
        more = [f"and {self.unlisted} more"] if self.unlisted else []
        return [message for _, message in in_order] + more

    def sample_memory(self, done: float, drawing_pids: Sequence[int]) -> None:
        """Measure the memory in use when a share `done` (0 to 1) of the images is finished."""
        own, others = _resident_mb([os.getpid()]), _resident_mb(drawing_pids)
        if own is None or others is None:
            return
        slot = min(int(done * MEMORY_SAMPLES), MEMORY_SAMPLES - 1)
        with self._lock:
            self.memory_mb += [(own, others)] * (slot + 1 - len(self.memory_mb))
            before = self.memory_mb[slot]
            self.memory_mb[slot] = (max(before[0], own), max(before[1], others))

    @property
    def busy(self) -> float:
        """Share of the wall time in which a forward pass of the model was running."""
        return self.seconds["model"] / self.wall_s if self.wall_s else 0.0

    def rows(self, model_crops: int, tokens: tuple[int, int] | None) -> list[tuple[str, str]]:
        """The closing table.

        Args:
            model_crops: number of crops that the model has run on.
            tokens: patch tokens that enter the trunk, and those left at its end; None if this differs between
                images.
        """
        images = f"{self.images}" + (f" (and {self.kept} kept from an earlier run)" if self.kept else "")
        without = f" (none found in {self.empty} {self.unit})" if self.empty else ""
        rows = [(self.unit, images), (self.many, f"{self.found}{without}")]
        for stage, name in STAGES.items():
            spent = self.seconds[stage]
            each = f" ({1000 * spent / self.images:.1f} ms per {self.unit[:-1]})" if self.images else ""
            if stage == "detect":
                name = f"{name} {self.many}"
                each += f", on {self.searched} of them" if self.searched < self.images else ""
            rows.append((name, f"{spent:.2f} s{each}"))
        rows.append(("wall time", f"{self.wall_s:.2f} s"))
        if model_crops:
            waited = (
                f"{self.waited_for_crops_s:.2f} s for {self.many}, {self.waited_for_files_s:.2f} s for files"
            )
            rows.append(("model busy", f"{100 * self.busy:.0f} % of the wall time (waited {waited})"))
            alone = model_crops / max(self.seconds["model"], 1e-9)
            rows.append((f"{self.many}/s, model alone", f"{alone:.1f}"))
        if tokens is not None:
            rows.append(("tokens kept", f"{tokens[1]} of {tokens[0]} ({100 * tokens[1] / tokens[0]:.0f} %)"))
        return rows

    def count_masks(self, sources: Counter[str]) -> None:
        """Add to the counts by source."""
        with self._lock:
            self.masks.update(sources)

    def say_masks(self, choice: MaskChoice) -> str:
        """Which masks there were, for how many, and for how many there was none."""
        counted = {name: self.masks[name] for name in (*choice.names, NO_MASK) if self.masks[name]}
        if set(counted) <= {choice.names[0]}:
            return choice.names[0]
        found = sum(counted.values())
        parts = [f"{name} for {count} of {found} {self.many}" for name, count in counted.items()]
        why = f": {choice.lacks}" if NO_MASK in counted else ""
        return ", ".join(parts) + why

    def record(self) -> dict[str, Any]:
        """The same facts, for a JSON-lines file."""
        return {
            self.unit: self.images,
            self.many: self.found,
            "searched": self.searched,
            "kept": self.kept,
            "masks": dict(self.masks),
            "failures": len(self.failures),
            "model_busy": self.busy,
            "wall_s": self.wall_s,
            "converting_s": self.converting_s,
            "waited_for_crops_s": self.waited_for_crops_s,
            "waited_for_files_s": self.waited_for_files_s,
            "seconds": dict(self.seconds),
            "memory_mb": [round(own) for own, _ in self.memory_mb],
            "memory_of_drawing_mb": [round(others) for _, others in self.memory_mb],
        }


def _resident_mb(pids: Sequence[int]) -> float | None:
    """Total resident memory of processes that have not ended; None if the system does not report it."""
    if not Path("/proc/self/status").is_file():
        return None
    total_kb = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        for line in status.splitlines():
            if line.startswith("VmRSS:"):
                total_kb += int(line.split()[1])
    return total_kb / 1024
