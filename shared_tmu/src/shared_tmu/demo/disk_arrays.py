"""Arrays on disk that grow along their first dimension, without growing in memory."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_FORMAT: Any = np.lib.format  # this module has no type annotations


class GrowingArrays:
    """Named arrays, each a file of raw numbers while it grows; a context manager that closes the files.

    Args:
        folder: where the files are made; they are not removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._kinds: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._counts: dict[str, int] = {}

    def append(self, arrays: Mapping[str, Array]) -> None:
        """Add rows `[k, ...]` to each array.

        Raises:
            OSError: the rows cannot be written.
        """
        for name, rows in arrays.items():
            if name not in self._files:
                self._files[name] = self._path(name).open("wb")
                self._kinds[name] = (rows.dtype, rows.shape[1:])
                self._counts[name] = 0
            kind = (rows.dtype, rows.shape[1:])
            assert kind == self._kinds[name], f"{name}: {kind}, before {self._kinds[name]}"
            self._files[name].write(np.ascontiguousarray(rows).data)
            self._counts[name] += len(rows)

    def save(self, path: Path, names: Sequence[str], whole: Mapping[str, Array]) -> None:
        """Write a compressed `.npz`, as `np.savez_compressed` would; the same bytes for the same arrays.

        Args:
            path: path of the file.
            names: arrays to save, in order.
            whole: arrays that did not grow here, and arrays to which nothing was added.

        Raises:
            OSError: it cannot be written.
        """
        for file in self._files.values():
            file.flush()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    self._write(cast(BinaryIO, member), name, whole)

    def _write(self, member: BinaryIO, name: str, whole: Mapping[str, Array]) -> None:
        if name not in self._files:
            _FORMAT.write_array(member, whole[name], allow_pickle=False)
            return
        dtype, shape = self._kinds[name]
        header = {
            "descr": _FORMAT.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (self._counts[name], *shape),
        }
        _FORMAT.write_array_header_1_0(member, header)
        with self._path(name).open("rb") as rows:
            shutil.copyfileobj(rows, member)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.rows"

    def __enter__(self) -> GrowingArrays:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self._files.values():
            with suppress(OSError):  # a full disk: `save`, or the error that ends the run, has reported it
                file.close()
