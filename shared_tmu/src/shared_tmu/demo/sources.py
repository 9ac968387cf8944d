"""Where images come from: a folder of pictures, a video."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

from shared_tmu.demo.channels import PixelBudget
from shared_tmu.demo.checks import (
    inside,
    require_apart,
    tell_of_other_pictures,
    warn_of_unused_boxes,
)
from shared_tmu.demo.clips import Clip, ClipReader
from shared_tmu.demo.ledger import OutputFolder
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.origins import PICTURE, VIDEO, Input, count_earlier, with_earlier_keys
from shared_tmu.demo.read_ahead import Loaded, read_ahead, run_ahead
from shared_tmu.detect import Detector
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.detect.segmenter import finder
from shared_tmu.errors import InputError
from shared_tmu.pictures.listing import Source, list_images

Clock = Callable[[int], float]

IsFinished = Callable[[Source, str], bool]
"""Tells whether an earlier run has finished an image, from its source and the digest of its bytes."""

PROBLEMS_LISTED = 20
"""Largest number of frames whose problems are listed; a thousand frames may have the same problem."""

PORTION_BATCHES = 4
"""Images in a portion, as a multiple of the batch size. An image has about one hand or person, so that only
the last of about four batches is not full.
"""

_log = logging.getLogger(__name__)


class ImageSource(Protocol):
    """Yields images in order, once.

    Attributes:
        unit: name of the images, plural.
        clock: if the images are frames, when each of them is shown, seconds from the first. Their results
            must be in order too, so that a frame in which nothing was found waits for the crops of those
            before it. None for pictures.
        pixels: of each image; 0 if they differ.
        is_live: whether images are lost that are not taken when they come.
        problems_listed: number of images whose problems are listed; None for all.
    """

    unit: str
    clock: Clock | None
    pixels: int
    is_live: bool
    problems_listed: int | None

    @property
    def expected(self) -> int | None:
        """Number of images, as far as it is known before any work; None if unknown."""

    @property
    def total(self) -> int:
        """Number of images that were read."""

    def settle(self, folder: OutputFolder) -> int:
        """Choose the names of the results, with regard to those that the output folder holds; returns how
        many images have results of an earlier run.

        Raises:
            InputError: those are of another model, or of other files.
        """

    def check_boxes(self, detector: Detector) -> None:
        """Warn if a boxes file is for other images.

        Raises:
            InputError: it does not tell which of several images it means.
        """

    def read(self, is_finished: IsFinished, budget: PixelBudget) -> Generator[Loaded, None, None]:
        """Images in order, read ahead in a thread; images that are known to be finished are not decoded.

        The budget counts the pixels of each decoded image; the code that drops the image must release them.
        """

    def portions(self, batch_size: int) -> list[Sequence[Source]]:
        """The images in consecutive portions that share no batch of crops, so that each portion may be
        processed by another machine; none if the images cannot be divided, or are not known before.
        """

    def place(self, name: str) -> int:
        """The place of an image in the order, by its name."""

    def problems(self) -> list[str]:
        """Problems of the source as a whole, after everything has been read."""


class FrameReader(Protocol):
    """Reads the frames of a clip, or of a camera; see `ClipReader`."""

    times_s: list[float]
    start_s: float

    @property
    def end_s(self) -> float: ...

    @property
    def fps(self) -> float: ...

    def done(self, index: int) -> None: ...

    def rows(self) -> list[tuple[str, str]]: ...

    def facts(self) -> dict[str, Any]: ...


class FrameClip(Protocol):
    """A clip or a camera; see `Clip`."""

    @property
    def size_px(self) -> tuple[int, int]: ...

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def digest(self) -> str: ...

    @property
    def origin(self) -> str: ...

    @property
    def sound_path(self) -> Path | None: ...


class FrameSource(ImageSource, Protocol):
    """Yields frames."""

    @property
    def clip(self) -> FrameClip: ...

    @property
    def reader(self) -> FrameReader: ...


class PictureSource:
    """Picture files.

    Args:
        sources: the files.
    """

    unit = "images"
    clock: Clock | None = None
    pixels = 0
    is_live = False
    problems_listed: int | None = None

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = sources
        self._places = {source.name: index for index, source in enumerate(sources)}

    @property
    def expected(self) -> int | None:
        """See `ImageSource`, also for all others."""
        return len(self.sources)

    @property
    def total(self) -> int:
        return len(self.sources)

    def settle(self, folder: OutputFolder) -> int:
        self.sources = with_earlier_keys(folder, self.sources)
        readable = [source for source in self.sources if not source.problem]
        return count_earlier(folder, [Input(one.key, PICTURE, one.path) for one in readable])

    def check_boxes(self, detector: Detector) -> None:
        warn_of_unused_boxes(detector, self.sources)

    def read(self, is_finished: IsFinished, budget: PixelBudget) -> Generator[Loaded, None, None]:
        return read_ahead(self.sources, is_finished, budget)

    def portions(self, batch_size: int) -> list[Sequence[Source]]:
        size = PORTION_BATCHES * batch_size
        return [self.sources[first : first + size] for first in range(0, len(self.sources), size)]

    def place(self, name: str) -> int:
        return self._places[name]

    def problems(self) -> list[str]:
        return []


class VideoSource:
    """The frames of a clip.

    Attributes:
        clip: the clip.
        reader: reads the frames and records their times.
    """

    unit = "frames"
    is_live = False
    problems_listed: int | None = PROBLEMS_LISTED

    def __init__(self, clip: Clip) -> None:
        self.clip, self.reader = clip, ClipReader(clip)
        self.clock: Clock | None = self.reader.times_s.__getitem__
        self.pixels = math.prod(clip.size_px)

    @property
    def expected(self) -> int | None:
        """See `ImageSource`, also for all others."""
        return self.clip.frames

    @property
    def total(self) -> int:
        return len(self.reader.times_s)

    def settle(self, folder: OutputFolder) -> int:
        return count_earlier(folder, [Input(self.clip.key, VIDEO, self.clip.path)])

    def check_boxes(self, detector: Detector) -> None:
        name, detector = self.clip.path.name, finder(detector)
        if not isinstance(detector, BoxesDetector):
            return
        named, frames = detector.frames_named(name), self.clip.frames
        if name not in detector.entries and not named:
            _log.warning(
                "the boxes file has no boxes for %s: name the clip, or its frames as in %s:0.", name, name
            )
        elif frames is not None and (beyond := [number for number in named if number >= frames]):
            _log.warning(
                "the boxes file has boxes for frames such as %s:%d, but the clip has frames 0 to %d.",
                name, beyond[0], frames - 1,
            )  # fmt: skip

    def read(self, is_finished: IsFinished, budget: PixelBudget) -> Generator[Loaded, None, None]:
        return run_ahead(self.reader, budget)

    def portions(self, batch_size: int) -> list[Sequence[Source]]:
        return []

    def place(self, name: str) -> int:
        return int(name.rpartition(":")[2])

    def problems(self) -> list[str]:
        return self.reader.problems()


def open_pictures(options: DemoOptions) -> PictureSource:
    """The pictures that a command line names.

    Raises:
        InputError: there are none, or the output folder is their folder.
    """
    require_apart(options)
    leave_out = inside(options.out_folder, options.img_folder)
    sources = list_images(options.img_folder, options.file_type, leave_out)
    tell_of_other_pictures(options, sources)
    return PictureSource(sources)


def open_video(options: DemoOptions) -> VideoSource:
    """The clip that a command line names.

    Raises:
        InputError: it cannot be read, or would be overwritten.
    """
    assert options.video is not None
    clip = Clip.open(options.video)
    if options.out_folder.exists() and options.out_folder.resolve() == clip.path.resolve().parent:
        raise InputError(
            f"--out_folder {options.out_folder} holds the video itself, which would be overwritten: choose "
            "another folder."
        )
    return VideoSource(clip)
