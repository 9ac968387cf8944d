"""Names for the crops of a clip, under which the plans of earlier frames are used again.

Which tokens merge flips where similarities are nearly equal, so meshes jump between frames that hardly
differ. A hand or person keeps the plans of an earlier frame as long as its crop looks roughly the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu import HeldPlans
from shared_tmu.demo.batching import Batch
from shared_tmu.demo.masking import SAME_SUBJECT
from shared_tmu.detect.base import shared_part
from shared_tmu.method_parts.held import Holding

MAX_CHANGE = 0.25
"""Plans are made anew when the cells of a crop have changed by more than this part of their contrast.

Chosen by a trial with HaMeR-Thin at 8x16 with masks: as a box moved, held plans were at least as close to
the unpatched model as new ones while the cells had changed by a fifth, and worse from two fifths on. No
command repeats it yet, so it is a choice, not a measured bound.
"""
CELLS = (16, 12)
"""Rows and columns of the means by which crops are compared."""


@dataclass
class _Track:
    """A subject from frame to frame.

    Attributes:
        box: its box in the newest frame.
        name: of its plans.
        cells: of the crop for which these were made, `[3, 16, 12]`.
    """

    box: Any
    name: int
    cells: NDArray[np.float32]


class PlanHolder:
    """Follows subjects through the frames of one clip, in order, and names the plans of their crops.

    A subject is the same if its box overlaps that in the frame just before and its side is the same.
    """

    def __init__(self) -> None:
        self.plans = HeldPlans()
        self._numbers = count()
        self._frame = -1
        self._now: list[_Track] = []
        self._before: list[_Track] = []

    def of(self, batch: Batch) -> Holding:
        """The names of a batch's crops; None for gaps."""
        held = {track.name for track in (*self._now, *self._before)}
        self.plans.keep_only(held)
        seen: Counter[int] = Counter()
        names: list[int | None] = []
        for job, image in zip(batch.jobs, batch.images, strict=True):
            if job is None or image is None:
                names.append(None)
                continue
            frame = int(job.source.key)
            box = job.detection.boxes[len(job.predictions) + seen[frame]]
            seen[frame] += 1
            names.append(self._follow(frame, box, cells_of(image)))
        return Holding(self.plans, names)

    def _follow(self, frame: int, box: Any, cells: NDArray[np.float32]) -> int:
        """The name of the plans for a crop."""
        if frame != self._frame:
            self._before = self._now if frame == self._frame + 1 else []
            self._now, self._frame = [], frame
        track = self._take(box)
        if track is None or change_between(track.cells, cells) > MAX_CHANGE:
            track = _Track(box, next(self._numbers), cells)
        track.box = box
        self._now.append(track)
        return track.name

    def _take(self, box: Any) -> _Track | None:
        """The track of the frame before that a box continues; no other box can continue it then."""
        side = getattr(box, "is_right", None)
        same = [track for track in self._before if getattr(track.box, "is_right", None) == side]
        best = max(same, key=lambda track: shared_part(track.box.box_xyxy, box.box_xyxy), default=None)
        if best is None or shared_part(best.box.box_xyxy, box.box_xyxy) < SAME_SUBJECT:
            return None
        self._before = [track for track in self._before if track is not best]
        return best


def cells_of(image: NDArray[np.float32], cells: Sequence[int] = CELLS) -> NDArray[np.float32]:
    """Means over the cells of a crop, `[C, H, W]` to `[C, rows, columns]`; pixels that are left over at the
    right and bottom are not counted."""
    (channels, height, width), (rows, columns) = image.shape, cells
    down, right = height // rows, width // columns
    cut = image[:, : down * rows, : right * columns]
    means: NDArray[np.float32] = cut.reshape(channels, rows, down, columns, right).mean(axis=(2, 4))
    return means


def change_between(old: NDArray[np.float32], new: NDArray[np.float32]) -> float:
    """Root mean square of the differences of two crops' cells, in units of the old one's contrast."""
    return float(np.sqrt(np.square(new - old).mean()) / max(float(old.std()), 1e-6))
