"""Crops of hands or people waiting for the model, from several images at a time.

Batches hold the crops of all images in order, `batch_size` at a time, whatever was finished before: the crops
of images that an earlier run has done keep their places as gaps. So a crop always meets the same batch, and a
resumed run gives the same numbers to the last bit as one that was never stopped. When the images whose crops
wait are large, a batch is run before it is full (again counting those done before).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo.predict import Prediction
from shared_tmu.demo.sources import Source
from shared_tmu.detect import Detection

MAX_WAITING_PIXELS = 120_000_000
"""Pixels of the images whose crops wait for a full batch, and of all images on their way beyond which no
other is let in: 360 MB as 8-bit colour.
"""


@dataclass
class Job:
    """One image on its way.

    Attributes:
        source: which image.
        digest: SHA-256 of the file.
        size_px: its width and height.
        image: its pixels `[H, W, 3]`, BGR; None where nothing will be drawn over them.
        detection: what was found in it.
        crops: one per hand or person, as the subject cuts them.
        predictions: filled as batches are run, in the order of the crops.
    """

    source: Source
    digest: str
    size_px: tuple[int, int]
    image: NDArray[np.uint8] | None
    detection: Detection[Any]
    crops: list[Any]
    predictions: list[Prediction] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether every crop has been predicted."""
        return len(self.predictions) == len(self.crops)


@dataclass(frozen=True)
class _Place:
    """A place in a batch, empty if the crop was done before; the image's `pixels` count at its last crop,
    since it is in memory until then.
    """

    job: Job | None
    crop: Any
    pixels: int


@dataclass(frozen=True)
class Batch:
    """Crops that meet the model together; gaps stand for those that were done before.

    Attributes:
        images: crops `[3, h, w]`, None in gaps.
        jobs: whose crop it is, None in gaps.
    """

    images: tuple[NDArray[np.float32] | None, ...]
    jobs: tuple[Job | None, ...]

    def completed(self, predictions: Sequence[Prediction]) -> Iterator[Job]:
        """Give the predictions, one per place, to their images; the images that are complete by now."""
        for job, prediction in zip(self.jobs, predictions, strict=True):
            if job is not None:
                job.predictions.append(prediction)
                if job.is_complete:
                    yield job


class Batcher:
    """Collects crops and hands out batches as soon as they are due.

    Args:
        batch_size: crops per batch.
        keep_crops: leave the crops' pixels in the images' jobs too, for pictures of them.
    """

    def __init__(self, batch_size: int, keep_crops: bool = False) -> None:
        self.batch_size = batch_size
        self.keep_crops = keep_crops
        self._waiting: deque[_Place] = deque()

    def add(self, job: Job) -> Iterator[Batch]:
        """Take in an image that has crops; give back the batches that are due."""
        pixels = job.size_px[0] * job.size_px[1]
        for index, crop in enumerate(job.crops):
            is_last = index == len(job.crops) - 1
            self._waiting.append(_Place(job, crop, pixels if is_last else 0))
        if not self.keep_crops:
            nothing = np.zeros((3, 0, 0), np.float32)
            job.crops = [replace(crop, img=nothing) for crop in job.crops]
        yield from self._what_is_due()

    def add_finished(self, count: int, pixels: int) -> Iterator[Batch]:
        """Take in an image that was done before, as `count` gaps."""
        last = count - 1
        self._waiting.extend(_Place(None, None, pixels if index == last else 0) for index in range(count))
        yield from self._what_is_due()

    def finish(self) -> Iterator[Batch]:
        """What is left."""
        if self._waiting:
            yield from self._take(len(self._waiting))

    def _what_is_due(self) -> Iterator[Batch]:
        while len(self._waiting) >= self.batch_size:
            yield from self._take(self.batch_size)
        if sum(place.pixels for place in self._waiting) > MAX_WAITING_PIXELS:
            yield from self._take(len(self._waiting))

    def _take(self, count: int) -> Iterator[Batch]:
        places = [self._waiting.popleft() for _ in range(count)]
        if any(place.job is not None for place in places):
            images = tuple(place.crop.img if place.crop else None for place in places)
            yield Batch(images, tuple(place.job for place in places))
