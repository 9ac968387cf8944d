"""A video instead of pictures: frames are read, shown to the model, drawn and written one after the other.

For `street.mov` there are `street.mp4` (the overlays, without sound), `street.npz` and `street.json`. The
`.npz` has the arrays of single images (see `records` and `body_records`) with the hands or people of all
frames one after the other, K rows in the order of the F frames. Pixels are those of the frames as they are
shown, upright and square, and so are those of the overlays, in which each frame is shown as long as in the
clip. The `.npz` also has

| name | shape | unit | meaning |
|---|---|---|---|
| frame_index | [K] | | which frame each hand or person is in, from 0 |
| time_s | [K] | s | when that frame is shown, from the first frame |
| frame_time_s | [F] | s | when each frame is shown, from the first, also those in which nothing was found |
| fps | scalar | 1/s | frames per second on average: F over the duration, to the end of the last frame |
| start_s | scalar | s | when the first frame is shown by the clip's own clock, on which its sound is too |

The `.json` describes them. Only frames on their way are in memory, and rows wait on disk. Frames meet the
model together as pictures do, in whatever number fills a batch. A clip is one result: it is there when all of
it is done.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from shared_tmu.demo.batching import Job
from shared_tmu.demo.clip_writer import ClipWriter
from shared_tmu.demo.clips import Clip, ClipReader
from shared_tmu.demo.digest import options_digest
from shared_tmu.demo.disk_arrays import GrowingArrays
from shared_tmu.demo.draw_worker import Drawn
from shared_tmu.demo.drawing import Finisher, choose_processes
from shared_tmu.demo.frames import FrameDrawer, FrameOrder, Rows, clip_table
from shared_tmu.demo.ledger import OutputFolder
from shared_tmu.demo.notes import Note
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.prefetch import Feeder
from shared_tmu.demo.runner import Session
from shared_tmu.demo.saving import Drawer
from shared_tmu.demo.subjects import demo_subject
from shared_tmu.demo.summary import close_kept
from shared_tmu.demo.timeline import Timeline
from shared_tmu.detect import Detector
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.errors import InputError
from shared_tmu.pictures.listing import Source
from shared_tmu.programs.identity import file_sha256
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.tables import ImageCamera, parse_fields

MANY_FRAMES = 1000
"""Taken for the length of a clip that does not say its own."""

PROBLEMS_LISTED = 20
"""Frames of which problems are listed; a thousand frames may all have the same."""

FIELDS = parse_fields(__doc__)
_log = logging.getLogger(__name__)


class VideoSession(Session):
    """A run over one clip.

    Args:
        clip: what is read.
        digest: of its file.
        writer: of the overlay video; None for none.
        rows: get the parameters.
    """

    shows_empty = True

    def __init__(
        self,
        program: ModelProgram,
        options: DemoOptions,
        model: nn.Module,
        detector: Detector,
        folder: OutputFolder,
        finisher: Finisher,
        clip: Clip,
        digest: str,
        writer: ClipWriter | None,
        rows: GrowingArrays,
        timeline: Timeline,
    ) -> None:
        super().__init__(program, options, model, detector, folder, (), finisher, timeline)
        self.clip, self.digest, self.writer, self.rows = clip, digest, writer, rows
        self.reader = ClipReader(clip)
        self.report.unit = "frames"
        self.lost: set[int] = set()
        self.unlisted = 0

    @property
    def expected(self) -> int | None:
        return self.clip.frames

    @property
    def total(self) -> int:
        return len(self.reader.times_s)

    def skip(self, source: Source, problems: Iterable[str], kept: Note | None = None) -> None:
        super().skip(source, problems, kept)
        self.lost.add(int(source.key))
        self._put(int(source.key))

    def complain(self, source: Source, problems: Iterable[str]) -> None:
        problems = list(problems)
        if len(self.report.failures) < PROBLEMS_LISTED:
            super().complain(source, problems)
        else:
            self.unlisted += len(problems)

    def failures(self) -> list[str]:
        order = sorted(self.report.failures, key=lambda failure: int(failure[0].rpartition(":")[2]))
        more = [f"and {self.unlisted} more of this clip"] if self.unlisted else []
        more += self.reader.problems()
        return [message for _, message in order] + more

    def _mention_earlier(self) -> None:
        """A clip is one result: there is nothing to go on with."""

    def _feeder(self) -> Feeder:
        feeder = super()._feeder()
        feeder.frames = self.reader
        self.order = FrameOrder(self.writer, self.rows, feeder.budget, self.reader.times_s)
        return feeder

    def _drawer(self) -> Drawer:
        plain = super()._drawer()
        return FrameDrawer(plain.options, plain.faces, plain.facts, plain.grid, plain.subject)

    def _save(self, job: Job, drawn: Drawn) -> None:
        self.report.add("draw", drawn.seconds)
        key, (width, height) = job.source.key, job.size_px
        pixels = 0 if job.image is None else width * height
        if drawn.error is not None and not isinstance(drawn.error, InputError):
            raise drawn.error
        if drawn.error is not None or drawn.failure:
            self.feeder.budget.give_back(pixels)
            self.skip(job.source, (str(drawn.error) if drawn.error else drawn.failure,))
            return
        frame, rows = drawn.files.get("frame"), self._rows(int(key), drawn.files.get("arrays"))
        picture = None if frame is None else np.frombuffer(frame, np.uint8).reshape(height, width, 3)
        with self.report.timed("save"):
            self._put(int(key), picture, rows, pixels)
        self._count(job)

    def _put(self, *frame: Any) -> None:
        """See `FrameOrder.add`."""
        with self.folder.writing(self.clip.path.name):
            self.order.add(*frame)

    def _rows(self, index: int, packed: bytes | None) -> Rows:
        if packed is None:
            return {}
        with np.load(io.BytesIO(packed)) as arrays:
            rows = {name: arrays[name] for name in arrays.files}
        many = len(next(iter(rows.values())))
        when = {
            "frame_index": np.full(many, index, np.int64),
            "time_s": np.full(many, self.reader.times_s[index]),
        }
        return rows | when

    def _close(self) -> int:
        """Put the clip's files into place, then as for pictures."""
        key = self.clip.key
        files: dict[str, bytes | Path] = {}
        with self.folder.writing(self.clip.path.name):
            if self.writer is not None:
                self.writer.finish(self.reader.end_s)
                files[f"{key}.mp4"] = self.writer.path
            if self.options.save_params:
                files |= self._parameters(key)
        # without a digest --resume does the clip again: lost frames may come out the next time
        digest = "" if self.lost else self.digest
        pixels = math.prod(self.clip.size_px)
        self.folder.commit(key, digest, files, self.report.found, pixels, self.failures())
        return super()._close()

    def _parameters(self, key: str) -> dict[str, bytes | Path]:
        table, drawer = clip_table(self.subject.table, FIELDS), self._drawer()
        camera = ImageCamera.of_image(*self.clip.size_px, self.options.focal_px)
        whole = self.subject.image_arrays([], camera, drawer.faces)
        reader = self.reader
        whole |= {"frame_time_s": np.array(reader.times_s), "fps": np.array(reader.fps)}
        whole |= {"start_s": np.array(reader.start_s)}
        whole |= {"frame_index": np.zeros(0, np.int64), "time_s": np.zeros(0)}  # if nothing was found
        path = self.folder.staging / "clip.npz"
        self.rows.save(path, [one.name for one in table.fields], whole)
        about = {"video": self.clip.path.name, "frames": len(reader.times_s), table.many: self.report.found}
        return {f"{key}.npz": path, f"{key}.json": table.to_json(whole, {**drawer.facts, **about})}


