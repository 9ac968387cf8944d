"""Parts of a clip's results: the table of its arrays, drawing a frame, and writing frames in order."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo.batching import Job
from shared_tmu.demo.clip_writer import ClipWriter
from shared_tmu.demo.saving import Drawer, ImageFiles
from shared_tmu.programs.tables import Field, Table

UNSMOOTHED = {"joints_3d_m": "unsmoothed_joints_3d_m", "translation_m": "unsmoothed_translation_m"}
"""Arrays of a frame's hands or people that are counted, but not saved."""

Image = NDArray[np.uint8]
Rows = Mapping[str, NDArray[Any]]


def clip_table(table: Table, more: tuple[Field, ...]) -> Table:
    """The table of a clip: that of single images, with the entries that only clips have."""
    fields = (*table.fields, *more)
    once = (*table.per_image, "frame_time_s", "fps", "start_s")
    # a clip has too many rows for the .json
    only = {one.name for one in fields if one.name not in once}
    return Table(fields, once, (*table.npz_only, "frame_time_s", *sorted(only)), table.many, table.extra)


@dataclass(frozen=True)
class FrameDrawer(Drawer):
    """Draws a frame, instead of making an image's files."""

    def files(self, job: Job) -> dict[str, bytes]:
        """`frame`: the pixels with all meshes over them, BGR, if overlays are wanted; `arrays`: an `.npz` of
        the hands or people in it, if there are some.

        Raises:
            InputError: the model gave numbers that cannot be drawn, see `require_sound`.
        """
        image, made = ImageFiles(job, self), {}
        if self.options.overlays:
            assert job.image is not None
            picture = image.full_frame() if image.records else job.image
            made["frame"] = picture.tobytes()
        if image.records:
            names = [one.name for one in self.subject.table.per_item]
            rows = {name: np.stack([record.values[name] for record in image.records]) for name in names}
            rows |= self._unsmoothed(job, image)
            packed = io.BytesIO()
            np.savez(packed, **rows)
            made["arrays"] = packed.getvalue()
        return made

    def _unsmoothed(self, job: Job, image: ImageFiles) -> dict[str, NDArray[Any]]:
        """Joints and translations before smoothing, to tell how much steadier they have become."""
        each = zip(job.unsmoothed, job.detection.boxes, job.crops, strict=False)
        camera = image.estimated.camera
        records = [self.subject.record(one.output, box, crop, camera) for one, box, crop in each]
        names = UNSMOOTHED.items() if records else ()
        return {ours: np.stack([record.values[theirs] for record in records]) for theirs, ours in names}


class FrameOrder:
    """Writes frames in order; they may be finished in any order.

    Args:
        writer: writer of the overlay video; None for none.
        rows: takes the arrays of the hands or people of each frame.
        times_s: when each frame is shown; must contain the time of a frame when that frame is added.
    """

    def __init__(
        self, writer: ClipWriter | None, rows: Callable[[Rows], None], times_s: Sequence[float]
    ) -> None:
        self.writer, self.rows, self.times_s = writer, rows, times_s
        self._waiting: dict[int, tuple[Image | None, Rows, Callable[[], None] | None]] = {}
        self._next = 0
        self._before: Image | None = None
        self._lock = threading.Lock()

    def add(
        self,
        index: int,
        picture: Image | None = None,
        found: Rows | None = None,
        release: Callable[[], None] | None = None,
    ) -> None:
        """Add a frame; if it has no picture, the previous one is shown for longer.

        Args:
            index: number of the frame.
            picture: the frame with meshes.
            found: arrays with the frame's hands or people along their first dimension.
            release: called when the frame has left memory.
        """
        with self._lock:
            self._waiting[index] = (picture, found or {}, release)
            while self._next in self._waiting:
                picture, found, release = self._waiting.pop(self._next)
                self._write(picture)
                self.rows(found)
                if release is not None:
                    release()
                self._next += 1

    def _write(self, picture: Image | None) -> None:
        if self.writer is None:
            return
        if picture is None:
            width, height = self.writer.size_px
            picture = np.zeros((height, width, 3), np.uint8) if self._before is None else self._before
        self.writer.write(picture, self.times_s[self._next])
        self._before = picture
