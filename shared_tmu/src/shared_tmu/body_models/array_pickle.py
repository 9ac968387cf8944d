"""Read arrays from a pickle without letting the pickle run anything.

Body models were published as Python 2 pickles of NumPy arrays, SciPy sparse matrices and chumpy objects. The
unpickler below knows the few names such files use and replaces each by a passive record of what was stored;
any other name is refused before anything is built. The records are turned into arrays by our own code
afterwards, so neither NumPy's nor SciPy's nor chumpy's unpickling hooks ever see data from the file.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import BodyModelError, MissingAssetError

MAX_BYTES = 1 << 30
_CAUSES = (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, MemoryError)


def read_array_pickle(path: Path | str, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Read a pickled dictionary of arrays (NumPy, SciPy CSC/CSR, chumpy), plain values and dictionaries.

    Args:
        path: the file.
        max_bytes: larger files are refused.

    Returns:
        The dictionary, with every array, sparse matrix and chumpy object as a dense NumPy array.

    Raises:
        MissingAssetError: there is no such file.
        BodyModelError: the file is no pickle, is damaged, is not a dictionary, or names anything that is not
            on the list (the message says what).
    """
    content = _read(Path(path), max_bytes)
    if not isinstance(content, dict):
        raise BodyModelError(f"{path} holds a {type(content).__name__}, expected a dictionary of arrays.")
    return content


def read_pickled_array(path: Path | str, max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """Read a pickle that is one array (NumPy, SciPy CSC/CSR or chumpy); as `read_array_pickle` otherwise."""
    content = _read(Path(path), max_bytes)
    if not isinstance(content, np.ndarray):
        raise BodyModelError(f"{path} holds a {type(content).__name__}, expected one array.")
    return content


def _read(path: Path, max_bytes: int) -> Any:
    if not path.is_file():
        raise MissingAssetError(f"{path.name} is not in {path.parent}.")
    size = path.stat().st_size
    if size == 0 or size > max_bytes:
        raise BodyModelError(f"{path} has {size} bytes; expected between 1 and {max_bytes}.")
    try:
        with path.open("rb") as file:
            return _resolve(_RecordUnpickler(file, encoding="latin1").load())
    except _RefusedGlobalError as error:
        raise BodyModelError(
            f"{path} was not loaded: it asks for '{error}', which is not part of an array and could execute "
            "code. An official body-model file holds only NumPy, SciPy and chumpy arrays."
        ) from error
    except (*_CAUSES, ValueError, TypeError, OverflowError, RecursionError) as error:
        if isinstance(error, BodyModelError):
            raise
        raise BodyModelError(
            f"{path} cannot be read as a pickle of arrays: {error or type(error).__name__}."
        ) from error


class _RefusedGlobalError(Exception):
    """A name in the pickle that is not on the list."""


class _Record:
    """What a pickled object was built from: constructor arguments and state, nothing interpreted."""

    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, **_: Any) -> "_Record":
        record = super().__new__(cls)
        record.args, record.state = args, None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _DType(_Record):
    def to_dtype(self) -> np.dtype[Any]:
        dtype = np.dtype(str(self.args[0]))
        if dtype.kind not in "fiubSU":
            raise BodyModelError(f"an array of type {dtype} is not a plain array of numbers.")
        return dtype.newbyteorder(">") if self.state and self.state[1] == ">" else dtype


class _Array(_Record):
    """State of a NumPy array: version, shape, dtype, whether Fortran-ordered, bytes."""

    def to_array(self) -> NDArray[Any]:
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise BodyModelError("an array in the pickle has no contents.")
        _, shape, dtype, fortran, data = self.state
        if not isinstance(dtype, _DType):
            raise BodyModelError("an array in the pickle has no plain type.")
        raw = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(raw, (bytes, bytearray)):
            raise BodyModelError("an array in the pickle holds objects instead of numbers.")
        flat = np.frombuffer(raw, dtype.to_dtype())
        return flat.reshape(shape, order="F" if fortran else "C").copy()


class _Scalar(_Record):
    def to_array(self) -> NDArray[Any]:
        dtype, raw = self.args
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        return np.frombuffer(raw, dtype.to_dtype()).reshape(())


