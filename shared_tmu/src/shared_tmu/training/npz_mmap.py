"""Arrays of an uncompressed `.npz` file as views of the file: read on access, shared by all processes."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError

_LOCAL_HEADER = 30  # bytes of the header before the name of each file in a zip archive
_npy: Any = np.lib.format  # its functions have no type annotations


def map_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an `.npz` file that `numpy.savez` wrote, read-only.

    The operating system keeps pages that were read in memory, once for all processes, and drops them if
    memory is short.

    Raises:
        InputError: an array is compressed.
    """
    content = np.asarray(np.memmap(path, mode="r"))
    out: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise InputError(f"{path} holds compressed arrays, which cannot be mapped: use numpy.savez.")
            lengths = content[member.header_offset + 26 : member.header_offset + _LOCAL_HEADER].view("<u2")
            file.seek(member.header_offset + _LOCAL_HEADER + int(lengths.sum()))
            is_short = _npy.read_magic(file) == (1, 0)
            read = _npy.read_array_header_1_0 if is_short else _npy.read_array_header_2_0
            shape, is_fortran, dtype = read(file)
            start, size = file.tell(), int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            flat = content[start : start + size].view(dtype)
            out[member.filename.removesuffix(".npy")] = flat.reshape(shape, order="F" if is_fortran else "C")
    return out