def run_video(program: ModelProgram, options: DemoOptions, timeline: Timeline) -> int:
    """Process a clip; as `run_pictures`.

    Raises:
        TMUError: before any work, if the video cannot be read, or as `run_pictures`.
    """
    assert options.video is not None
    clip, subject = Clip.open(options.video), demo_subject(program.estimates)
    if options.out_folder.exists() and options.out_folder.resolve() == clip.path.resolve().parent:
        raise InputError(
            f"--out_folder {options.out_folder} holds the video itself, which would be written over: name "
            "another folder."
        )
    name = subject.detector_name(options)
    frames = MANY_FRAMES if clip.frames is None else clip.frames
    processes = choose_processes(options.draw_processes, frames, options.overlays)
    with OutputFolder(options.out_folder, "") as folder, Finisher(processes) as finisher:
        detector = subject.make_detector(name, options, str(options.device))
        model = program.load_model(options.checkpoint, options.body_path, options.config_path).eval()
        options.run.patched(program, model).remove()  # a schedule that does not fit says so before any work
        folder.options = options_digest(options, detector, model)
        digest = file_sha256(clip.path)
        note = folder.finished(clip.key, digest) if options.resume else None
        if note is not None:
            return close_kept(options, clip.path.name, note, folder)
        results = {"mp4": options.overlays, "npz": options.save_params, "json": options.save_params}
        folder.require_free(clip.key, [f"{clip.key}.{end}" for end, is_made in results.items() if is_made])
        _require_boxes(detector, clip.path.name)
        with ExitStack() as stack:
            rows = stack.enter_context(GrowingArrays(folder.staging))
            writer = None
            if options.overlays:
                path = folder.staging / "clip.mp4"
                writer = stack.enter_context(ClipWriter(path, clip.size_px))
            session = VideoSession(
                program, options, model, detector, folder, finisher, clip, digest, writer, rows, timeline
            )
            return session.process()


def _require_boxes(detector: Detector, name: str) -> None:
    """A boxes file of other pictures would give a clip with nothing in it."""
    if isinstance(detector, BoxesDetector) and not any(
        entry == name or entry.rpartition(":")[0] == name for entry in detector.entries
    ):
        _log.warning("the boxes file has boxes neither for %s nor for %s:0 and other frames.", name, name)
