"""Reading images ahead of need, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

from shared_tmu.demo.channels import Channel, ChannelClosedError, PixelBudget
from shared_tmu.errors import InputError
from shared_tmu.pictures.images import Picture, PictureFile
from shared_tmu.pictures.listing import Source

READ_AHEAD = 2
"""Decoded images that wait at most."""


@dataclass(frozen=True)
class Loaded:
    """What became of reading one image: one of picture, finished and problem is set.

    Attributes:
        source: which image.
        digest: SHA-256 of the file; empty if it could not be read.
        picture: decoded.
        is_finished: an earlier run has done it; it was not decoded.
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
    def pixels(self) -> int:
        """Of the decoded picture; 0 if there is none."""
        return self.picture.size_px[0] * self.picture.size_px[1] if self.picture else 0


def read_ahead(
    sources: Sequence[Source],
    is_finished: Callable[[Source, str], bool],
    budget: PixelBudget | None = None,
    depth: int = READ_AHEAD,
) -> Generator[Loaded, None, None]:
    """Read images in a thread, in order, at most `depth` ahead of the one last taken.

    Args:
        sources: what to read.
        is_finished: told the source and the digest of its bytes; finished images are not decoded.
        budget: takes the pixels of each decoded image before it is handed on; whoever drops the image gives
            them back.
        depth: images that may wait.
    """
    return run_ahead((_load(source, is_finished) for source in sources), budget, depth)


def run_ahead(
    items: Iterable[Loaded], budget: PixelBudget | None = None, depth: int = READ_AHEAD
) -> Generator[Loaded, None, None]:
    """Iterate in a thread, in order, at most `depth` ahead of the one last taken; see `read_ahead`."""
    waiting: Channel[Loaded] = Channel(depth)

    def work() -> None:
        try:
            for loaded in items:
                if loaded.picture is not None and budget is not None:
                    budget.take(loaded.pixels)
                waiting.put(loaded)
            waiting.end()
        except ChannelClosedError:
            pass
        except BaseException as error:  # handed to the thread that asked
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


def _load(source: Source, is_finished: Callable[[Source, str], bool]) -> Loaded:
    started = time.perf_counter()
    try:
        with PictureFile.open(source.path, source.name) as file:
            digest = file.sha256()
            if is_finished(source, digest):
                return Loaded(source, digest, is_finished=True, read_s=time.perf_counter() - started)
            picture = file.decode()
    except InputError as error:
        return Loaded(source, problem=str(error), read_s=time.perf_counter() - started)
    return Loaded(source, digest, picture, read_s=time.perf_counter() - started)
