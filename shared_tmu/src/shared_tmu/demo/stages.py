"""The stages between a source of images and a sink of results: read, find hands or people, crop, predict in
batches, draw, save.

Two threads read, detect and crop ahead of the model (`prefetch`); the main thread runs only the model; after
the model, threads and processes draw and save (`drawing`). All queues between them are bounded, so memory
does not grow with the number of images. Results do not depend on timing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo.batching import Batch, Job
from shared_tmu.demo.compare import Comparer
from shared_tmu.demo.digest import facts_of_run
from shared_tmu.demo.draw_worker import Drawn
from shared_tmu.demo.drawing import Finisher
from shared_tmu.demo.holding import PlanHolder
from shared_tmu.demo.ledger import ResultError
from shared_tmu.demo.masking import PreviousFrame, count_sources
from shared_tmu.demo.notes import Note
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.predict import Prediction, Predictor
from shared_tmu.demo.prefetch import Feeder
from shared_tmu.demo.report import Report
from shared_tmu.demo.saving import Drawer
from shared_tmu.demo.sinks import ImageSink
from shared_tmu.demo.smoothing.decoding import ClipDecoder, unlike_training
from shared_tmu.demo.smoothing.stage import Smoother, motions_of
from shared_tmu.demo.sources import ImageSource
from shared_tmu.demo.subjects import DemoSubject
from shared_tmu.demo.timeline import Timeline
from shared_tmu.detect import Detector
from shared_tmu.errors import HoldError, InputError
from shared_tmu.pictures.listing import Source
from shared_tmu.programs.tables import ImageCamera

_log = logging.getLogger(__name__)


class Stages:
    """All stages for the images of one source, and what they count.

    Args:
        options: options of the command line.
        predictor: runs the model.
        detector: finds hands or people.
        source: gives the images.
        sink: takes the results.
        finisher: draws images.
        timeline: times of the whole run.
    """

    def __init__(
        self,
        options: DemoOptions,
        predictor: Predictor,
        detector: Detector,
        source: ImageSource,
        sink: ImageSink,
        finisher: Finisher,
        timeline: Timeline,
    ) -> None:
        self.options, self.predictor, self.detector = options, predictor, detector
        self.source, self.sink, self.finisher = source, sink, finisher
        self.machine = threading.Lock()
        self.timeline = timeline
        self.comparer = None
        if options.compare:
            self.comparer = Comparer(self.predictor, options.batch_size, self.machine, timeline)
        self.subject: DemoSubject = self.predictor.subject
        self.previous = self._previous_frame()
        self.holder = PlanHolder() if options.holds_plans else None
        self.decoder = self._make_decoder()
        self.smoother = self._make_smoother()
        self.report = Report(self.subject.many, source.unit)

    def run(self, bar: Any) -> None:
        """Process all images, and wait until the last is saved; `bar` is updated with each."""
        self.bar = bar
        with (
            self._feeder() as self.feeder,
            self.finisher.running(self.sink.drawer(self._drawer()), self._save),
        ):
            self._predict_all()
            with self.timeline.part("waiting_for_files"):
                self.finisher.drain()

    def _predict_all(self) -> None:
        """Run the model on all batches, in this thread, and pass the images on to be drawn and saved."""
        ready = iter(self.feeder)
        while True:
            with self.timeline.part("waiting_for_crops"):
                item = next(ready, None)
            if item is None:
                if self.decoder is not None:
                    self._smooth(self.decoder.finish())
                    self._warn_of_frame_rate()
                self._pass_on(self.smoother.finish() if self.smoother else ())
                return
            if isinstance(item, Job):
                jobs = [item]
            else:
                with self.timeline.part("comparing" if self.comparer else "handing"):
                    if self.previous is not None:
                        self.previous.complete(item)
                    jobs = list(item.completed(self._predict(item)))
            if self.previous is not None:
                self.previous.remember(jobs)
            self.feeder.learn(jobs)
            self._smooth(jobs if self.decoder is None else chain(*map(self.decoder.take, jobs)))

    @property
    def delay(self) -> int:
        """See `Progress`."""
        decoding = 0 if self.decoder is None else self.decoder.delay
        return decoding + self.options.clip.smoothing_delay

    def _smooth(self, jobs: Iterable[Job]) -> None:
        """Pass images on, smooth if that was asked for."""
        self._pass_on(jobs if self.smoother is None else chain(*map(self.smoother.take, jobs)))

    def _pass_on(self, jobs: Iterable[Job]) -> None:
        """Pass images on to be drawn and saved."""
        for job in jobs:
            with self.timeline.part("waiting_for_files"):
                self.finisher.put(job)

    def _predict(self, batch: Batch) -> list[Prediction]:
        """Run the model on a batch, with the plans of earlier frames if they are held."""
        predict = (self.comparer or self.predictor).predict
        masks = [None if mask is None else mask.mask for mask in batch.masks]
        held = None if self.holder is None else self.holder.of(batch)
        try:
            return predict(batch.images, masks, held=held)
        except HoldError as error:  # in the first batch, or never
            if self.options.clip.hold:
                raise
            _log.warning("Every frame merges for itself: %s", error)
            self.holder = None
            return predict(batch.images, masks)

    def _feeder(self) -> Feeder:
        return Feeder(
            self.source,
            self.options,
            self.detector,
            self.subject,
            self.predictor.input_size,
            self.sink.kept,
            self,
            self.report,
            self.machine,
        )

    def _previous_frame(self) -> PreviousFrame | None:
        """What masks are drawn from that come from the frame before; None if there are none."""
        if "previous" not in self.options.run.masks.names:
            return None
        faces = self.predictor.program.estimates.faces(self.predictor.model)
        return PreviousFrame(self.subject, faces, self.options.focal_px)

    def _make_decoder(self) -> ClipDecoder | None:
        """What decodes tracks; None if the model's head says how they are posed."""
        if self.options.clip.decoder is None:
            return None
        return ClipDecoder.beside(self.predictor, self.options.checkpoint)

    def _warn_of_frame_rate(self) -> None:
        clock, source = self.source.clock, self.source
        if clock is not None and (told := unlike_training([clock(index) for index in range(source.total)])):
            _log.warning("%s", told)

    def _make_smoother(self) -> Smoother | None:
        """What smooths tracks; None if they stay as predicted."""
        kind, clock, predictor = self.options.clip.smooth, self.source.clock, self.predictor
        if kind is None or clock is None:
            return None
        motions = motions_of(predictor.program.estimates, predictor.model)
        return Smoother(kind, motions, clock, self.options.focal_px)

    def _drawer(self) -> Drawer:
        subject, program, model = self.subject, self.predictor.program, self.predictor.model
        facts = facts_of_run(program, self.options, self.detector.name)
        return Drawer(
            self.options, program.estimates.faces(model), facts, program.estimates.grid(model), subject
        )

    def skip(self, source: Source, problems: Iterable[str], kept: Note | None = None) -> None:
        """See `Progress`."""
        self.complain(source, problems)
        if kept is not None:
            self.report.count(kept=1, shown=int(kept.found > 0))
        self.bar.update()
        self.sink.skip(source)

    def outline(self, job: Job, index: int) -> NDArray[np.float64]:
        """See `Progress`."""
        camera = ImageCamera.of_image(*job.size_px, self.options.focal_px)
        output, box, crop = job.predictions[index].output, job.detection.boxes[index], job.crops[index]
        return camera.project(self.subject.record(output, box, crop, camera).vertices_camera_m)

    def complain(self, source: Source, problems: Iterable[str]) -> None:
        """See `Progress`."""
        said = [one if source.name in one else f"{source.name}: {one}" for one in problems]
        if said and self.report.fail(source.name, said, self.source.problems_listed):
            for message in said:
                _log.error("%s", message)

    def _save(self, job: Job, drawn: Drawn) -> None:
        """Pass an image's files to the sink; called by the finisher's threads, one at a time."""
        self.report.add("draw", drawn.seconds)
        release = partial(self.feeder.is_through, job)
        if drawn.error is not None and not isinstance(drawn.error, InputError):
            raise drawn.error
        if drawn.error is not None or drawn.failure:
            release()
            self.skip(job.source, (str(drawn.error) if drawn.error else drawn.failure,))
            return
        try:
            with self.report.timed("save"):
                self.sink.save(job, drawn.files, release)
        except ResultError as error:
            self.skip(job.source, (str(error),))
        else:
            self._count(job)

    def _count(self, job: Job) -> None:
        """Count an image as done."""
        is_shown = bool(job.crops) or self.sink.shows_empty
        self.report.count(images=1, found=len(job.crops), shown=int(is_shown))
        self.report.count_masks(count_sources(job.masks))
        self.bar.set_postfix_str(f"{self.report.found} {self.subject.many}", refresh=False)
        self.bar.update()
        self.report.sample_memory(self.bar.n / max(self.source.expected or 1, self.bar.n), self.finisher.pids)
