"""Names for the crops of a clip, under which the plans of earlier frames are used again.

Which tokens merge flips where similarities are nearly equal, so meshes jump between frames that hardly
differ. A track keeps the plans of an earlier frame as long as its crop looks roughly the same.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu import HeldPlans
from shared_tmu.demo.batching import Batch
from shared_tmu.method_parts.held import Holding
from shared_tmu.pictures.cells import MAX_CHANGE, cells_of, change_between

KEPT_FRAMES = 50
"""Plans of a track that was not in a frame for longer than this are dropped."""


@dataclass
class _Held:
    """The plans of a track.

    Attributes:
        name: of its plans.
        cells: of the crop for which these were made, `[3, 16, 12]`.
        frame: the newest that used them.
    """

    name: int
    cells: NDArray[np.float32]
    frame: int


class PlanHolder:
    """Names the plans of the crops of one clip, whose frames come in order, by track and side."""

    def __init__(self) -> None:
        self.plans = HeldPlans()
        self._numbers = count()
        self._held: dict[tuple[int, bool | None], _Held] = {}

    def of(self, batch: Batch) -> Holding:
        """The names of a batch's crops; None for gaps."""
        self.plans.keep_only({held.name for held in self._held.values()})
        seen: Counter[int] = Counter()
        names: list[int | None] = []
        for job, image in zip(batch.jobs, batch.images, strict=True):
            if job is None or image is None:
                names.append(None)
                continue
            frame = int(job.source.key)
            box = job.detection.boxes[len(job.predictions) + seen[frame]]
            seen[frame] += 1
            names.append(self._name(frame, box, cells_of(image)))
        return Holding(self.plans, names)

    def _name(self, frame: int, box: Any, cells: NDArray[np.float32]) -> int:
        """The name of the plans for a crop."""
        self._held = {key: one for key, one in self._held.items() if frame - one.frame <= KEPT_FRAMES}
        key = (box.track, getattr(box, "is_right", None))
        held = self._held.get(key)
        if held is None or change_between(held.cells, cells) > MAX_CHANGE:
            held = self._held[key] = _Held(next(self._numbers), cells, frame)
        held.frame = frame
        return held.name
