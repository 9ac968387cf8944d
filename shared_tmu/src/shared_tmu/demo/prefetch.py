"""The stages before the model: read, detect and crop hands or people, in two threads that run ahead of the
model.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo import batching
from shared_tmu.demo.batching import Batch, Batcher, Job
from shared_tmu.demo.channels import Channel, ChannelClosedError, PixelBudget
from shared_tmu.demo.cutting import Cutter
from shared_tmu.demo.notes import Note
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.read_ahead import Loaded
from shared_tmu.demo.report import Report
from shared_tmu.demo.sources import ImageSource
from shared_tmu.demo.subjects import DemoSubject
from shared_tmu.demo.tracks.choice import choose_follower
from shared_tmu.detect import Detection, Detector
from shared_tmu.errors import InputError, TMUError
from shared_tmu.pictures.listing import Source

BATCHES_AHEAD = 2
"""Largest number of batches, or images in which nothing was found, that wait for the model."""

_log = logging.getLogger(__name__)


class Progress(Protocol):
    """Callbacks for images that do not reach the model, and for problems."""

    def skip(self, source: Source, problems: Iterable[str], kept: Note | None = None) -> None:
        """An image needs no further work: `kept` from an earlier run, or it could not be used."""

    def complain(self, source: Source, problems: Iterable[str]) -> None:
        """There is a problem with an image that is still processed."""

    @property
    def delay(self) -> int:
        """Number of later frames that must be there before a frame is complete."""

    def outline(self, job: Job, index: int) -> NDArray[np.float64]:
        """The pixels of the mesh of one hand or person of an image, `[N, 2]`."""


class Feeder:
    """Yields, in order, batches of crops and images in which nothing was found; a context manager that ends
    its threads.

    Args:
        source: the images.
        options: settings of detector, crops and batches.
        detector: used in one thread.
        subject: what is detected and cropped: hands or people.
        input_size: height and width of the crops, pixels.
        kept: function from a source and its digest to the note of an image that an earlier run has finished.
        progress: its methods are called for images that do not reach the model, for problems, and to know
            where a mesh is.
        report: gets times and counts.
        machine: lock that is held while this computes.
    """

    def __init__(
        self,
        source: ImageSource,
        options: DemoOptions,
        detector: Detector,
        subject: DemoSubject,
        input_size: tuple[int, int],
        kept: Callable[[Source, str], Note | None],
        progress: Progress,
        report: Report,
        machine: threading.Lock,
    ) -> None:
        self.source, self.options, self.detector = source, options, detector
        self.subject, self.input_size, self.kept = subject, input_size, kept
        self.progress, self.report, self.machine = progress, report, machine
        self._learned: Channel[Job] = Channel(sys.maxsize)
        self._follower = choose_follower(
            options.clip, source, detector, self._find, self._newest, progress.outline
        )
        held = (self._follower.frames_held + progress.delay) * source.pixels
        self.budget = PixelBudget(batching.MAX_WAITING_PIXELS + held)
        assert options.rescale_factor is not None, "the model gives it"
        self._cutter = Cutter(
            subject, options.rescale_factor, input_size, options.run.masks, options.draws_on_photographs
        )
        self._batcher = Batcher(options.batch_size, options.tokens, large_alone=source.clock is None)
        self._ready: Channel[Batch | Job] = Channel(1 if source.is_live else BATCHES_AHEAD)
        self._thread = threading.Thread(target=self._work, name="feed", daemon=True)

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ready.close()
        self._learned.close()
        self.budget.close()
        self._thread.join()

    def __iter__(self) -> Iterator[Batch | Job]:
        """Batches of crops, and images without crops, as they become ready."""
        return iter(self._ready)

    def is_through(self, job: Job) -> None:
        """Tell the threads that an image has left memory, so that another can be read."""
        if job.image is not None:
            self.budget.give_back(job.size_px[0] * job.size_px[1])

    def learn(self, jobs: Iterable[Job]) -> None:
        """Tell what was predicted in images, for boxes that follow meshes."""
        if self._follower.is_step_by_step:
            for job in jobs:
                self._learned.put(copy(job))  # its predictions may be replaced by smoothed ones

    def _newest(self) -> Job:
        """The newest frame with its meshes; waits for it."""
        job = next(iter(self._learned), None)
        if job is None:
            raise ChannelClosedError
        return job

    def _work(self) -> None:
        reader = self.source.read(lambda *image: self.kept(*image) is not None, self.budget)
        ends = {portion[-1].name for portion in self.source.portions(self.options.batch_size)}
        try:
            for loaded in reader:
                for ready in self._take(loaded):
                    self._ready.put(ready)
                if loaded.source.name in ends and not loaded.is_coming:
                    for ready in self._batcher.finish():
                        self._ready.put(ready)
            for found in self._follower.finish():
                for ready in self._add(*found):
                    self._ready.put(ready)
            for ready in self._batcher.finish():
                self._ready.put(ready)
            self._ready.end()
        except ChannelClosedError:
            pass
        except BaseException as error:  # raised in the thread that waits
            self._ready.fail(error)
        finally:
            reader.close()

    def _take(self, loaded: Loaded) -> Iterator[Batch | Job]:
        """The batches that are ready after one more image."""
        source = loaded.source
        if loaded.is_coming:
            yield from self._batcher.finish()
            return
        self.report.add("read", loaded.read_s)
        note = self.kept(source, loaded.digest) if loaded.is_finished else None
        if note is not None:
            self.progress.skip(source, note.problems, kept=note)
            yield from self._batcher.add_finished(note.found, note.pixels)
            return
        if loaded.picture is None:
            self.progress.skip(source, (loaded.problem,))
            return
        if loaded.picture.note:
            _log.info("%s: %s.", source.name, loaded.picture.note)
        for found in self._follower.take(loaded):
            yield from self._add(*found)

    def _add(self, loaded: Loaded, detection: Detection[Any]) -> Iterator[Batch | Job]:
        """The batches that are ready after the hands or people of one more image."""
        job = self._cut(loaded, detection)
        if job.image is None:
            self.budget.give_back(loaded.pixels)
        if any(mask is not None and mask.waits for mask in job.masks):
            yield from self._batcher.finish()  # the frame before has to be predicted first
        if job.crops:
            yield from self._batcher.add(job)
        elif self.source.clock is not None:
            yield from self._batcher.add_empty(job)
        else:
            yield job
        if self._follower.is_step_by_step or self.source.is_live:
            yield from self._batcher.finish()

    def _find(self, loaded: Loaded) -> Detection[Any] | None:
        """Find hands or people; reports an image that cannot be used and returns None."""
        source, picture = loaded.source, loaded.picture
        assert picture is not None
        try:
            self.report.count(searched=1)
            with self.machine, self.report.timed("detect"):
                return self.detector.detect(picture.bgr, source.name)
        except InputError as error:
            problem = str(error)
        except TMUError:
            raise
        except Exception as error:  # one image must not stop the rest; it is listed as a failure
            problem = f"finding {self.subject.many} failed ({type(error).__name__}: {error})"
        self.progress.skip(source, (problem,))
        self.budget.give_back(loaded.pixels)
        return None

    def _cut(self, loaded: Loaded, detection: Detection[Any]) -> Job:
        """Crop what was found in an image."""
        source, picture = loaded.source, loaded.picture
        assert picture is not None
        with self.machine, self.report.timed("crop"):
            job = self._cutter.cut(source, loaded.digest, picture, detection)
        self.progress.complain(source, job.detection.problems)
        if not job.crops:
            self.report.count(empty=1)
        if not job.crops and self.source.clock is None:
            what, (width, height) = self.subject.many, job.size_px
            _log.info(
                "%s: no %s found (%d x %d pixels, %s).", source.name, what, width, height, self.detector.name
            )
        return job
