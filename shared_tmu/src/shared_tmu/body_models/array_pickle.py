"""Reads arrays from a pickle without executing code from it.

Body models were published as Python 2 pickles of NumPy arrays, SciPy sparse matrices and chumpy objects. The
unpickler below knows the few names that such files use and replaces each by a passive record of the stored
data; any other name is refused before anything is built. Our own code converts the records into arrays
afterwards, so the unpickling hooks of NumPy, SciPy and chumpy never get data from the file, and no array is
larger than the data in the file (sparse ones within a limit).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.pickled_objects import (
    ChumpyArray,
    EncodedText,
    PickledArray,
    PickledBytes,
    PickledDType,
    PickledObject,
    PickledScalar,
    Resolver,
    Sparse,
    SparseByRow,
    array_from_buffer,
    ordered,
    reconstruct_array,
    reconstruct_object,
)
from shared_tmu.errors import BodyModelError
from shared_tmu.files import open_file, shortened
from shared_tmu.files.pickles import PICKLE_ERRORS, BoundedFile, LimitedUnpickler, Passive

MAX_BYTES = 1 << 30


def read_array_pickle(
    path: Path | str, max_bytes: int = MAX_BYTES, names: Iterable[str] | None = None
) -> dict[str, Any]:
    """Read a pickled dictionary of arrays (NumPy, SciPy CSC/CSR, chumpy), plain values and dictionaries.

    Args:
        path: the file.
        max_bytes: limit for the file and for its arrays.
        names: names of the entries to read, if present; other entries may be anything harmless. None reads
            all.

    Returns:
        The dictionary, with every array, sparse matrix and chumpy object as a dense NumPy array.

    Raises:
        MissingAssetError: the file does not exist.
        BodyModelError: the file is not a pickle, is damaged, is not a dictionary, or uses a name that is not
            on the list (the message says which).
    """
    content = _read(Path(path), max_bytes, names)
    if not isinstance(content, dict):
        raise BodyModelError(f"{path} holds a {type(content).__name__}, expected a dictionary of arrays.")
    return content


def read_pickled_array(path: Path | str, max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """Read a pickle that is one array (NumPy, SciPy CSC/CSR or chumpy); otherwise like
    `read_array_pickle`.
    """
    content = _read(Path(path), max_bytes)
    if not isinstance(content, np.ndarray):
        raise BodyModelError(f"{path} holds a {type(content).__name__}, expected one array.")
    return content


def _read(path: Path, max_bytes: int, names: Iterable[str] | None = None) -> Any:
    with open_file(path, BodyModelError) as file:
        size = path.stat().st_size
        if size == 0 or size > max_bytes:
            raise BodyModelError(f"{path} has {size} bytes; expected between 1 and {max_bytes}.")
        try:
            content = _RecordUnpickler(BoundedFile(file, size)).load()
            if names is not None and isinstance(content, dict):
                content = {name: content[name] for name in names if name in content}
            return Resolver(max_bytes).resolve(content)
        except _RefusedGlobalError as error:
            raise BodyModelError(
                f"{path} was not loaded: it refers to '{error}', which is not part of an array and could "
                "execute code. An official body-model file holds only NumPy, SciPy and chumpy arrays."
            ) from error
        except (*PICKLE_ERRORS, OSError) as error:
            reason = shortened(" ".join(str(error).split())).rstrip(".") or type(error).__name__
            raise BodyModelError(f"{path} cannot be read as a pickle of arrays: {reason}.") from error


class _RefusedGlobalError(Exception):
    """The pickle uses a name that is not on the list."""


def _allowed() -> dict[tuple[str, str], Callable[..., Any]]:
    names: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): PickledArray,
        ("numpy", "dtype"): PickledDType,
        ("_codecs", "encode"): EncodedText,
        ("collections", "OrderedDict"): ordered,
        ("copy_reg", "_reconstructor"): reconstruct_object,
        ("copyreg", "_reconstructor"): reconstruct_object,
    }
    for core in ("numpy.core.multiarray", "numpy._core.multiarray"):
        names[core, "_reconstruct"] = reconstruct_array
        names[core, "scalar"] = PickledScalar
    for core in ("numpy.core.numeric", "numpy._core.numeric"):
        names[core, "_frombuffer"] = array_from_buffer
    for builtins in ("__builtin__", "builtins"):
        names[builtins, "set"] = Passive
        names[builtins, "bytearray"] = PickledBytes
        names[builtins, "object"] = Passive
    for module in ("csc", "_csc"):
        names[f"scipy.sparse.{module}", "csc_matrix"] = Sparse
    for module in ("csr", "_csr"):
        names[f"scipy.sparse.{module}", "csr_matrix"] = SparseByRow
    for module, name in (("ch", "Ch"), ("reordering", "Select")):
        names[f"chumpy.{module}", name] = ChumpyArray
    return names


class _RecordUnpickler(LimitedUnpickler):
    takes_state = (PickledObject,)
    allowed: ClassVar[dict[tuple[str, str], Callable[..., Any]]] = _allowed()

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return self.allowed[module_name, global_name]
        except KeyError:
            raise _RefusedGlobalError(shortened(f"{module_name}.{global_name}")) from None
