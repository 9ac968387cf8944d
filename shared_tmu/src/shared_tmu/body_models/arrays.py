"""Reads arrays of body-model files from `.npz` or pickle without executing code, and checks each of them."""

import io
import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.array_pickle import MAX_BYTES, read_array_pickle
from shared_tmu.errors import BodyModelError
from shared_tmu.files import open_file, shortened

_CAUSES = (ValueError, OSError, EOFError, TypeError, RuntimeError, LookupError, SyntaxError, MemoryError)
LARGEST_M = 10.0
MAX_HEADER = 10_000  # bytes of an array's header, which is parsed as a literal


def read_arrays(path: Path, names: Iterable[str] | None = None, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read the arrays of an `.npz` file; files with other suffixes are read as pickles.

    Args:
        path: the file.
        max_bytes: largest total size of the arrays.
        names: names of the arrays to read, if present; official files also hold objects, which are ignored.
            None reads all.

    Raises:
        MissingAssetError: the file does not exist.
        BodyModelError: the file is damaged, or holds something other than arrays.
    """
    if path.suffix.lower() == ".npz":
        return _read_npz(path, names, max_bytes)
    return read_array_pickle(path, names=names)


def take_array(
    arrays: Mapping[str, Any],
    key: str,
    shape: tuple[int, ...],
    source: str,
    kind: str,
    dtype: Any = np.float64,
) -> NDArray[Any]:
    """Return one array of a file, checked and converted.

    Args:
        arrays: contents of the file.
        key: name of the array in it.
        shape: the shape that it must have.
        source: the file, for messages.
        kind: description of the file, for messages: "a MANO hand model".
        dtype: dtype of the result, a copy; None keeps floating-point numbers of at least 32 bits unchanged.

        Raises:
        BodyModelError: the array is missing, has another shape, is not an array of numbers, or holds NaN,
            infinity, or fractions instead of whole numbers.
    """
    if key not in arrays:
        found = shortened(", ".join(sorted(map(str, arrays))), 400) or "nothing"
        raise BodyModelError(f"{source} has no '{key}', which {kind} needs; it holds {found}.")
    value = arrays[key]
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        raise BodyModelError(f"{source}: '{key}' is not an array of numbers but {type(value).__name__}.")
    if value.shape != shape:
        raise BodyModelError(f"{source}: '{key}' has shape {value.shape}, {kind} has {shape}.")
    if not np.isfinite(value).all():
        raise BodyModelError(f"{source}: '{key}' holds NaN or infinity.")
    if dtype is not None and np.issubdtype(dtype, np.integer) and (value != np.rint(value)).any():
        raise BodyModelError(f"{source}: '{key}' holds fractions, where {kind} has whole numbers.")
    if dtype is None:
        return np.ascontiguousarray(value, dtype=np.result_type(value, np.float32))
    return np.array(value, dtype=dtype, order="C")


def expect_metres(points: NDArray[Any], source: str, kind: str) -> None:
    """Refuse a body at rest that is too large for units of metres.

    Raises:
        BodyModelError: a vertex lies more than `LARGEST_M` from the origin.
    """
    farthest = float(np.abs(points).max())
    if farthest > LARGEST_M:
        raise BodyModelError(
            f"{source}: vertices reach {farthest:g} m from the origin; {kind} is in metres. If these are "
            "millimetres, divide them by 1000."
        )


def _read_npz(path: Path, names: Iterable[str] | None, max_bytes: int) -> dict[str, Any]:
    with open_file(path, BodyModelError) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                inside = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
                wanted = inside if names is None else [name for name in names if name in inside]
                _expect_bounded(path, max_bytes, [archive.getinfo(f"{name}.npy") for name in wanted])
                return {name: _read_npy(archive, f"{name}.npy") for name in wanted}
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
            raise BodyModelError(f"{path} is damaged or not an .npz file: {error}.") from error
        except (*_CAUSES, tokenize.TokenError) as error:
            if isinstance(error, BodyModelError):
                raise
            raise BodyModelError(
                f"{path} cannot be read as an .npz of plain arrays ({shortened(str(error))}); objects inside "
                "are refused, since loading them would execute code."
            ) from error


def _expect_bounded(path: Path, max_bytes: int, records: list[zipfile.ZipInfo]) -> None:
    total = sum(record.file_size for record in records)
    if total > max_bytes:
        raise BodyModelError(f"the arrays of {path} take {total} bytes, more than the limit of {max_bytes}.")


def _read_npy(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read one array; its data must have the size that the header states before memory is allocated for
    it.
    """
    content = io.BytesIO(archive.read(name))
    npy: Any = np.lib.format
    version = npy.read_magic(content)
    headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    read_header = headers.get(version)
    if read_header is None:
        raise ValueError(f"{name} is of version {version}")
    shape, is_fortran, dtype = read_header(content, max_header_size=MAX_HEADER)
    left = content.getbuffer()[content.tell() :]
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(left):
        raise ValueError(f"{name} should be {dtype} {list(shape)[:8]}, but has {len(left)} bytes")
    return np.frombuffer(left, dtype).reshape(shape, order="F" if is_fortran else "C").copy()
