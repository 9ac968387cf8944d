"""Where results go: separate files for each image; `clip_sink` has the sink for a video."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Protocol, Self

from shared_tmu.demo.batching import Job
from shared_tmu.demo.ledger import OutputFolder
from shared_tmu.demo.notes import Note
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.origins import PICTURE, origin_of
from shared_tmu.demo.saving import Drawer
from shared_tmu.pictures.listing import Source

_log = logging.getLogger(__name__)


class ImageSink(Protocol):
    """Takes the files of each image; a context manager that closes what it has opened.

    Attributes:
        shows_empty: whether images in which nothing was found are also drawn.
    """

    shows_empty: bool

    def all_kept(self) -> Note | None:
        """The note of an earlier run, if that run has finished everything."""

    def drawer(self, plain: Drawer) -> Drawer:
        """The drawer for this sink, based on the drawer of single images."""

    def kept(self, source: Source, digest: str) -> Note | None:
        """The note of an earlier run about an image that it has finished."""

    def save(self, job: Job, drawn: Mapping[str, bytes], release: Callable[[], None]) -> None:
        """Take an image's files; one image at a time, in any order.

        Args:
            job: the image.
            drawn: the files that the drawer made.
            release: must be called once, when the image has left memory.

        Raises:
            ResultError: the results of this image cannot be written.
        """

    def skip(self, source: Source) -> None:
        """Called for an image that gives no result, or was finished by an earlier run."""

    def close(self, found: int, failures: Sequence[str]) -> None:
        """Called after all images: complete files that belong to all of them.

        Args:
            found: number of hands or people.
            failures: the problems of the run.
        """

    def closing_rows(self) -> list[tuple[str, str]]:
        """Rows of the closing table that only this sink has."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class FileSink:
    """Files of each image in the output folder.

    Args:
        folder: the output folder, which records finished images.
        options: whether finished images are kept.
        earlier: number of this run's images that have results of an earlier run.
    """

    shows_empty = False

    def __init__(self, folder: OutputFolder, options: DemoOptions, earlier: int) -> None:
        self.folder, self.options, self.earlier = folder, options, earlier

    def __enter__(self) -> Self:
        if self.earlier:
            what = (
                "those made with the same options are kept"
                if self.options.resume
                else "they are replaced as this run gets to them (--resume keeps them)"
            )
            _log.info("%s holds results of %d of these images: %s.", self.folder.folder, self.earlier, what)
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
        return self.folder.finished(source.key, digest) if self.options.resume else None

    def save(self, job: Job, drawn: Mapping[str, bytes], release: Callable[[], None]) -> None:
        release()
        source, pixels = job.source, job.size_px[0] * job.size_px[1]
        self.folder.commit(
            *(source.key, job.digest, drawn, len(job.crops), pixels, job.detection.problems),
            origin_of(PICTURE, source.path),
        )

    def skip(self, source: Source) -> None:
        pass

    def close(self, found: int, failures: Sequence[str]) -> None:
        pass

    def closing_rows(self) -> list[tuple[str, str]]:
        return []
