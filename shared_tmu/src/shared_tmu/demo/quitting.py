"""Ends a run that would never end by itself: at `q` in its terminal, Ctrl-C, or a signal to end.

The first of them only says that it should end: frames in process are finished and files completed. A second
Ctrl-C interrupts at once.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any

QUIT = b"qQ"

_log = logging.getLogger(__name__)


@contextmanager
def quitting(stop: Callable[[], None]) -> Iterator[None]:
    """Inside the `with` block, call `stop` at the first such wish; it may be called several times."""
    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            stack.enter_context(_signals(stop))
        if sys.stdin is not None and sys.stdin.isatty():
            stack.enter_context(_keys(stop))
        yield


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    def handle(number: int, frame: FrameType | None) -> None:
        stop()
        for one, old in before.items():  # a second one has its usual effect
            signal.signal(one, old)
        _log.info("Ending after the frames in process; Ctrl-C again drops everything.")

    before: dict[int, Any] = {}
    for one in (signal.SIGINT, signal.SIGTERM):
        before[one] = signal.getsignal(one) or signal.SIG_DFL
        signal.signal(one, handle)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def _keys(stop: Callable[[], None]) -> Iterator[None]:
    """Read keys as they are pressed, where terminals can do that."""
    try:
        import termios
        import tty
    except ImportError:
        yield
        return
    descriptor, ended = sys.stdin.fileno(), threading.Event()
    before = termios.tcgetattr(descriptor)

    def watch() -> None:
        with suppress(OSError, ValueError):  # the terminal is gone
            while not ended.is_set():
                if select.select([descriptor], [], [], 0.2)[0] and (key := os.read(descriptor, 1)) in QUIT:
                    if key:
                        _log.info("Ending after the frames in process.")
                        stop()
                    return

    thread = threading.Thread(target=watch, name="keys", daemon=True)
    tty.setcbreak(descriptor)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
