"""Hands waiting for the model, from several images at a time.

Batches hold the hands of all images in order, `batch_size` at a time, whatever was finished before: the hands
of images that an earlier run has done keep their places as gaps. So a hand always meets the same batch, and a
resumed run gives the same numbers to the last bit as one that was never stopped. Only images whose hands wait
are kept in memory; when they are large, a batch is run before it is full (again counting those done before).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared_tmu.crops import HandCrop
from shared_tmu.demo.predict import Prediction
from shared_tmu.demo.sources import Loaded
from shared_tmu.detect import Detection

MAX_WAITING_PIXELS = 120_000_000
"""Pixels of the images whose hands wait for a full batch: 360 MB as 8-bit colour."""


@dataclass
class Job:
    """One image on its way.

    Attributes:
        loaded: the image.
        detection: its hands.
        crops: one per hand.
        predictions: filled as batches are run, in the order of the hands.
    """

    loaded: Loaded
    detection: Detection
    crops: list[HandCrop]
    predictions: list[Prediction] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether every hand has been predicted."""
        return len(self.predictions) == len(self.crops)


@dataclass(frozen=True)
class _Place:
    """A place in a batch, empty if the hand was done before; the image's `pixels` count at its first hand."""

    job: Job | None
    crop: HandCrop | None
    pixels: int


Predict = Callable[[Sequence[NDArray[np.float32] | None]], list[Prediction]]


class Batcher:
    """Collects hands and hands out images as soon as all their hands are predicted.

    Args:
        batch_size: hands per call of `predict`.
        predict: see `Predictor.predict`.
    """

    def __init__(self, batch_size: int, predict: Predict) -> None:
        self.batch_size = batch_size
        self.predict = predict
        self._waiting: deque[_Place] = deque()

    def add(self, job: Job, pixels: int) -> Iterator[Job]:
        """Take in an image of `pixels` pixels; give back the images that are complete by now."""
        if not job.crops:
            yield job
        for index, crop in enumerate(job.crops):
            self._waiting.append(_Place(job, crop, 0 if index else pixels))
        yield from self._run_what_is_due()

    def add_finished(self, hands: int, pixels: int) -> Iterator[Job]:
        """Take in an image that was done before, as `hands` gaps."""
        self._waiting.extend(_Place(None, None, 0 if index else pixels) for index in range(hands))
        yield from self._run_what_is_due()

    def finish(self) -> Iterator[Job]:
        """Run what is left; give back the images that were waiting for it."""
        if self._waiting:
            yield from self._run(len(self._waiting))

    def _run_what_is_due(self) -> Iterator[Job]:
        while len(self._waiting) >= self.batch_size:
            yield from self._run(self.batch_size)
        if sum(place.pixels for place in self._waiting) > MAX_WAITING_PIXELS:
            yield from self._run(len(self._waiting))

    def _run(self, count: int) -> Iterator[Job]:
        batch = [self._waiting.popleft() for _ in range(count)]
        if all(place.job is None for place in batch):
            return
        predictions = self.predict([place.crop.img if place.crop else None for place in batch])
        for place, prediction in zip(batch, predictions, strict=True):
            if place.job is not None:
                place.job.predictions.append(prediction)
                if place.job.is_complete:
                    yield place.job
