"""Reads a pickle without building, calling or allocating anything that it requests.

This is Python's own unpickler written in Python (the one in C cannot be limited). Every step is replaced that
could run code, reserve more memory than the file has bytes, or take forever: a length in a pickle is checked
against the file, a name becomes a passive placeholder, and keys must be plain values, because hashing deeply
nested tuples may never end.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

from shared_tmu.files.regular import shortened

PICKLE_ERRORS = (
    pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError, MemoryError, ValueError,
    TypeError, OverflowError, RecursionError, NotImplementedError, AssertionError,
)  # fmt: skip
"""Errors that an unpickler can raise for a damaged pickle."""

MAX_STEPS = 1_000_000
"""Limit of steps for one pickle: one or two seconds. A whole model with its optimizer takes some hundred
thousand.
"""

_PLAIN_KEYS = (str, bytes, int, float, bool, type(None))


class BoundedFile:
    """A file that refuses to read more than it has, before memory is allocated.

    Args:
        file: open for reading, at its beginning.
        size: its bytes.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def read(self, count: int = -1) -> bytes:
        """`count` bytes.

        Raises:
            EOFError: there are fewer.
        """
        if count < 0 or count > self._left:
            raise EOFError(f"it should have {count} more bytes, but has {self._left}")
        self._left -= count
        return self._file.read(count)

    def readinto(self, buffer: bytearray) -> int:
        """Fill `buffer`."""
        buffer[:] = self.read(len(buffer))
        return len(buffer)

    def readline(self) -> bytes:
        """The rest of a line."""
        line = self._file.readline()
        self._left -= len(line)
        return line


class Passive:
    """Placeholder for anything that a pickle names, and for anything that it would build from it."""

    name: ClassVar[str] = ""

    def __new__(cls, *_: Any, **__: Any) -> Passive:
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


class _Counted(dict[int, Callable[[Any], None]]):
    """The table of an unpickler's steps, which allows at most `MAX_STEPS` look-ups."""

    left = MAX_STEPS

    def __getitem__(self, opcode: int) -> Callable[[Any], None]:
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError(f"it takes more than {MAX_STEPS:,} steps")
        if opcode not in self:
            raise pickle.UnpicklingError(f"byte {opcode:#04x} is not a step of a pickle")
        return super().__getitem__(opcode)


# typed in typeshed, and the base class of torch's and other unpicklers
class LimitedUnpickler(pickle._Unpickler):
    """Unpickles plain values; `find_class` of a subclass decides what replaces names.

    Dictionaries whose keys are not plain are refused, sets are left out, and state is given only to objects
    of the classes in `takes_state`.
    """

    takes_state: ClassVar[tuple[type, ...]] = ()
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: Any) -> None:
        super().__init__(file, encoding="latin1")
        self.dispatch = _Counted(type(self).dispatch)  # type: ignore[misc]

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        raise pickle.UnpicklingError(f"it refers to {shortened(f'{module_name}.{global_name}')}")

    def called(self, function: Any) -> None:
        """Called before `function` is called with values of the pickle."""

    def put(self, target: Any, key: Any, value: Any) -> None:
        if isinstance(target, Passive):
            return
        plain = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(part, _PLAIN_KEYS) for part in plain):
            raise pickle.UnpicklingError(f"a dictionary has a {type(key).__name__} as a key")
        if not isinstance(target, dict):
            raise pickle.UnpicklingError(f"items are put into a {type(target).__name__}")
        target[key] = value


def _step(opcode: bytes) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    def register(function: Callable[[Any], None]) -> Callable[[Any], None]:
        LimitedUnpickler.dispatch[opcode[0]] = function
        return function

    return register


@_step(pickle.SETITEM)
def _set_item(self: Any) -> None:
    value, key = self.stack.pop(), self.stack.pop()
    self.put(self.stack[-1], key, value)


