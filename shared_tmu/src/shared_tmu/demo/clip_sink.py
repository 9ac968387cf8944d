"""Results of a video: frames are read, given to the model, drawn and written one after the other.

For `street.mov` there are `street.mp4` (the overlays, with the clip's sound), `street.npz` and `street.json`.
The `.npz` has the arrays of single images (see `records` and `body_records`) with the hands or people of all
frames one after the other, K rows in the order of the F frames. Pixel coordinates are those of the frames as
shown: upright, with square pixels. The overlays have the same pixels, and show each frame as long as the clip
does. The `.npz` also has

| name | shape | unit | meaning |
|---|---|---|---|
| frame_index | [K] | | which frame each hand or person is in, from 0 |
| track_id | [K] | | which of the clip's hands or people it is: the same number in all its frames |
| is_found | [K] | | whether the detector found it there; false in a gap that was bridged |
| time_s | [K] | s | when that frame is shown, counted from the first frame |
| frame_time_s | [F] | s | when each frame is shown, from the first; also frames without a hand or person |
| fps | scalar | 1/s | frames per second on average: F divided by the duration, to the end of the last frame |
| start_s | scalar | s | when the first frame is shown on the clip's own clock, which its sound shares |

The `.json` describes the arrays and the tracks, and `street_track_3.csv` has track 3, one row for each of its
frames: place, score, translation, and joints in pixels. Only frames in process are in memory; rows wait on
disk. A batch can hold crops of several frames, as for pictures. A clip is one result: its files appear when
the whole clip is done.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from glob import escape
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from shared_tmu.demo.batching import Job
from shared_tmu.demo.clip_writer import ClipWriter
from shared_tmu.demo.disk_arrays import GrowingArrays
from shared_tmu.demo.frames import UNSMOOTHED, FrameDrawer, FrameOrder, Rows, clip_table
from shared_tmu.demo.ledger import OutputFolder, ResultError
from shared_tmu.demo.masking import count_sources
from shared_tmu.demo.notes import Note
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.saving import Drawer
from shared_tmu.demo.sound import add_sound
from shared_tmu.demo.sources import FrameSource
from shared_tmu.demo.tracks.files import PLACE, TrackFiles
from shared_tmu.demo.tracks.tracker import CONFIRMED
from shared_tmu.errors import InputError
from shared_tmu.pictures.listing import Source
from shared_tmu.programs.tables import ImageCamera, parse_fields

FIELDS = parse_fields(__doc__)


class ClipSink:
    """Writes one video and one file of parameters for all frames.

    Args:
        folder: the output folder.
        options: which results are made.
        source: the clip, and the times of its frames.

    Raises:
        InputError: the clip cannot be read.
    """

    shows_empty = True

    def __init__(self, folder: OutputFolder, options: DemoOptions, source: FrameSource) -> None:
        self.folder, self.options = folder, options
        self.source, self.clip, self.reader = source, source.clip, source.reader
        self.digest = source.clip.digest
        self.lost: set[int] = set()
        self.masks: Counter[str] = Counter()
        self.strays = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        options, key = self.options, self.clip.key
        results = {"mp4": options.overlays, "npz": options.save_params, "json": options.save_params}
        names = [f"{key}.{end}" for end, is_made in results.items() if is_made]
        if options.save_params:  # how many tracks there will be is not known
            names += [path.name for path in sorted(self.folder.folder.glob(f"{escape(key)}{PLACE}*.csv"))]
        self.folder.require_free(key, names)
        with ExitStack() as stack:
            self.rows = stack.enter_context(GrowingArrays(self.folder.staging))
            self.tracks = TrackFiles(self.folder.staging, saves=options.save_params)
            self.writer: ClipWriter | None = None
            if options.overlays:
                writer = ClipWriter(self.folder.staging / "clip.mp4", self.clip.size_px)
                self.writer = stack.enter_context(writer)
            self.order = FrameOrder(self.writer, self._append, self.reader.times_s)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def all_kept(self) -> Note | None:
        """See `ImageSink`, also for the other methods."""
        return self.folder.finished(self.clip.key, self.digest) if self.options.resume else None

    def drawer(self, plain: Drawer) -> Drawer:
        self._drawer = FrameDrawer(plain.options, plain.faces, plain.facts, plain.grid, plain.subject)
        return self._drawer

    def kept(self, source: Source, digest: str) -> Note | None:
        return None

    def save(self, job: Job, drawn: Mapping[str, bytes], release: Callable[[], None]) -> None:
        index, (width, height) = int(job.source.key), job.size_px
        self.masks.update(count_sources(job.masks))
        self.strays += job.detection.strays
        frame, rows = drawn.get("frame"), self._rows(index, job.detection.boxes, drawn.get("arrays"))
        picture = None if frame is None else np.frombuffer(frame, np.uint8).reshape(height, width, 3)
        self._put(index, picture, rows, partial(self._is_written, index, release))

    def skip(self, source: Source) -> None:
        self.lost.add(int(source.key))
        self._put(int(source.key))

    def close(self, found: int, failures: Sequence[str]) -> None:
        key = self.clip.key
        files: dict[str, bytes | Path] = {}
        with self._writing():
            if self.writer is not None:
                self.writer.finish(self.reader.end_s)
                files[f"{key}.mp4"] = self._with_sound(self.writer.path)
            if self.options.save_params:
                files |= self._parameters(key, found) | self.tracks.files(key)
        # without a digest, --resume processes the clip again: lost frames may be readable next time
        digest = "" if self.lost else self.digest
        self.folder.commit(
            key, digest, files, found, math.prod(self.clip.size_px), failures, self.clip.origin
        )

    def closing_rows(self) -> list[tuple[str, str]]:
        boxes = "1 box" if self.strays == 1 else f"{self.strays} boxes"
        left_out = f"{boxes} that fewer than {CONFIRMED} frames have (--no-track keeps them)"
        strays = [("left out", left_out)] if self.strays else []
        return [*self.reader.rows(), *strays, *self.tracks.closing_rows()]

    def _with_sound(self, overlay: Path) -> Path:
        """The overlay video with the clip's sound, if it has one."""
        clip, made = self.clip.sound_path, self.folder.staging / "sound.mp4"
        if clip is None or not overlay.exists():
            return overlay
        return made if add_sound(overlay, clip, self.reader.start_s, self.reader.end_s, made) else overlay

    def _is_written(self, index: int, release: Callable[[], None]) -> None:
        self.reader.done(index)
        release()

    def _append(self, rows: Rows) -> None:
        self.tracks.append(rows)
        if self.options.save_params:
            self.rows.append({name: rows[name] for name in rows if name not in UNSMOOTHED.values()})

    def _put(self, *frame: Any) -> None:
        """See `FrameOrder.add`."""
        with self._writing():
            self.order.add(*frame)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """As `OutputFolder.writing`, but all frames are one result: an error never concerns only one of them.

        Raises:
            InputError: the clip's results cannot be written.
        """
        try:
            with self.folder.writing(self.clip.name):
                yield
        except ResultError as error:
            raise InputError(f"{error} Nothing of it was saved: choose another --out_folder.") from error

    def _rows(self, index: int, boxes: Sequence[Any], packed: bytes | None) -> Rows:
        if packed is None:
            return {}
        with np.load(io.BytesIO(packed)) as arrays:
            rows = {name: arrays[name] for name in arrays.files}
        many = len(next(iter(rows.values())))
        when = {
            "frame_index": np.full(many, index, np.int64),
            "track_id": np.array([box.track for box in boxes], np.int64),
            "is_found": np.array([box.is_found for box in boxes]),
            "time_s": np.full(many, self.reader.times_s[index]),
        }
        return rows | when

    def _parameters(self, key: str, found: int) -> dict[str, bytes | Path]:
        drawer, reader = self._drawer, self.reader
        table = clip_table(drawer.subject.table, FIELDS)
        camera = ImageCamera.of_image(*self.clip.size_px, self.options.focal_px)
        whole = drawer.subject.image_arrays([], camera, drawer.faces)
        whole |= {"frame_time_s": np.array(reader.times_s), "fps": np.array(reader.fps)}
        whole |= {"start_s": np.array(reader.start_s)}
        if not found:
            nothing = np.zeros(0, np.int64)
            whole |= {"frame_index": nothing, "track_id": nothing, "time_s": np.zeros(0)}
            whole["is_found"] = np.zeros(0, bool)
        path = self.folder.staging / "clip.npz"
        self.rows.save(path, [one.name for one in table.fields], whole)
        about = {"video": self.clip.name, "frames": len(reader.times_s), table.many: found}
        about |= self.reader.facts()
        about |= {"masks": dict(self.masks), "jitter": self.tracks.shake.to_dict()}
        about |= {"boxes_left_out": self.strays, "tracks": self.tracks.facts()}
        return {f"{key}.npz": path, f"{key}.json": table.to_json(whole, {**drawer.facts, **about})}
