"""How the thread that runs the model spends its time from start to end, in consecutive parts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

PARTS = {
    "loading": "loading",
    "converting": "changing number format",
    "model": "model",
    "comparing": "comparing",
    "handing": "to and from the model",
    "waiting_for_crops": "waiting for {many}",
    "waiting_for_files": "waiting for files",
    "ending": "starting and ending",
}
"""All parts, with their names in the closing table; together they are the whole time of a run."""


class Timeline:
    """Seconds by part, counted from the object's creation.

    Time of a part inside another one is not counted twice: the outer part is paused meanwhile.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.began = self._since = time.perf_counter()
        self._part = "loading"

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of a `with` block for a part."""
        outer = self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def move(self, seconds: float, source: str, target: str) -> None:
        """Move time that was measured inside one part to another one."""
        self.seconds[source] -= seconds
        self.seconds[target] += seconds

    @property
    def total_s(self) -> float:
        """Time since the beginning."""
        return time.perf_counter() - self.began

    def rows(self, many: str) -> list[tuple[str, str]]:
        """The table of a run that ends now; parts that took no time are left out."""
        self._switch(self._part)
        parts = [(name.format(many=many), self.seconds[part]) for part, name in PARTS.items()]
        shown = [(f"  {name}", f"{seconds:.2f} s") for name, seconds in parts if seconds >= 0.005]
        return [("whole run", f"{self.total_s:.2f} s, of which"), *shown]

    def _switch(self, name: str) -> str:
        now, before = time.perf_counter(), self._part
        self.seconds[before] += now - self._since
        self._since, self._part = now, name
        return before