@_step(pickle.SETITEMS)
def _set_items(self: Any) -> None:
    items = self.pop_mark()
    for key, value in zip(items[::2], items[1::2], strict=True):
        self.put(self.stack[-1], key, value)


@_step(pickle.DICT)
def _make_dict(self: Any) -> None:
    items, made = self.pop_mark(), {}  # type: ignore[var-annotated]
    for key, value in zip(items[::2], items[1::2], strict=True):
        self.put(made, key, value)
    self.append(made)


@_step(pickle.EMPTY_SET)
def _make_set(self: Any) -> None:
    self.append(Passive())


@_step(pickle.FROZENSET)
def _make_frozenset(self: Any) -> None:
    self.pop_mark()
    self.append(Passive())


@_step(pickle.ADDITEMS)
def _add_items(self: Any) -> None:
    self.pop_mark()


@_step(pickle.APPEND)
def _append(self: Any) -> None:
    value = self.stack.pop()
    if isinstance(self.stack[-1], list):
        self.stack[-1].append(value)


@_step(pickle.APPENDS)
def _extend(self: Any) -> None:
    values = self.pop_mark()
    if isinstance(self.stack[-1], list):
        self.stack[-1].extend(values)


@_step(pickle.REDUCE)
def _call(self: Any) -> None:
    arguments, function = self.stack.pop(), self.stack.pop()
    _make(self, function, arguments)


@_step(pickle.NEWOBJ)
def _new(self: Any) -> None:
    arguments, kind = self.stack.pop(), self.stack.pop()
    _make(self, kind, arguments)


@_step(pickle.NEWOBJ_EX)
def _new_with_names(self: Any) -> None:
    _, arguments, kind = self.stack.pop(), self.stack.pop(), self.stack.pop()
    _make(self, kind, arguments)


@_step(pickle.INST)
def _instance(self: Any) -> None:
    module_name = self.readline()[:-1].decode("ascii")
    name = self.readline()[:-1].decode("ascii")
    arguments = self.pop_mark()
    _make(self, self.find_class(module_name, name), tuple(arguments))


@_step(pickle.OBJ)
def _object(self: Any) -> None:
    kind, *arguments = self.pop_mark()
    _make(self, kind, tuple(arguments))


def _make(self: Any, function: Any, arguments: Any) -> None:
    if not isinstance(arguments, tuple):
        raise pickle.UnpicklingError(f"arguments are a {type(arguments).__name__}")
    if isinstance(function, Passive):
        self.append(function)  # the return value of a placeholder
        return
    if not callable(function):
        raise pickle.UnpicklingError(f"a {type(function).__name__} is called")
    self.called(function)
    self.append(function(*arguments))


@_step(pickle.BUILD)
def _give_state(self: Any) -> None:
    state = self.stack.pop()
    if isinstance(self.stack[-1], self.takes_state):
        self.stack[-1].__setstate__(state)


@_step(pickle.BYTEARRAY8)
def _bytearray(self: Any) -> None:
    self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))


def _refuse(self: Any) -> None:
    raise pickle.UnpicklingError("it refers to something outside the file")


for _opcode in (pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER):
    _step(_opcode)(_refuse)


class NameScanner(LimitedUnpickler):
    """Finds the names in a pickle: those to which it refers, and those that it would call.

    Attributes:
        names: `module.name` of everything, in order.
        calls: names that would be called or instantiated.
    """

    def __init__(self, file: Any) -> None:
        super().__init__(file)
        self.names: dict[str, None] = {}
        self.calls: dict[str, None] = {}
        self._stand_ins: dict[str, type[Passive]] = {}

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = f"{module_name}.{global_name}".replace("__builtin__.", "builtins.")
        self.names[name] = None
        if name not in self._stand_ins:
            self._stand_ins[name] = type("Named", (Passive,), {"name": name})
        return self._stand_ins[name]

    def persistent_load(self, _: Any) -> Any:
        return Passive()

    def called(self, function: Any) -> None:
        if isinstance(function, type) and issubclass(function, Passive):
            self.calls[function.name] = None
