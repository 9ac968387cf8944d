"""Stores predictions of one run on disk until the run is finished, in chunks that are complete or absent."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError
from shared_tmu.files import drop_halves, replacing
from shared_tmu.programs.model_program import Run

Arrays = dict[str, NDArray[np.float32]]
UNREADABLE = (
    OSError, ValueError, EOFError, KeyError, MemoryError, NotImplementedError, RuntimeError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""Errors that numpy raises for a file that does not exist, is damaged or is not an archive of arrays."""
_IMAGES_PER_CHUNK = 256


@dataclass(frozen=True)
class Chunk:
    """Samples from `start` up to `stop`, and the signature of their pictures."""

    start: int
    stop: int
    signature: str

    def batches(self, batch_size: int) -> Iterator[range]:
        """The chunk's samples in batches of at most `batch_size`."""
        for first in range(self.start, self.stop, batch_size):
            yield range(first, min(first + batch_size, self.stop))


def chunk_bounds(count: int, batch_size: int, processes: int = 1) -> list[tuple[int, int]]:
    """Ranges that cover `count` samples; batches do not straddle them, and all processes get some if there
    are enough batches."""
    most = min(_IMAGES_PER_CHUNK, -(-count // processes))
    step = batch_size * max(1, most // batch_size)
    return [(start, min(start + step, count)) for start in range(0, count, step)]


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Args:
        path: folder, created when the first file is written.
    """

    path: Path

    def save(self, chunk: Chunk, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Save the predictions of a chunk, in one step."""
        with replacing(self._file(chunk)) as beside:
            np.savez(beside, signature=np.array(chunk.signature), **arrays)

    def load(self, chunk: Chunk) -> Arrays | None:
        """The predictions of a chunk; None if they are missing, damaged or for other pictures."""
        try:
            with np.load(self._file(chunk), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except UNREADABLE:
            return None
        if str(arrays.pop("signature", "")) != chunk.signature:
            return None
        complete = arrays and all(len(a) == chunk.stop - chunk.start for a in arrays.values())
        return arrays if complete else None

    def drop_chunks(self) -> None:
        """Remove the chunks of a finished run, and half-written files of a killed one."""
        for path in self.path.glob("chunk-*.npz"):
            path.unlink(missing_ok=True)
        drop_halves(self.path)

    def _file(self, chunk: Chunk) -> Path:
        return self.path / f"chunk-{chunk.start:06d}-{chunk.stop:06d}.npz"


@dataclass(frozen=True)
class SetRun:
    """A run on a set: the folder of its files, its key among the results, and the folder of its predictions
    frame by frame, which runs share that differ in what is done to whole clips."""

    run: Run
    folder: RunFolder
    key: str
    frames: RunFolder


def results_file(results: Path, model: str, dataset: str) -> Path:
    """The file for the result lines of a model on a set."""
    return results / f"{model}-{dataset}.jsonl".lower()


def require_folder(folder: Path) -> None:
    """Refuse a folder for results that cannot be created or written to.

    Raises:
        InputError: it cannot be used; the message says why.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):  # with its own name: other processes may check at the same time
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"results cannot be written to {folder} ({reason}): choose another folder with --results."
        ) from error
