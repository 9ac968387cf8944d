"""A run on the machines of a Ray cluster: workers process portions of the images, this process writes.

Only this process uses the output folder, so the rules of `ledger` hold: a worker that is killed leaves
nothing there, its portion is processed again, and an image that arrives again is dropped.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import nn

from shared_tmu.demo.ledger import OutputFolder, ResultError
from shared_tmu.demo.notes import Note
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.origins import PICTURE, origin_of
from shared_tmu.demo.portion_worker import (
    Assignment,
    FinishedImage,
    FinishedPortion,
    Outcome,
    Portion,
    identity_of,
    with_absolute_paths,
)
from shared_tmu.demo.progress import progress
from shared_tmu.demo.ray_cluster import connected, count_workers
from shared_tmu.demo.report import Report
from shared_tmu.demo.sharing import outcomes
from shared_tmu.demo.sinks import FileSink
from shared_tmu.demo.sources import PictureSource
from shared_tmu.demo.subjects import demo_subject
from shared_tmu.demo.summary import closing_rows, last_line, list_of, pictures_of
from shared_tmu.detect import Detector
from shared_tmu.errors import InputError, TMUError
from shared_tmu.pictures.images import PictureFile
from shared_tmu.pictures.listing import Source
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.results import device_name
from shared_tmu.programs.rows import format_rows

RETRIES = 3
"""How often a portion is processed again after its worker or machine was lost: an image that kills every
worker must not stop the rest.
"""

_log = logging.getLogger(__name__)


class Distribution:
    """Everything that such a run needs, and its totals.

    Args:
        program: description of the model.
        options: options of the command line.
        model: the model; only described here.
        detector: finds hands or people; only described here.
        source: gives the images.
        sink: knows which images are finished.
        folder: output folder of the results.
    """

    def __init__(
        self,
        program: ModelProgram,
        options: DemoOptions,
        model: nn.Module,
        detector: Detector,
        source: PictureSource,
        sink: FileSink,
        folder: OutputFolder,
    ) -> None:
        self.program, self.options, self.model, self.detector = program, options, model, detector
        self.source, self.sink, self.folder = source, sink, folder
        self.report = Report(demo_subject(program.estimates).many, source.unit)
        self._taken: set[str] = set()  # images and portions that have arrived
        self._accounted: set[str] = set()  # images that are finished or listed
        self._workers = 0
        self._processors = {device_name(options.device)}

    def process(self) -> int:
        """Process all images, print the closing table, return the exit status."""
        started = time.perf_counter()
        with progress(self.source.expected, self.source.unit) as self.bar:
            portions = list(self._remaining())
            if portions:
                self._distribute(portions)
        self.report.wall_s = time.perf_counter() - started
        return self._close()

    def _distribute(self, portions: Sequence[Portion]) -> None:
        """Process portions on the cluster; images that no worker has returned are listed."""
        options = with_absolute_paths(self.options)
        options = replace(options, device=torch.device(options.device.type))  # each worker has its own
        identity = identity_of(self.program, options, self.detector, self.model)
        task = Assignment(self.program, options, torch.get_num_threads(), identity)
        for rounds_left in reversed(range(1 + RETRIES)):
            with connected(options.ray_address) as ray:  # anew: leaving ends workers that are half dead
                workers = min(count_workers(ray, options.device, task.threads), len(portions))
                self._workers = self._workers or workers
                for outcome in outcomes(ray, task, portions, workers):
                    self._take(outcome)
            portions = [portion for portion in portions if self._missing(portion)]
            if not portions:
                return
            if rounds_left:
                _log.warning("Workers were lost: %d portions are processed again.", len(portions))
        why = f"its worker died or failed each of {1 + RETRIES} times; Ray's logs say more"
        for source in (source for portion in portions for source in self._missing(portion)):
            self._skip(source, (why,))

    def _missing(self, portion: Portion) -> list[Source]:
        """Images of a portion that have not arrived; the last one also stands for the end of the portion."""
        is_ended = _end_of(portion.sources[0].key) in self._taken
        missing = [source for source in portion.sources if source.name not in self._accounted]
        return missing if missing or is_ended else [portion.sources[-1]]

    def _remaining(self) -> Iterator[Portion]:
        """The portions that have an image that no earlier run has finished; counts those that one has."""
        for sources in self.source.portions(self.options.batch_size):
            kept = {}
            for source in sources:
                if note := self._kept(source):
                    self._skip(source, note.problems)
                    self.report.count(kept=1, shown=int(note.found > 0))
                    kept[source.key] = replace(note, problems=())
            if len(kept) < len(sources):
                yield Portion([with_absolute_paths(source) for source in sources], kept)

    def _kept(self, source: Source) -> Note | None:
        if not self.options.resume or source.problem or self.folder.note(source.key) is None:
            return None
        try:
            with PictureFile.open(source.path, source.name) as file:
                return self.sink.kept(source, file.sha256())
        except InputError:  # the worker that reads it says why
            return None

    def _take(self, outcome: Outcome) -> None:
        """Write an image's files, or count what a portion has told; what arrives again is dropped."""
        if isinstance(outcome, TMUError):
            raise outcome
        name = outcome.source.name if isinstance(outcome, FinishedImage) else _end_of(outcome.first)
        if name in self._taken:
            return
        self._taken.add(name)
        if isinstance(outcome, FinishedImage):
            self._save(outcome)
        else:
            self._account(outcome)

    def _save(self, image: FinishedImage) -> None:
        try:
            with self.report.timed("save"):
                self.folder.commit(
                    *(image.source.key, image.digest, image.files, image.found, image.pixels),
                    *(image.problems, origin_of(PICTURE, image.source.path)),
                )
        except ResultError as error:
            self._skip(image.source, (str(error),))
            return
        is_empty = image.found == 0
        self.report.count(images=1, found=image.found, shown=int(not is_empty), empty=int(is_empty))
        self.report.count_masks(image.masks)
        self.bar.set_postfix_str(f"{self.report.found} {self.report.many}", refresh=False)
        self._pass(image.source.name)

    def _account(self, portion: FinishedPortion) -> None:
        for stage, seconds in portion.seconds.items():
            self.report.add(stage, seconds)
        for name, message in portion.failures:
            self.report.fail(name, [message])
            self._pass(name)
        for level, message in portion.messages:
            _log.log(level, "%s", message)
        if portion.processor not in self._processors:
            self._processors.add(portion.processor)
            _log.warning(
                "A worker computes on another processor (%s): its numbers may differ by rounding.",
                portion.processor,
            )

    def _skip(self, source: Source, problems: Sequence[str]) -> None:
        """An image needs no further work: an earlier run has finished it, or it could not be used."""
        said = [one if source.name in one else f"{source.name}: {one}" for one in problems]
        self.report.fail(source.name, said)
        for message in said:
            _log.error("%s", message)
        self._pass(source.name)

    def _pass(self, name: str) -> None:
        if name not in self._accounted:
            self._accounted.add(name)
            self.bar.update()

    def _close(self) -> int:
        report = self.report
        failures = report.failures_in_order(self.source.place)
        self.sink.close(report.found, failures)
        rows = closing_rows(self.program, self.model, self.options, report, 0)
        rows.append(("workers", str(self._workers or "none needed")))
        made = report.shown if pictures_of(self.options) else report.images + report.kept
        lines = [format_rows(rows), *list_of(failures), ""]
        lines.append(last_line(self.options, f"{made} of {self.source.total} {report.unit}", self.folder))
        sys.stdout.write("\n".join(lines) + "\n")
        return 1 if failures else 0


def _end_of(first: str) -> str:
    return f"portion {first}"
