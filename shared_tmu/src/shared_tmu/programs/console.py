"""Start and end of every program: errors become one sentence, and the standard streams may be closed, on a
full disk, or a pipe whose reader has ended.

A message that cannot be written never stops the work: such output is dropped, and this is reported once on
stderr if possible. If output was lost by an error (a full disk), the exit status is 1; a stream that the user
closed, or a reader that stopped reading, does not change it.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from shared_tmu.errors import TMUError

_log = logging.getLogger(__name__)


def run_program(work: Callable[[], int | None], interrupted: Callable[[], str] | str = "Interrupted.") -> int:
    """Run a program's work and return its exit status.

    Args:
        work: the program; returns its exit status, None for 0.
        interrupted: the message to show after Ctrl-C.

    Raises:
        SystemExit: `work` ended itself, for example because of `--help` or a wrong command line.
    """
    with _guarded_streams() as output:
        logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
        logging.getLogger("shared_tmu").setLevel(logging.INFO)
        try:
            status = work() or 0
        except TMUError as error:
            _log.error("%s: %s", type(error).__name__, error)
            status = 1
        except OSError as error:  # of a full disk, a folder of somebody else: the system's own words
            where = f"{error.filename}: " if error.filename else ""
            _log.error("%s: %s%s", type(error).__name__, where, error.strerror or error)
            _log.debug("where it came from", exc_info=True)
            status = 1
        except KeyboardInterrupt:
            _log.error("%s", interrupted if isinstance(interrupted, str) else interrupted())
            status = 130
        except SystemExit as end:
            if not end.code and output.settle():
                raise SystemExit(1) from end
            raise
        return status or int(output.settle())


class GuardedStream:
    """A standard stream whose failures never stop the work.

    Args:
        stream: where to write; None if it was closed before the program began.
        descriptor: its number, 1 or 2.
    """

    def __init__(self, stream: TextIO | None, descriptor: int) -> None:
        self._descriptor = descriptor
        self._stream, self._is_unbuffered = _whole(stream)
        self._error: Exception | None = None if stream else OSError(errno.EBADF, "it is closed")
        self._is_missed = False

    def write(self, text: str) -> int:
        """Write text; characters that the encoding does not have are written as escape sequences."""
        fitting = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        self._try(lambda stream: stream.write(fitting))
        if self._is_unbuffered:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        if self._error is None:
            self._try(lambda stream: stream.flush())

    def settle(self) -> bool:
        """Report once if something could not be written; returns whether this was an error of the system."""
        self.flush()
        if not self._is_missed or self._error is None:
            return False
        self._is_missed = False
        number = getattr(self._error, "errno", None)
        reason = getattr(self._error, "strerror", None) or str(self._error)
        _log.warning("Standard output cannot be written to (%s): the rest of it was dropped.", reason)
        return number not in (errno.EPIPE, errno.EBADF)

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        with suppress(ValueError, OSError):
            return self._error is None and self._stream is not None and self._stream.isatty()
        return False

    @property
    def encoding(self) -> str:
        """The stream's encoding."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:
        """Everything else is delegated to the stream."""
        return getattr(self._stream, name)

    def _try(self, action: Callable[[TextIO], object]) -> None:
        if self._error is not None or self._stream is None:
            self._is_missed = True
            return
        try:
            action(self._stream)
        except (OSError, ValueError) as error:
            self._error, self._is_missed = error, True
            self._drop_what_waits()

    def _drop_what_waits(self) -> None:
        """Discard the stream's remaining buffer, so that nothing fails when the interpreter ends."""
        with suppress(OSError, ValueError):
            if self._stream is not None and self._stream.fileno() == self._descriptor:
                _lead_nowhere(self._descriptor)
                self._stream.flush()


def _whole(stream: TextIO | None) -> tuple[TextIO | None, bool]:
    """A stream that writes all of a text or fails, and whether it has to be flushed after each one.

    Python's own unbuffered streams (`python -u`, PYTHONUNBUFFERED) ignore that the system may write only a
    part, as it does when the disk becomes full or the reader ends: the rest would be lost without an error.
    """
    if not isinstance(getattr(stream, "buffer", None), io.RawIOBase):
        return stream, False
    unbuffered = cast(TextIO, stream)
    encoding, errors = unbuffered.encoding, unbuffered.errors
    return open(unbuffered.fileno(), "w", encoding=encoding, errors=errors, closefd=False), True


@contextmanager
def _guarded_streams() -> Iterator[GuardedStream]:
    """Guard both streams inside the `with` block; yields the one for stdout."""
    if isinstance(sys.stdout, GuardedStream):  # inside a program that runs another one
        yield sys.stdout
        return
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file to be opened would get this descriptor, and the messages
            _lead_nowhere(descriptor)
    before = sys.stdout, sys.stderr
    output, errors = GuardedStream(before[0], 1), GuardedStream(before[1], 2)
    sys.stdout, sys.stderr = cast(TextIO, output), cast(TextIO, errors)
    try:
        yield output
    finally:
        output.flush()
        errors.flush()
        sys.stdout, sys.stderr = before


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == descriptor:
        os.set_inheritable(descriptor, True)
        return
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
