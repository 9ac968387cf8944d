"""Reads images ahead of their use, in a thread."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from shared_tmu.demo import batching
from shared_tmu.demo.channels import Channel, ChannelClosedError, PixelBudget
from shared_tmu.errors import InputError
from shared_tmu.pictures.images import Picture, PictureFile
from shared_tmu.pictures.listing import Source

READ_AHEAD = 2
"""Largest number of decoded images that wait."""


@dataclass(frozen=True)
class Loaded:
    """The result of reading one image: one of `picture`, `is_finished` and `problem` is set, or none of them
    to announce a large image that must be alone in memory.

    Attributes:
        source: where the image comes from.
        digest: SHA-256 of the file; empty if it could not be read.
        picture: decoded.
        is_finished: an earlier run has finished it, so it was not decoded.
        problem: why it could not be read.
        read_s: seconds spent reading and decoding.
    """

    source: Source
    digest: str = ""
    picture: Picture | None = None
    is_finished: bool = False
    problem: str = ""
    read_s: float = 0.0

    @property
    def is_coming(self) -> bool:
        """Whether the image is large and not read yet: all images before it must be processed first."""
        return self.picture is None and not self.is_finished and not self.problem

    @property
    def pixels(self) -> int:
        """Number of pixels of the decoded picture; 0 if there is none."""
        return self.picture.size_px[0] * self.picture.size_px[1] if self.picture else 0


def read_ahead(
    sources: Sequence[Source],
    is_finished: Callable[[Source, str], bool],
    budget: PixelBudget | None = None,
    depth: int = READ_AHEAD,
) -> Generator[Loaded, None, None]:
    """Read images in a thread, in order, at most `depth` images ahead of the one taken last.

    Args:
        sources: the images to read.
        is_finished: function of the source and the digest of its bytes; finished images are not decoded.
        budget: reserves the pixels of each image before it is decoded; the code that drops the image releases
            them.
        depth: images that may wait.
    """
    items = (loaded for source in sources for loaded in _load(source, is_finished, budget))
    return _in_thread(items, budget, depth)


def run_ahead(
    items: Iterable[Loaded], budget: PixelBudget | None = None, depth: int = READ_AHEAD
) -> Generator[Loaded, None, None]:
    """Iterate over decoded images in a thread; see `read_ahead`."""

    def counted() -> Iterator[Loaded]:
        for loaded in items:
            if loaded.picture is not None and budget is not None:
                budget.take(loaded.pixels)
            yield loaded

    return _in_thread(counted(), budget, depth)


def _in_thread(
    items: Iterable[Loaded], budget: PixelBudget | None, depth: int
) -> Generator[Loaded, None, None]:
    """Iterate in a thread, in order, at most `depth` items ahead of the one taken last."""
    waiting: Channel[Loaded] = Channel(depth)

    def work() -> None:
        try:
            for loaded in items:
                waiting.put(loaded)
            waiting.end()
        except ChannelClosedError:
            waiting.close()  # also if only the budget was: the consumer must not wait for more
        except BaseException as error:  # raised in the thread that waits
            waiting.fail(error)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        yield from waiting
    finally:
        waiting.close()
        if budget is not None:
            budget.close()
        thread.join()


def _load(
    source: Source, is_finished: Callable[[Source, str], bool], budget: PixelBudget | None
) -> Iterator[Loaded]:
    """The result for an image, announced first if it is large; the time of waiting for memory is not
    counted.
    """
    started, waited = time.perf_counter(), 0.0
    taken = 0

    def spent() -> float:
        return time.perf_counter() - started - waited

    try:
        if source.problem:
            raise InputError(source.problem)
        with PictureFile.open(source.path, source.name) as file:
            digest = file.sha256()
            if is_finished(source, digest):
                yield Loaded(source, digest, is_finished=True, read_s=spent())
                return
            pixels, before = math.prod(file.size_px()), time.perf_counter()
            if pixels > batching.LARGE_PIXELS:
                yield Loaded(source)
            if budget is not None:
                (budget.take_alone if pixels > batching.LARGE_PIXELS else budget.take)(pixels)
                taken = pixels
            waited = time.perf_counter() - before
            picture = file.decode()
    except InputError as error:
        if budget is not None:
            budget.give_back(taken)
        yield Loaded(source, problem=str(error), read_s=spent())
    else:
        yield Loaded(source, digest, picture, read_s=spent())
