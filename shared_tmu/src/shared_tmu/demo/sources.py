"""Where images come from: a folder of pictures, a video."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from shared_tmu.demo.channels import PixelBudget
from shared_tmu.demo.checks import inside, require_apart, warn_of_unused_boxes
from shared_tmu.demo.clips import Clip, ClipReader
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.read_ahead import Loaded, read_ahead, run_ahead
from shared_tmu.detect import Detector
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.detect.segmenter import finder
from shared_tmu.errors import InputError
from shared_tmu.pictures.listing import Source, list_images

IsFinished = Callable[[Source, str], bool]
"""Function from a source and the digest of its bytes to whether an earlier run has finished the image."""

PROBLEMS_LISTED = 20
"""Largest number of frames whose problems are listed; a thousand frames may have the same problem."""

_log = logging.getLogger(__name__)


class ImageSource(Protocol):
    """Gives out images in order, once.

    Attributes:
        unit: what the images are called, in the plural.
        keeps_order: whether images have to come out in order too, so that one in which nothing was found
            waits for the crops of those before it.
        problems_listed: images of which problems are listed; None for all.
    """

    unit: str
    keeps_order: bool
    problems_listed: int | None

    @property
    def expected(self) -> int | None:
        """How many images there will be, as far as is known before any work."""

    @property
    def total(self) -> int:
        """How many images there were."""

    def check_boxes(self, detector: Detector) -> None:
        """Warn of a boxes file that is for other images."""

    def read(self, is_finished: IsFinished, budget: PixelBudget) -> Generator[Loaded, None, None]:
        """Images in order, read ahead in a thread; finished ones are not decoded, where one can tell.

        The budget takes the pixels of each decoded image; whoever drops the image gives them back.
        """

    def place(self, name: str) -> int:
        """Where an image stands in the order, by its name."""

    def problems(self) -> list[str]:
        """What was wrong with the source as a whole, once all has been read."""


class PictureSource:
    """Files of pictures.

    Args:
        sources: the files.
    """

    unit = "images"
    keeps_order = False
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

    def check_boxes(self, detector: Detector) -> None:
        warn_of_unused_boxes(detector, self.sources)

    def read(self, is_finished: IsFinished, budget: PixelBudget) -> Generator[Loaded, None, None]:
        return read_ahead(self.sources, is_finished, budget)

    def place(self, name: str) -> int:
        return self._places[name]

    def problems(self) -> list[str]:
        return []


class VideoSource:
    """The frames of a clip.

    Attributes:
        clip: what is read.
        reader: has the times of the frames that were read.
    """

    unit = "frames"
    keeps_order = True
    problems_listed: int | None = PROBLEMS_LISTED

    def __init__(self, clip: Clip) -> None:
        self.clip, self.reader = clip, ClipReader(clip)

    @property
    def expected(self) -> int | None:
        """See `ImageSource`, also for all others."""
        return self.clip.frames

    @property
    def total(self) -> int:
        return len(self.reader.times_s)

    def check_boxes(self, detector: Detector) -> None:
        name, detector = self.clip.path.name, finder(detector)
        if isinstance(detector, BoxesDetector) and not any(
            entry == name or entry.rpartition(":")[0] == name for entry in detector.entries
        ):
            _log.warning("the boxes file has boxes neither for %s nor for %s:0 and other frames.", name, name)

    def read(self, is_finished: IsFinished, budget: PixelBudget) -> Generator[Loaded, None, None]:
        return run_ahead(self.reader, budget)

    def place(self, name: str) -> int:
        return int(name.rpartition(":")[2])

    def problems(self) -> list[str]:
        return self.reader.problems()


def open_pictures(options: DemoOptions) -> PictureSource:
    """The pictures that a command line names.

    Raises:
        InputError: there are none, or results would be written among them.
    """
    require_apart(options)
    leave_out = inside(options.out_folder, options.img_folder)
    return PictureSource(list_images(options.img_folder, options.file_type, leave_out))


def open_video(options: DemoOptions) -> VideoSource:
    """The clip that a command line names.

    Raises:
        InputError: it cannot be read, or would be written over.
    """
    assert options.video is not None
    clip = Clip.open(options.video)
    if options.out_folder.exists() and options.out_folder.resolve() == clip.path.resolve().parent:
        raise InputError(
            f"--out_folder {options.out_folder} holds the video itself, which would be written over: name "
            "another folder."
        )
    return VideoSource(clip)
