"""From pictures to results, in order: crops of several pictures share batches, as in the demo."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from shared_tmu.api.crops import kept_crops
from shared_tmu.api.engine import Engine
from shared_tmu.api.inputs import Request
from shared_tmu.api.results import Item, Person, PictureResult
from shared_tmu.demo.batching import Batch, Batcher, Job
from shared_tmu.demo.digest import facts_of_run
from shared_tmu.demo.estimated import Estimated, facts_of_image
from shared_tmu.demo.holding import PlanHolder
from shared_tmu.demo.sources import PORTION_BATCHES
from shared_tmu.demo.tracks.tracker import Tracker, on_track
from shared_tmu.detect import Detection
from shared_tmu.errors import InputError
from shared_tmu.pictures.listing import Source
from shared_tmu.programs.model_program import Run
from shared_tmu.programs.tables import ImageCamera

T = TypeVar("T", bound=Item)

_RATE = 30.0
"""Frames per second that are assumed, where a call tells none: tracks expect motion to go on."""


@dataclass(frozen=True)
class Call:
    """What one call of `predict` asks for.

    Attributes:
        run: how tokens merge.
        bgr: the order of channels in arrays.
        focal_px: focal length of the pictures; see `DemoOptions`.
        strict: whether the first problem with a picture or a given box is raised.
        are_frames: whether the pictures come from an iterator; they are then batched like a video's frames.
        hold: whether frames use the merge plans of earlier ones again, as in `demo.py --video --hold`.
    """

    run: Run
    bgr: bool
    focal_px: float | None
    strict: bool
    are_frames: bool
    hold: bool = False


@dataclass(frozen=True)
class _Due:
    """A picture whose result is due: in process, or not usable because of an error.

    Without a name, the error ends the call: no more pictures come.
    """

    name: str
    job: Job | None = None
    detector: str = ""
    error: Exception | None = None

    @property
    def is_ready(self) -> bool:
        return self.job is None or self.job.is_complete


class Stream(Generic[T]):
    """One call of `predict`.

    Args:
        engine: the model.
        kind: what it finds.
        call: what is asked for.
    """

    def __init__(self, engine: Engine, kind: type[T], call: Call) -> None:
        self.engine, self.kind, self.call = engine, kind, call
        options = engine.options
        self._batcher = Batcher(options.batch_size, options.tokens, large_alone=not call.are_frames)
        self._cutter = engine.cutter(call.run)
        self._holder = PlanHolder() if call.hold and not call.run.schedule.is_off else None
        self._tracker = None if self._holder is None else Tracker(decides_sides=False)
        self._frame = 0
        self._waiting: deque[_Due] = deque()

    def results(self, requests: Iterable[Request]) -> Iterator[PictureResult[T]]:
        """Results as they become ready, in order.

        Raises:
            InputError: a picture cannot be used, and the call is strict.
            Exception: what the caller's iterators raise. The results before an error come first.
        """
        portion = PORTION_BATCHES * self.engine.options.batch_size  # as in the demo's PictureSource
        for count, place in enumerate(self._places(requests), 1):
            self._waiting.append(place)
            if place.job is not None:
                self._compute(self._added(place.job))
            if not self.call.are_frames and count % portion == 0:
                self._compute(self._batcher.finish())
            yield from self._ready()
        self._compute(self._batcher.finish())
        yield from self._ready()

    def _places(self, requests: Iterable[Request]) -> Iterator[_Due]:
        """Pictures in process; the last one is an error if there was one that ends the call."""
        try:
            for request in requests:
                try:
                    yield self._open(request)
                except InputError as error:
                    text = str(error)
                    named = error if request.name in text else InputError(f"{request.name}: {text}")
                    yield _Due(request.name, error=named)
                    if self.call.strict:
                        return
        except Exception as error:  # boxes not as many as pictures, or of an iterator: a camera that fails
            yield _Due("", error=error)

    def _open(self, request: Request) -> _Due:
        """Read a picture, find hands or people in it, and crop them."""
        picture = request.open(bgr=self.call.bgr)
        if request.boxes is None:
            request.require_no_sides()
            found, detector = self.engine.detect(picture.bgr, request.name)
        else:
            found = request.given(picture.size_px, of_people=self.kind is Person)
            detector = "boxes"
        found = self._tracked(found)
        source = Source(Path(request.name), request.name, str(self._frame))
        self._frame += 1
        job = self._cutter.cut(source, "", picture, found)
        # the caller can mend boxes that were given, not those that the detector finds
        if self.call.strict and request.boxes is not None and job.detection.problems:
            raise InputError("; ".join(job.detection.problems))
        return _Due(request.name, job, detector)

    def _tracked(self, found: Detection[Any]) -> Detection[Any]:
        """The hands or people of a frame with their tracks, by which plans are held."""
        if self._tracker is None:
            return found
        tracks = self._tracker.step(found.boxes, self._frame, self._frame / _RATE)
        boxes = (on_track(box, track) for box, track in zip(found.boxes, tracks, strict=True))
        return replace(found, boxes=tuple(boxes))

    def _added(self, job: Job) -> Iterator[Batch | Job]:
        """Add a picture to the batches as the demo does; returns those that are due."""
        if job.crops:
            return self._batcher.add(job)
        if self.call.are_frames:
            return self._batcher.add_empty(job)
        return self._batcher.add_finished(0, math.prod(job.size_px))

    def _compute(self, due: Iterable[Batch | Job]) -> None:
        for batch in due:
            if isinstance(batch, Batch):
                held = None if self._holder is None else self._holder.of(batch)
                self.engine.predict(batch, self.call.run, held)

    def _ready(self) -> Iterator[PictureResult[T]]:
        while self._waiting and self._waiting[0].is_ready:
            yield self._result(self._waiting.popleft())

    def _result(self, place: _Due) -> PictureResult[T]:
        options = replace(self.engine.options, run=self.call.run)
        facts = facts_of_run(self.engine.program, options, place.detector)
        subject, faces, job = self.engine.subject, self.engine.faces, place.job
        error: Exception | None = place.error
        if job is not None:
            try:
                estimated = Estimated.of(job, subject, faces, self.call.focal_px)
                told = facts_of_image(job, facts)
                kept = kept_crops(job, subject, self.engine.grid) if self.engine.options.tokens else ()
                return PictureResult(estimated, self.kind, told, job.detection.problems, kept)
            except InputError as problem:
                error = problem
        assert error is not None
        if self.call.strict or not place.name:
            raise error
        nothing = Estimated(subject, ImageCamera(0, 0, 0.0), faces, ())
        told = {"image": place.name, **facts, "masks": []}
        return PictureResult(nothing, self.kind, told, [str(error)])
