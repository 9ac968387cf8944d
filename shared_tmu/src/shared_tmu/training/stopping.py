"""Handles SIGTERM, SIGINT and SIGHUP: training writes a checkpoint and ends with an exit status."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

TOGETHER = 20  # steps after which several devices agree on whether to stop
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))


def ignore_signals(_: int) -> None:
    """Let a process that loads pictures ignore what asks training to stop, as `worker_init_fn`.

    `timeout`, shells and clusters signal all processes of a job. The loading ones end with training; if one
    ended before, training could not complete its step.
    """
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Stopped(BaseException):
    """Training was asked to stop. Not derived from `Exception`, so that it is not handled as an error.

    Args:
        signum: number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    @property
    def name(self) -> str:
        """Name of the signal."""
        return signal.Signals(self.signum).name

    @property
    def status(self) -> int:
        """Exit status that shells give for a program that a signal has ended."""
        return 128 + self.signum


class Stop:
    """Inside the `with` block, a signal raises `Stopped`: at once, or, if training `waits`, after the step.

    A second signal does not wait. Signals that were ignored before, as with `nohup`, are still ignored.
    Processes forked from this one ignore signals and end with it.
    """

    def __init__(self) -> None:
        self.waits = False
        self.asked: int | None = None
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> Self:
        self.install()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def install(self) -> None:
        """Install the signal handlers, again if other code has replaced them meanwhile."""
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may install handlers
        for number in _SIGNALS:
            now = signal.getsignal(number)
            if now is not signal.SIG_IGN and now != self._take:
                self._before.setdefault(number, now)
                signal.signal(number, self._take)

    def _take(self, signum: int, _: FrameType | None) -> None:
        if os.getpid() != self._process:
            return
        is_first, self.asked = self.asked is None, signum
        if not (self.waits and is_first):
            self.end()

    def agreed(self, trainer: Any) -> bool:
        """Whether to stop after this step; the answer is the same on all devices."""
        if trainer.world_size == 1:
            return self.asked is not None
        if trainer.global_step % TOGETHER:
            return False
        agreed = bool(trainer.strategy.reduce_boolean_decision(self.asked is not None, all=False))
        if agreed and self.asked is None:
            self.asked = signal.SIGTERM
        return agreed

    def end(self) -> None:
        """Raise `Stopped`."""
        assert self.asked is not None
        self.waits = False
        raise Stopped(self.asked)
