"""A worker of a cluster: processes portions of the images through the same stages as a run on one machine."""

from __future__ import annotations

import logging
import pickle
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import torch
from torch import nn

from shared_tmu.demo.batching import Job
from shared_tmu.demo.digest import options_digest
from shared_tmu.demo.drawing import Finisher, choose_processes
from shared_tmu.demo.masking import count_sources
from shared_tmu.demo.notes import Note
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.predict import Predictor
from shared_tmu.demo.progress import no_progress
from shared_tmu.demo.saving import Drawer
from shared_tmu.demo.searching import load_for
from shared_tmu.demo.sources import PORTION_BATCHES, PictureSource
from shared_tmu.demo.stages import Stages
from shared_tmu.demo.subjects import demo_subject
from shared_tmu.demo.timeline import Timeline
from shared_tmu.detect import Detector
from shared_tmu.errors import InputError, TMUError
from shared_tmu.pictures.listing import Source
from shared_tmu.programs.identity import code_sha256, digest_of
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.results import describe_environment, device_name

T = TypeVar("T")


@dataclass(frozen=True)
class Assignment:
    """What every worker is told once.

    Attributes:
        program: description of the model.
        options: options of the command line, with absolute paths.
        threads: threads of the model; with another number it would round differently.
        identity: see `identity_of`; as the machine found it that started the run.
    """

    program: ModelProgram
    options: DemoOptions
    threads: int
    identity: str


@dataclass(frozen=True)
class Portion:
    """Images that share batches of crops.

    Attributes:
        sources: the images, in order.
        kept: by key, the notes of those that an earlier run has finished, without their problems.
    """

    sources: Sequence[Source]
    kept: Mapping[str, Note]


@dataclass(frozen=True)
class FinishedImage:
    """The results of one image, see `OutputFolder.commit`; `masks` counts its hands or people by mask."""

    source: Source
    digest: str
    files: Mapping[str, bytes]
    found: int
    pixels: int
    problems: Sequence[str]
    masks: Counter[str]


@dataclass(frozen=True)
class FinishedPortion:
    """The end of a portion, after its images.

    Attributes:
        first: key of its first image.
        seconds: time by stage, see `Report`.
        failures: images and their problems.
        messages: level and text of what would have been shown.
        processor: product name of the device that has computed.
    """

    first: str
    seconds: Mapping[str, float]
    failures: Sequence[tuple[str, str]]
    messages: Sequence[tuple[int, str]]
    processor: str


Outcome = FinishedImage | FinishedPortion | TMUError


class PortionWorker:
    """Loads the model once, then processes one portion after another. Errors are returned, not raised: Ray
    would repeat the work.

    Args:
        task: what is to be done.
    """

    def __init__(self, task: Assignment) -> None:
        self._options = task.options
        self._refused: TMUError | None = None
        torch.set_num_threads(task.threads)
        try:
            self._load(task)
        except TMUError as error:
            self._refused = error

    def __call__(self, row: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
        """The outcomes of a pickled portion, each pickled, in an order that does not depend on timing."""
        for outcome in self._outcomes(pickle.loads(row["portion"])):
            yield {"outcome": pickle.dumps(outcome, protocol=5)}

    def _load(self, task: Assignment) -> None:
        program, options, host = task.program, task.options, socket.gethostname()
        if not options.img_folder.exists():
            raise InputError(
                f"--img_folder {options.img_folder} does not exist on {host}: all machines of the cluster "
                "must see the same files."
            )
        subject = demo_subject(program.estimates)
        self._detector = subject.make_detector(subject.detector_name(options), options, str(options.device))
        model, _ = load_for(program, options)
        if identity_of(program, options, self._detector, model) != task.identity:
            raise InputError(
                f"{host} has other weights, files of the detector, code or versions of packages than the "
                "machine that started the run, and would give other results: make them the same."
            )
        self._predictor = Predictor(
            *(program, model, options.run, options.device, options.dtype, options.tokens, options.packed)
        )
        images = PORTION_BATCHES * options.batch_size
        self._finisher = Finisher(choose_processes(options.draw_processes, images, options.draws))

    def _outcomes(self, portion: Portion) -> Iterator[Outcome]:
        if self._refused is not None:
            yield self._refused
            return
        try:
            yield from self._process(portion)
        except TMUError as error:
            yield error

    def _process(self, portion: Portion) -> Iterator[Outcome]:
        options, before = self._options, self._predictor.seconds
        source, sink = PictureSource(portion.sources), CollectingSink(portion.kept)
        stages = Stages(options, self._predictor, self._detector, source, sink, self._finisher, Timeline())
        with _caught_messages() as messages:
            stages.run(no_progress())
        yield from sorted(sink.finished, key=lambda image: source.place(image.source.name))
        report = stages.report
        report.seconds["model"] = self._predictor.seconds - before
        failures = sorted(report.failures, key=lambda failure: source.place(failure[0]))
        processor = device_name(options.device)
        yield FinishedPortion(portion.sources[0].key, report.seconds, failures, messages, processor)


class CollectingSink:
    """Keeps the files of images; see `ImageSink`."""

    shows_empty = False

    def __init__(self, notes: Mapping[str, Note]) -> None:
        self._notes = notes
        self.finished: list[FinishedImage] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def all_kept(self) -> Note | None:
        """See `ImageSink`, also for the other methods."""
        return None

    def drawer(self, plain: Drawer) -> Drawer:
        return plain

    def kept(self, source: Source, digest: str) -> Note | None:
        note = self._notes.get(source.key)
        return note if note is not None and note.digest == digest else None

    def save(self, job: Job, drawn: Mapping[str, bytes], release: Callable[[], None]) -> None:
        release()
        pixels, masks = job.size_px[0] * job.size_px[1], count_sources(job.masks)
        problems = job.detection.problems
        self.finished.append(
            FinishedImage(job.source, job.digest, drawn, len(job.crops), pixels, problems, masks)
        )

    def skip(self, source: Source) -> None:
        pass

    def close(self, found: int, failures: Sequence[str]) -> None:
        pass

    def closing_rows(self) -> list[tuple[str, str]]:
        return []


def identity_of(program: ModelProgram, options: DemoOptions, detector: Detector, model: nn.Module) -> str:
    """A digest of all that must be the same on two machines that share a run."""
    versions = describe_environment(options.device, program.folder)["versions"]
    code = code_sha256(program.folder, beside=())
    return digest_of({"options": options_digest(options, detector, model), "code": code, **versions})


def with_absolute_paths(options: T) -> T:
    """The same settings with absolute paths: a worker has another current folder."""
    if isinstance(options, Path):
        return options.absolute()
    if is_dataclass(options) and not isinstance(options, type):
        found = {item.name: getattr(options, item.name) for item in fields(options) if item.init}
        paths = {name: with_absolute_paths(value) for name, value in found.items()}
        return replace(options, **{name: value for name, value in paths.items() if value is not found[name]})
    return options


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append((record.levelno, record.getMessage()))


@contextmanager
def _caught_messages() -> Iterator[list[tuple[int, str]]]:
    """Inside, what this package logs goes into the list that this yields, and is not shown."""
    handler, logger = _Messages(), logging.getLogger("shared_tmu")
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield handler.found
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates
