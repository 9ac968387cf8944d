"""Processes that draw in the background, and end when the process that started them ends for any reason."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path

NICENESS = 10  # training and other programs have priority


class DrawingPool:
    """A `ProcessPoolExecutor` for drawing.

    Args:
        processes: how many.
        cache: folder of all sets, from which a process that is ended takes its half-written file.
    """

    def __init__(self, processes: int, cache: Path) -> None:
        context = get_context("spawn")
        reader, self._writer = context.Pipe(duplex=False)
        self.executor = ProcessPoolExecutor(
            processes, mp_context=context, initializer=_begin, initargs=(reader, cache)
        )

    def close(self) -> None:
        """End all processes immediately; unfinished pictures are drawn again next time."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        self._writer.send_bytes(b".")
        self._writer.close()


def _begin(reader: Connection, cache: Path) -> None:
    """Prepare a process for drawing."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which then ends this process
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    threading.Thread(target=_end_with, args=(reader, cache), daemon=True).start()


def _end_with(reader: Connection, cache: Path) -> None:
    """Wait until something is in the pipe, which stays there for the others, or its writer is gone."""
    wait([reader])
    for half in cache.glob(f"*/.*.{os.getpid()}.part.npz"):
        half.unlink(missing_ok=True)
    os._exit(0)
