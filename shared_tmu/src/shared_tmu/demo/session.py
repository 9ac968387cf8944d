"""The demo: read, find hands or people, crop, predict in batches, draw, save.

Two threads read, detect and crop ahead of the model (`prefetch`); the main thread runs only the model; after
the model, threads and processes draw and save (`drawing`). All queues between them are bounded, so memory
does not grow with the number of images. Results do not depend on timing.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from shared_tmu.demo.batching import Job
from shared_tmu.demo.compare import Comparer
from shared_tmu.demo.digest import facts_of
from shared_tmu.demo.draw_worker import Drawn
from shared_tmu.demo.drawing import Finisher
from shared_tmu.demo.ledger import OutputFolder, ResultError
from shared_tmu.demo.masking import PreviousFrame, count_sources
from shared_tmu.demo.notes import Note
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.predict import Predictor
from shared_tmu.demo.prefetch import Feeder
from shared_tmu.demo.progress import progress
from shared_tmu.demo.report import Report
from shared_tmu.demo.saving import Drawer
from shared_tmu.demo.sinks import ImageSink
from shared_tmu.demo.sources import ImageSource
from shared_tmu.demo.subjects import DemoSubject
from shared_tmu.demo.summary import last_line, list_of, pictures_of
from shared_tmu.demo.timeline import Timeline
from shared_tmu.detect import Detector
from shared_tmu.errors import InputError
from shared_tmu.methods import count_tokens
from shared_tmu.pictures.listing import Source
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.results import append_record, describe_environment
from shared_tmu.programs.rows import format_rows

_log = logging.getLogger(__name__)


class Session:
    """Everything that a run needs, and its totals.

    Args:
        program: description of the model.
        options: options of the command line.
        model: the model, patched by the predictor.
        detector: finds hands or people.
        source: gives the images.
        sink: takes the results.
        folder: output folder of the results.
        finisher: draws images.
        timeline: times of the whole run.
    """

    def __init__(
        self,
        program: ModelProgram,
        options: DemoOptions,
        model: nn.Module,
        detector: Detector,
        source: ImageSource,
        sink: ImageSink,
        folder: OutputFolder,
        finisher: Finisher,
        timeline: Timeline,
    ) -> None:
        self.program, self.options, self.detector = program, options, detector
        self.source, self.sink, self.folder, self.finisher = source, sink, folder, finisher
        self.predictor = Predictor(
            program, model, options.run, options.device, options.dtype, options.tokens, options.packed
        )
        self.machine = threading.Lock()
        self.timeline = timeline
        self.comparer = Comparer(self.predictor, self.machine, timeline) if options.compare else None
        self.subject: DemoSubject = self.predictor.subject
        self.previous = self._previous_frame()
        self.report = Report(self.subject.many, source.unit)

    def process(self) -> int:
        """Process all images, print the closing table, return the exit status."""
        self.predictor.warm_up(self.options.batch_size)
        started = time.perf_counter()
        with self.timeline.part("ending"):
            with (
                progress(self.source.expected, self.report.unit) as self.bar,
                self._feeder() as self.feeder,
                self.finisher.running(self.sink.drawer(self._drawer()), self._save),
            ):
                try:
                    self._predict_all()
                finally:
                    self.predictor.release()
                with self.timeline.part("waiting_for_files"):
                    self.finisher.drain()
            self._account(time.perf_counter() - started)
            return self._close()

    def _account(self, working_s: float) -> None:
        """Combine the measurements of the timeline and of the predictor."""
        report, predictor, spent = self.report, self.predictor, self.timeline.seconds
        self.timeline.move(predictor.seconds, "handing", "model")
        self.timeline.move(predictor.converting_s, "comparing" if self.comparer else "handing", "converting")
        report.seconds["model"] = predictor.seconds
        report.converting_s = predictor.converting_s
        report.wall_s = working_s - predictor.converting_s
        report.waited_for_crops_s = spent["waiting_for_crops"]
        report.waited_for_files_s = spent["waiting_for_files"]

    def failures(self) -> list[str]:
        """All problems, in the order of the images."""
        return self.report.failures_in_order(self.source.place) + self.source.problems()

    def _predict_all(self) -> None:
        """Run the model on all batches, in this thread, and pass the images on to be drawn and saved."""
        predict = (self.comparer or self.predictor).predict
        ready = iter(self.feeder)
        while True:
            with self.timeline.part("waiting_for_crops"):
                item = next(ready, None)
            if item is None:
                return
            if isinstance(item, Job):
                jobs = [item]
            else:
                with self.timeline.part("comparing" if self.comparer else "handing"):
                    if self.previous is not None:
                        self.previous.complete(item)
                    masks = [None if mask is None else mask.mask for mask in item.masks]
                    jobs = list(item.completed(predict(item.images, masks)))
            if self.previous is not None:
                self.previous.remember(jobs)
            with self.timeline.part("waiting_for_files"):
                for job in jobs:
                    self.finisher.put(job)

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
        faces = self.program.estimates.faces(self.predictor.model)
        return PreviousFrame(self.subject, faces, self.options.focal_px)

    def _drawer(self) -> Drawer:
        subject, estimates, model = self.subject, self.program.estimates, self.predictor.model
        facts = {"format": "tmu-demo-1", "model": self.program.name}
        facts |= facts_of(self.options, self.detector.name)
        return Drawer(self.options, estimates.faces(model), facts, estimates.grid(model), subject)

    def skip(self, source: Source, problems: Iterable[str], kept: Note | None = None) -> None:
        """See `Progress`."""
        self.complain(source, problems)
        if kept is not None:
            self.report.count(kept=1, shown=int(kept.found > 0))
        self.bar.update()
        self.sink.skip(source)

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

    def _close(self) -> int:
        """Close the sink; the closing table and lines; the exit status."""
        report, predictor, failures = self.report, self.predictor, self.failures()
        self.sink.close(report.found, failures)
        vit = self.program.estimates.vit(predictor.model)
        tasks = getattr(vit, "num_prefix_tokens", 0)
        depth, count = len(vit.blocks), math.prod(self.program.estimates.grid(predictor.model)) + tasks
        run, kept = self.options.run, None
        if not run.schedule.reads_thresholds:  # otherwise the number differs between images
            tokens = count_tokens(run.method, run.schedule, depth, count, tasks)
            kept = tokens[0], tokens[-1]
        rows = report.rows(predictor.crops, kept)
        if run.masks:
            rows.append(("mask", self.report.say_masks(run.masks)))
        rows.append(("number format", f"{self.options.dtype_name} ({self.options.dtype_reason})"))
        if predictor.dtype_error is not None:
            rows.append(("vertices off float32", str(predictor.dtype_error)))
        lines = [format_rows(rows), "", format_rows(self.timeline.rows(self.subject.many))]
        if self.comparer is not None and self.comparer.timings:
            lines += ["", format_rows(self.comparer.table())]
        lines += list_of(failures)
        made = report.shown if pictures_of(self.options) else report.images + report.kept
        lines += ["", last_line(self.options, f"{made} of {self.source.total} {report.unit}", self.folder)]
        sys.stdout.write("\n".join(lines) + "\n")
        if self.options.report is not None:
            self._write_report(self.options.report)
        return 1 if failures else 0

    def _write_report(self, path: Path) -> None:
        what = facts_of(self.options, self.detector.name)
        how: dict[str, Any] = {
            "kind": "demo",
            "model": self.program.name,
            **what,
            "device": str(self.options.device),
            "batch_size": self.options.batch_size,
            "overlays": self.options.overlays,
            "draw_processes": len(self.finisher.pids),
        }
        error_mm = self.predictor.dtype_error
        how["dtype_error"] = None if error_mm is None else asdict(error_mm)
        environment = describe_environment(self.options.device, self.program.folder)
        try:
            append_record(path, {**how, **self.report.record(), **environment})
        except OSError as error:
            raise InputError(
                f"--report {path} cannot be written to ({error.strerror or error}); the images are done."
            ) from error