class _Sparse(_Record):
    """A compressed sparse matrix: `indptr` runs over columns (CSC) or rows (CSR)."""

    by_column: ClassVar[bool] = True

    def to_array(self) -> NDArray[Any]:
        state = self.state
        data, indices, indptr = (np.asarray(_resolve(state[key])) for key in ("data", "indices", "indptr"))
        rows, columns = (int(n) for n in _resolve(state.get("_shape", state.get("shape"))))
        if not 0 <= rows * columns <= MAX_BYTES // 8:
            raise BodyModelError(f"a sparse matrix of {rows} x {columns} is too large for a body model.")
        major = np.repeat(np.arange(columns if self.by_column else rows), np.diff(indptr))
        dense = np.zeros((rows, columns), data.dtype)
        np.add.at(dense, (indices, major) if self.by_column else (major, indices), data)
        return dense


class _SparseByRow(_Sparse):
    by_column = False


class _Chumpy(_Record):
    """A chumpy array: its value is `x`, or for `Select` some entries of another chumpy array `a`."""

    def to_array(self) -> NDArray[Any]:
        state = self.state if isinstance(self.state, dict) else {}
        if "x" in state:
            return np.asarray(_resolve(state["x"]))
        if "a" in state and "idxs" in state:
            everything: NDArray[Any] = np.asarray(_resolve(state["a"])).ravel()
            chosen: NDArray[Any] = everything[np.asarray(_resolve(state["idxs"]))]
            shape = state.get("preferred_shape")
            return chosen if shape is None else chosen.reshape([int(n) for n in _resolve(shape)])
        raise BodyModelError(f"a chumpy object in the pickle has no known value, only {sorted(state)}.")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stand-in for `_codecs.encode`, by which protocol 2 stores bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise BodyModelError(f"bytes in the pickle are encoded as {encoding!r}, expected latin1.")
    return text.encode("latin1")


def _reconstruct(kind: Any, *_: Any) -> _Array:
    """Stand-in for NumPy's empty-array constructor; the contents follow as state."""
    if kind is not _Array:
        raise BodyModelError("an array in the pickle is of an unknown subclass.")
    return _Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: str = "C") -> _Array:
    """Stand-in for the function by which protocol 5 stores an array."""
    array = _Array()
    array.state = (1, shape, dtype, order == "F", bytes(data))
    return array


def _copyreg_reconstructor(kind: Any, *_: Any) -> _Record:
    if not (isinstance(kind, type) and issubclass(kind, _Record)):
        raise BodyModelError("an object in the pickle is of an unknown class.")
    return kind()


def _allowed() -> dict[tuple[str, str], Callable[..., Any]]:
    names: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _DType,
        ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): OrderedDict,
        ("copy_reg", "_reconstructor"): _copyreg_reconstructor,
        ("copyreg", "_reconstructor"): _copyreg_reconstructor,
    }
    for core in ("numpy.core.multiarray", "numpy._core.multiarray"):
        names[core, "_reconstruct"] = _reconstruct
        names[core, "scalar"] = _Scalar
    for core in ("numpy.core.numeric", "numpy._core.numeric"):
        names[core, "_frombuffer"] = _from_buffer
    for builtins in ("__builtin__", "builtins"):
        names[builtins, "set"] = set
        names[builtins, "bytearray"] = bytearray
        names[builtins, "object"] = object
    for module in ("csc", "_csc"):
        names[f"scipy.sparse.{module}", "csc_matrix"] = _Sparse
    for module in ("csr", "_csr"):
        names[f"scipy.sparse.{module}", "csr_matrix"] = _SparseByRow
    for module, name in (("ch", "Ch"), ("reordering", "Select")):
        names[f"chumpy.{module}", name] = _Chumpy
    return names


class _RecordUnpickler(pickle.Unpickler):
    allowed: ClassVar[dict[tuple[str, str], Callable[..., Any]]] = _allowed()

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return self.allowed[module_name, global_name]
        except KeyError:
            raise _RefusedGlobalError(f"{module_name}.{global_name}") from None


def _resolve(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _resolve(item) for key, item in value.items()}
    return value.to_array() if isinstance(value, (_Array, _Scalar, _Sparse, _Chumpy)) else value
