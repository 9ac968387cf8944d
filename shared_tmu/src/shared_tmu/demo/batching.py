"""Crops of hands or people waiting for the model, from several images at a time.

Batches hold the crops of all images in order, `batch_size` at a time. The crops of images that an earlier run
has finished keep their places as gaps. So a crop is always in the same batch, and a resumed run gives exactly
the same numbers as a run that was never stopped. Images of different portions (`ImageSource.portions`) are
never in one batch, so that several machines give exactly the same numbers as one. If the images whose crops
are waiting are large, a batch is run before it is full (finished images count for this too).

Frames of a video stay in order: a frame in which nothing was found waits for the crops of earlier frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo.predict import Prediction
from shared_tmu.detect import Detection
from shared_tmu.masks import Mask, MaskScene
from shared_tmu.pictures.listing import Source

MAX_WAITING_PIXELS = 80_000_000
"""Limit in pixels for the images whose crops wait for a full batch, and for all images in process together:
240 MB as 8-bit colour.
"""

LARGE_PIXELS = 40_000_000
"""Images with more pixels are processed alone, because decoding or drawing one needs a lot of memory."""


MAX_WAITING_EMPTY = 64
"""Largest number of frames in which nothing was found that wait for the crops before them."""


@dataclass
class CropMask:
    """The mask of one crop.

    Attributes:
        mask: `[h, w]` bool; None if it is unknown, or read in the model.
        source: name of its source, `none` if there is no mask.
        waits: box and scene, if the mask depends on the previous frame: it can be drawn when that frame has
            been predicted.
    """

    mask: Mask | None
    source: str
    waits: tuple[Any, MaskScene] | None = None


@dataclass
class Job:
    """One image in process.

    Attributes:
        source: where the image comes from.
        digest: SHA-256 of the file.
        size_px: its width and height.
        image: its pixels `[H, W, 3]`, BGR; None if nothing will be drawn over them.
        detection: what was found in it.
        crops: one per hand or person, as the subject cuts them.
        masks: masks of the crops; None if no mask was asked for.
        predictions: filled as batches are run, in the order of the crops.
        unsmoothed: the same before they were smoothed along tracks; empty if they were not.
    """

    source: Source
    digest: str
    size_px: tuple[int, int]
    image: NDArray[np.uint8] | None
    detection: Detection[Any]
    crops: list[Any]
    masks: list[CropMask | None] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    unsmoothed: list[Prediction] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether every crop has been predicted."""
        return len(self.predictions) == len(self.crops)


@dataclass(frozen=True)
class _Place:
    """A place in a batch, or a gap without a job if the crop was done before. The image's `pixels` count at
    its last crop, since it is in memory until then. A job without a crop takes no place and only waits.
    """

    job: Job | None
    crop: Any
    pixels: int
    mask: CropMask | None = None

    @property
    def is_empty(self) -> bool:
        return self.job is not None and self.crop is None


@dataclass(frozen=True)
class Batch:
    """Crops that the model processes together; gaps stand for crops that an earlier run has finished.

    Attributes:
        images: crops `[3, h, w]`, None in gaps.
        jobs: the image of each crop; None in gaps.
        masks: mask of each crop, see `Job`; None in gaps.
    """

    images: tuple[NDArray[np.float32] | None, ...]
    jobs: tuple[Job | None, ...]
    masks: tuple[CropMask | None, ...]

    def completed(self, predictions: Sequence[Prediction]) -> Iterator[Job]:
        """Hand the predictions, one per place, to their images; returns the images that are now complete."""
        for job, prediction in zip(self.jobs, predictions, strict=True):
            if job is not None:
                job.predictions.append(prediction)
                if job.is_complete:
                    yield job


class Batcher:
    """Collects crops and returns batches as soon as they are due.

    Args:
        batch_size: crops per batch.
        keep_crops: also keep the crops' pixels in the images' jobs, so that they can be drawn.
        large_alone: no batch holds crops of a large image and of others.
    """

    def __init__(self, batch_size: int, keep_crops: bool = False, large_alone: bool = True) -> None:
        self.batch_size = batch_size
        self.keep_crops, self.large_alone = keep_crops, large_alone
        self._waiting: deque[_Place] = deque()
        self._empty = 0  # of those

    def add(self, job: Job) -> Iterator[Batch | Job]:
        """Add an image that has crops; returns the batches that are due."""
        pixels = job.size_px[0] * job.size_px[1]
        masks = job.masks or [None] * len(job.crops)
        last = len(job.crops) - 1
        places = [
            _Place(job, crop, pixels if index == last else 0, mask)
            for index, (crop, mask) in enumerate(zip(job.crops, masks, strict=True))
        ]
        if not self.keep_crops:
            nothing = np.zeros((3, 0, 0), np.float32)
            job.crops = [replace(crop, img=nothing) for crop in job.crops]
        yield from self._put(places, pixels)

    def add_finished(self, count: int, pixels: int) -> Iterator[Batch | Job]:
        """Add an image that was done before, as `count` gaps."""
        last = count - 1
        places = [_Place(None, None, pixels if index == last else 0) for index in range(count)]
        yield from self._put(places, pixels)

    def add_empty(self, job: Job) -> Iterator[Batch | Job]:
        """Add an image without crops that keeps its place in the order: it is returned after all images
        before it.
        """
        self._waiting.append(_Place(job, None, job.size_px[0] * job.size_px[1]))
        self._empty += 1
        yield from self._what_is_due()

    def finish(self) -> Iterator[Batch | Job]:
        """The batches that are left."""
        if self._waiting:
            yield from self._take(self._crops)

    def _put(self, places: Sequence[_Place], pixels: int) -> Iterator[Batch | Job]:
        """Add the places of an image of so many pixels; returns the batches that are due."""
        is_alone = self.large_alone and pixels > LARGE_PIXELS
        if is_alone:
            yield from self.finish()
        self._waiting.extend(places)
        yield from self._what_is_due()
        if is_alone:
            yield from self.finish()

    @property
    def _crops(self) -> int:
        return len(self._waiting) - self._empty

    def _what_is_due(self) -> Iterator[Batch | Job]:
        while self._crops >= self.batch_size:
            yield from self._take(self.batch_size)
        pixels = sum(place.pixels for place in self._waiting)
        if not self._crops or pixels > MAX_WAITING_PIXELS or self._empty > MAX_WAITING_EMPTY:
            yield from self._take(self._crops)

    def _take(self, count: int) -> Iterator[Batch | Job]:
        """A batch of `count` crops, with the images without crops that follow it."""
        places: list[_Place] = []
        empty: list[_Place] = []
        while self._waiting and (len(places) < count or self._waiting[0].is_empty):
            place = self._waiting.popleft()
            (empty if place.is_empty else places).append(place)
        self._empty -= len(empty)
        if any(place.job is not None for place in places):
            images = tuple(place.crop.img if place.crop else None for place in places)
            jobs, masks = tuple(place.job for place in places), tuple(place.mask for place in places)
            yield Batch(images, jobs, masks)
        yield from (place.job for place in empty if place.job is not None)
