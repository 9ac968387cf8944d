"""Runs one program at a time for a slice of time: at low priority, on one core, and ended with the caller."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LOWEST = 19  # priority; every other program comes first
_POLL_S, _TICK_S = 0.2, 30.0
_PATIENCE_S = 300.0  # for the checkpoint after a step
_ONE_CORE = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


@dataclass(frozen=True)
class Slice:
    """The end of a slice.

    Attributes:
        status: exit status of the program, negative for a signal.
        seconds: how long it ran.
        is_ended: whether it was asked to end, because its time was over or everything is to stop.
    """

    status: int
    seconds: float
    is_ended: bool


def run_slice(
    command: Sequence[str],
    folder: Path,
    log: Path,
    is_over: Callable[[float], bool],
    tick: Callable[[float], None],
    held: Sequence[int] = (),
) -> Slice:
    """Run a program until it ends or is to be ended; its output is appended to a log.

    Args:
        command: the program.
        folder: in which it runs.
        log: the file.
        is_over: whether to end it now, after so many seconds: with SIGTERM, after which it may write a
            checkpoint.
        tick: called now and then with the seconds since its last call.
        held: descriptors that the program inherits.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    began = told = time.monotonic()
    with log.open("ab") as output:
        program = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **dict.fromkeys(_ONE_CORE, "1")},
            pass_fds=held,
            start_new_session=True,  # Ctrl-C is for the caller, which then ends this program
            preexec_fn=_humble,
        )
        is_ended = False
        try:
            while program.poll() is None:
                now = time.monotonic()
                if is_over(now - began):
                    is_ended = True
                    break
                if now - told >= _TICK_S:
                    tick(now - told)
                    told = now
                time.sleep(_POLL_S)
        finally:
            _end(program)
    ended = time.monotonic()
    tick(ended - told)
    return Slice(int(program.returncode), ended - began, is_ended)


def _end(program: subprocess.Popen[bytes]) -> None:
    """Ask a program to end, and wait until it has; without an answer it is killed."""
    if program.poll() is None:
        program.terminate()
        try:
            program.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            program.kill()
    program.wait()


def _humble() -> None:
    """Take the lowest priority; on Linux, end like after SIGTERM when the caller ends in any way."""
    os.setpriority(os.PRIO_PROCESS, 0, LOWEST)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGTERM)
