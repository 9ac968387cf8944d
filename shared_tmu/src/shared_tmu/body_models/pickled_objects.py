"""Records of the objects in a pickle, and the arrays that they represent.

Nothing here executes code from a file: a record holds the arguments and the state from the pickle, and our
own functions convert them into a plain NumPy array that is not larger than the data in the file (sparse
arrays within a limit).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import BodyModelError
from shared_tmu.files import shortened

# of one sparse matrix after conversion to dense; the largest of SMPL-X takes 4.6 MB
MAX_SPARSE_BYTES = 1 << 27
MAX_DEPTH = 16  # levels of nested dictionaries, and of chumpy objects that select from others
_MAX_ITEMS = 1_000_000  # entries of all dictionaries and lists, counted once per reference
_MAX_DTYPE = 16  # characters of a plain type's name: "<f8"


class PickledObject:
    """The constructor arguments and the state of a pickled object, not interpreted."""

    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, **_: Any) -> PickledObject:
        record = super().__new__(cls)
        record.args, record.state = args, None
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def raw(self) -> Any:
        """The bytes that the record represents, if it does."""
        raise BodyModelError(f"an array in the pickle holds a {type(self).__name__} instead of numbers.")


class EncodedText(PickledObject):
    """A text in which pickle protocol 2 stores bytes; it is encoded only when an array is made from it."""

    def raw(self) -> bytes:
        text, encoding = (*self.args, "latin1")[:2]
        if encoding not in ("latin1", "latin-1"):
            raise BodyModelError(f"bytes in the pickle are encoded as {encoding!r:.40}, expected latin1.")
        if not isinstance(text, str):
            raise BodyModelError(f"bytes in the pickle are stored as {type(text).__name__}, expected a text.")
        return text.encode("latin1")


class PickledBytes(PickledObject):
    """A bytearray; a bytearray made from a number is refused, because it would only reserve memory."""

    def raw(self) -> Any:
        return _raw(self.args[0]) if self.args else b""


def _raw(value: Any) -> Any:
    """The bytes of an array in its state."""
    if isinstance(value, PickledObject):
        return value.raw()
    if isinstance(value, str):
        return value.encode("latin1")
    if not isinstance(value, (bytes, bytearray)):
        raise BodyModelError("an array in the pickle holds objects instead of numbers.")
    return value


class PickledDType(PickledObject):
    def to_dtype(self) -> np.dtype[Any]:
        name = self.args[0] if self.args else None
        if not isinstance(name, str) or len(name) > _MAX_DTYPE:
            raise BodyModelError("an array in the pickle has no plain type.")
        dtype = np.dtype(name)
        if dtype.kind not in "fiubSU":
            raise BodyModelError(f"an array of type {dtype} is not a plain array of numbers.")
        is_swapped = isinstance(self.state, tuple) and self.state[1:2] == (">",)
        return dtype.newbyteorder(">") if is_swapped else dtype


class PickledArray(PickledObject):
    """State of a NumPy array: version, shape, dtype, whether Fortran-ordered, bytes."""

    def to_array(self, _: Resolver) -> NDArray[Any]:
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise BodyModelError("an array in the pickle has no contents.")
        _version, shape, dtype, fortran, data = self.state
        if not isinstance(dtype, PickledDType):
            raise BodyModelError("an array in the pickle has no plain type.")
        if not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape):
            raise BodyModelError("an array in the pickle has no plain shape.")
        return np.frombuffer(_raw(data), dtype.to_dtype()).reshape(shape, order="F" if fortran else "C")


class PickledScalar(PickledObject):
    def to_array(self, _: Resolver) -> NDArray[Any]:
        dtype, data = self.args
        if not isinstance(dtype, PickledDType):
            raise BodyModelError("a number in the pickle has no plain type.")
        return np.frombuffer(_raw(data), dtype.to_dtype()).reshape(())


class Sparse(PickledObject):
    """A compressed sparse matrix: `indptr` runs over columns (CSC) or rows (CSR)."""

    by_column: ClassVar[bool] = True

    def to_array(self, resolver: Resolver) -> NDArray[Any]:
        state = self.state if isinstance(self.state, dict) else {}
        data, indices, indptr = (resolver.array(state[key]).ravel() for key in ("data", "indices", "indptr"))
        rows, columns = (int(n) for n in resolver.array(state.get("_shape", state.get("shape"))))
        if not (rows >= 0 and columns >= 0 and max(rows, 1) * max(columns, 1) * 8 <= MAX_SPARSE_BYTES):
            raise BodyModelError(f"a sparse matrix of {rows} x {columns} is too large for a body model.")
        majors = columns if self.by_column else rows
        counts = np.diff(indptr.astype(np.int64))
        if len(counts) != majors or (counts < 0).any() or not counts.sum() == len(indices) == len(data):
            raise BodyModelError(f"a sparse matrix of {rows} x {columns} does not fit its own indices.")
        if indices.size and not 0 <= indices.min() <= indices.max() < (rows if self.by_column else columns):
            raise BodyModelError(f"a sparse matrix of {rows} x {columns} has indices outside this range.")
        resolver.spend(rows * columns * data.itemsize)
        major = np.repeat(np.arange(majors), counts)
        dense = np.zeros((rows, columns), data.dtype)
        np.add.at(dense, (indices, major) if self.by_column else (major, indices), data)
        return dense


class SparseByRow(Sparse):
    by_column = False


class ChumpyArray(PickledObject):
    """A chumpy array: its value is `x`, or for `Select` some entries of another chumpy array `a`."""

    def to_array(self, resolver: Resolver) -> NDArray[Any]:
        state = self.state if isinstance(self.state, dict) else {}
        if "x" in state:
            return resolver.array(state["x"])
        if "a" in state and "idxs" in state:
            everything, chosen = resolver.array(state["a"]).ravel(), resolver.array(state["idxs"])
            resolver.spend(chosen.size * everything.itemsize)
            values: NDArray[Any] = everything[chosen]
            shape = state.get("preferred_shape")
            return values if shape is None else values.reshape([int(n) for n in resolver.array(shape)])
        known = shortened(", ".join(map(str, state)), 80)
        raise BodyModelError(f"a chumpy object in the pickle has no known value, only {known or 'nothing'}.")


class Resolver:
    """Converts records into arrays, each once, up to `max_bytes` in total."""

    def __init__(self, max_bytes: int) -> None:
        self._left, self._items, self._depth = max_bytes, _MAX_ITEMS, 0
        self._made: dict[int, NDArray[Any]] = {}

    def spend(self, size: int) -> None:
        """Count memory before it is allocated."""
        self._left -= size
        if self._left < 0:
            raise BodyModelError("its arrays take more memory than a body model does")

    def resolve(self, value: Any) -> Any:
        """The value with arrays instead of records, also inside dictionaries."""
        if isinstance(value, (PickledArray, PickledScalar, Sparse, ChumpyArray)):
            return self.array(value).copy()
        if not isinstance(value, dict):
            return value
        self._go_deeper(len(value))
        resolved = {str(key): self.resolve(item) for key, item in value.items()}
        self._depth -= 1
        return resolved

    def array(self, value: Any) -> NDArray[Any]:
        """The array of a record, or of plain numbers."""
        if isinstance(value, (PickledArray, PickledScalar, Sparse, ChumpyArray)):
            if id(value) not in self._made:
                self._go_deeper(1)
                array = value.to_array(self)
                self.spend(array.nbytes)
                self._made[id(value)] = array
                self._depth -= 1
            return self._made[id(value)]
        numbers = value if isinstance(value, (list, tuple)) else [value]
        self._go_deeper(len(numbers))
        self._depth -= 1
        if not all(isinstance(number, (int, float)) for number in numbers):
            raise BodyModelError("an array in the pickle is made of something other than numbers.")
        return np.asarray(value)

    def _go_deeper(self, items: int) -> None:
        self._depth += 1
        self._items -= items
        if self._depth > MAX_DEPTH or self._items < 0:
            raise BodyModelError("it is nested more deeply, or has more entries, than a body model")


def reconstruct_array(kind: Any, *_: Any) -> PickledArray:
    """Stand-in for NumPy's empty-array constructor; the contents follow as state."""
    if kind is not PickledArray:
        raise BodyModelError("an array in the pickle is of an unknown subclass.")
    return _empty_array()


def _empty_array(*_: Any) -> PickledArray:
    made = PickledArray()
    assert isinstance(made, PickledArray)
    return made


def array_from_buffer(data: Any, dtype: Any, shape: Any, order: str = "C") -> PickledArray:
    """Stand-in for the function by which protocol 5 stores an array."""
    array = _empty_array()
    array.state = (1, shape, dtype, order == "F", data)
    return array


def ordered(*_: Any) -> dict[str, Any]:
    """Stand-in for an ordered dictionary; its items follow."""
    return {}


def reconstruct_object(kind: Any, *_: Any) -> PickledObject:
    if not (isinstance(kind, type) and issubclass(kind, PickledObject)):
        raise BodyModelError("an object in the pickle is of an unknown class.")
    return kind()
