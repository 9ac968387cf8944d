"""A process that makes the result files of images; `drawing` starts it and calls `main`.

It reads pickles from stdin - a `Drawer`, then one `Job` after another, perhaps another `Drawer` - and writes
an answer to each on stdout. It ends when stdin is closed, so it never outlives the run that started it, even
if that is killed.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from shared_tmu.demo.batching import Job
from shared_tmu.demo.saving import Drawer
from shared_tmu.errors import TMUError


@dataclass(frozen=True)
class Drawn:
    """The answer to one job.

    Attributes:
        files: contents by name; empty after an error.
        seconds: time that the job took.
        error: one of our own errors, to be raised again.
        failure: description of any other error.
    """

    files: dict[str, bytes]
    seconds: float
    error: TMUError | None = None
    failure: str = ""


def draw(drawer: Drawer, job: Job) -> Drawn:
    """Make one image's files; nothing is raised."""
    started = time.perf_counter()
    try:
        return Drawn(drawer.files(job), time.perf_counter() - started)
    except TMUError as error:
        return Drawn({}, time.perf_counter() - started, error=error)
    except Exception as error:  # one image must not stop the rest; it is listed as a failure
        failure = f"drawing failed ({type(error).__name__}: {error})"
        return Drawn({}, time.perf_counter() - started, failure=failure)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    drawer: Drawer | None = None
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        if isinstance(request, Drawer):
            drawer = request
            _answer(answers, "ready")
        else:
            assert drawer is not None
            _answer(answers, draw(drawer, request))


def _answer(answers: BinaryIO, content: object) -> None:
    pickle.dump(content, answers, protocol=5)
    answers.flush()


def main() -> None:
    """Serve on stdin and stdout; output of libraries goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with suppress(BrokenPipeError, EOFError):  # the run that sent the request has ended
        serve(sys.stdin.buffer, answers)
