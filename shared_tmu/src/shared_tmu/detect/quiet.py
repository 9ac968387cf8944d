"""Discards what native code writes to stderr, which logging settings do not affect.

stderr belongs to the whole process, so blocks of several threads are counted: the last one to leave restores
it. Python's own messages, of any thread, still go where they went before.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STDERR = 2


@contextmanager
def quiet_native_stderr() -> Iterator[None]:
    """Discard output of native code to stderr inside the `with` block."""
    _silence.enter()
    try:
        yield
    finally:
        _silence.leave()


class _Silence:
    """Where descriptor 2 leads, and how many `with` blocks want it to lead nowhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._is_silent = False
        self._kept: int | None = None  # never closed: a thread may still be writing to it
        self._moved: list[io.FileIO] = []

    def enter(self) -> None:
        with self._lock:
            self._blocks += 1
            if self._blocks == 1:
                with suppress(OSError):  # the descriptor is closed: there is nothing to discard
                    self._begin()

    def leave(self) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks == 0 and self._is_silent:
                self._end()

    def _begin(self) -> None:
        if self._kept is None:
            self._kept = os.dup(_STDERR)
        else:
            os.dup2(_STDERR, self._kept, inheritable=False)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        self._moved = _python_files()
        for file in self._moved:
            _lead(file, self._kept)
        os.dup2(nowhere, _STDERR)
        os.close(nowhere)
        self._is_silent = True

    def _end(self) -> None:
        assert self._kept is not None
        os.dup2(self._kept, _STDERR)
        for file in self._moved:
            if not file.closed:
                _lead(file, _STDERR)
        self._is_silent, self._moved = False, []


def _python_files() -> list[io.FileIO]:
    """The files below Python's own stderr that write to descriptor 2; what waits in buffers is written."""
    found: list[io.FileIO] = []
    for stream in (sys.stderr, sys.__stderr__):
        if stream is None:
            continue
        with suppress(OSError, ValueError):
            stream.flush()
        buffer = getattr(stream, "buffer", None)
        file = getattr(buffer, "raw", buffer)  # an unbuffered stream has the file in place of a buffer
        # where closing is the file's own business, leading it elsewhere would close the descriptor
        if isinstance(file, io.FileIO) and not file.closed and not file.closefd and file.fileno() == _STDERR:
            found.append(file)
    return found


def _lead(file: io.FileIO, descriptor: int) -> None:
    """Let a file write elsewhere; whatever holds it, such as a handler of `logging`, follows."""
    name = file.name
    io.FileIO.__init__(file, descriptor, "w", closefd=False)
    file.name = name


_silence = _Silence()
