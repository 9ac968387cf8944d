"""Draws, writes and saves images after the model, in threads; the work itself is done in processes.

Each thread has a process of its own, which draws one image at a time at a lower priority than the model; the
results return as bytes and this process writes them, so only one process uses the output folder. If a process
dies, its image is reported as failed, and the process is replaced.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from shared_tmu.demo.batching import Job
from shared_tmu.demo.channels import Channel
from shared_tmu.demo.draw_worker import Drawn, draw
from shared_tmu.demo.saving import Drawer
from shared_tmu.errors import TMUError

NICENESS = 10
"""How much the priority of drawing processes is lowered (nice value): they get about a tenth of each core
while the model uses it, and all of it while the model waits. With a lower priority, images pile up until the
model has to wait; with a higher one, drawing slows the model down.
"""

IMAGES_PER_PROCESS = 16
"""For fewer images, starting a process is not worthwhile: it takes seconds to load."""

MAX_PROCESSES = 8
PIPE_BYTES = 1 << 20
"""Capacity of the pipes to and from a process: images pass in a few large steps."""


def choose_processes(asked: int | None, images: int, draws: bool) -> int:
    """The number of drawing processes.

    Args:
        asked: number that the user asked for; None to decide here.
        images: number of images to process.
        draws: whether anything is drawn.
    """
    if not draws:
        return 0
    if asked is not None:
        return min(asked, images)
    return min(_cores(), MAX_PROCESSES, images // IMAGES_PER_PROCESS)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class DrawingProcess:
    """A process that draws; it starts loading at once.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from shared_tmu.demo.draw_worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pipesize=PIPE_BYTES,
            env={**os.environ, **threads},
            process_group=0,  # so that Ctrl-C reaches this process only, which then ends the other
        )
        if hasattr(os, "setpriority"):
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, os.nice(0) + NICENESS)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def configure(self, drawer: Drawer) -> None:
        """Send what is to be saved of each image, and wait until the process is ready.

        Raises:
            TMUError: the process died.
        """
        if self._ask(drawer) != "ready":
            raise TMUError(
                f"a drawing process did not start ({self._ending()}): its own messages above give the "
                "reason; --draw_processes 0 draws without such processes."
            )

    def draw(self, job: Job) -> Drawn:
        """Make one image's files in the process; if the process dies, the answer says so."""
        answer = self._ask(job)
        if isinstance(answer, Drawn):
            return answer
        return Drawn({}, 0.0, failure=f"the drawing process died ({self._ending()})")

    @property
    def is_alive(self) -> bool:
        """Whether the process can draw more."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Kill the process now; a thread that waits for its answer is told that it died."""
        self._process.kill()

    def clear(self) -> None:
        """End the process, unless a thread waits for it, and free its resources."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()
        self._process.wait()

    def _ask(self, request: object) -> Any:
        """The answer; None if the process died."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        assert pipe_in is not None
        assert pipe_out is not None
        try:
            pickle.dump(request, pipe_in, protocol=5)
            pipe_in.flush()
            return pickle.load(pipe_out)
        except (OSError, EOFError, pickle.UnpicklingError):
            self.clear()
            return None

    def _ending(self) -> str:
        code = self._process.returncode
        if code is None or code >= 0:
            return f"exit status {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"{name}, possibly out of memory" if name == "SIGKILL" else name


class Finisher:
    """Threads that make and save the files of images; a context manager that ends the drawing processes.

    The processes start loading immediately, and stay for the next `running` unless an error ends one.

    Args:
        processes: number of drawing processes; 0 draws in a thread of this process.
    """

    def __init__(self, processes: int) -> None:
        self._saving = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._processes: list[DrawingProcess] = []
        try:
            for _ in range(processes):
                self._processes.append(DrawingProcess())
        except BaseException:
            self._clear()
            raise

    @property
    def pids(self) -> list[int]:
        """The ids of the drawing processes."""
        return [process.pid for process in self._processes]

    @contextmanager
    def running(self, drawer: Drawer, save: Callable[[Job, Drawn], None]) -> Iterator[None]:
        """Accept images inside the `with` block; at its end, drop those that `drain` did not wait for.

        Args:
            drawer: makes the files of an image.
            save: gets a job and its files, in one thread at a time. An error that it raises ends the run.
        """
        self._channel: Channel[Job] = Channel(2 * max(len(self._processes), 1))
        self._is_ending = False
        slots: list[int | None] = [*range(len(self._processes))] or [None]
        for slot in slots:
            thread = threading.Thread(
                target=self._work, args=(drawer, save, slot), name="finish", daemon=True
            )
            self._threads.append(thread)
            thread.start()
        try:
            yield
        finally:
            self._is_ending = True
            self._channel.close()
            if any(thread.is_alive() for thread in self._threads):  # not drained: an error ends the run
                for process in self._processes:
                    process.stop()
            for thread in self._threads:
                thread.join()
            self._threads.clear()

    def put(self, job: Job) -> None:
        """Add an image whose crops are predicted; waits for room.

        Raises:
            Exception: the error that `save` raised for an earlier image.
        """
        self._channel.put(job)

    def drain(self) -> None:
        """Wait until everything is saved.

        Raises:
            Exception: the error that `save` raised.
        """
        self._channel.end()
        for thread in self._threads:
            thread.join()
        for _ in self._channel:  # raises the error of a thread
            pass

    def __enter__(self) -> Finisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._clear()

    def _clear(self) -> None:
        for process in self._processes:
            process.clear()

    def _work(self, drawer: Drawer, save: Callable[[Job, Drawn], None], slot: int | None) -> None:
        try:
            if slot is not None:
                self._start(drawer, slot)
            for job in self._channel:
                drawn = draw(drawer, job) if slot is None else self._draw_in_process(drawer, job, slot)
                if self._is_ending:
                    return
                with self._saving:
                    save(job, drawn)
                del job, drawn  # not kept while waiting for the next
        except BaseException as error:  # raised in the thread that waits
            self._channel.fail(error)

    def _draw_in_process(self, drawer: Drawer, job: Job, slot: int) -> Drawn:
        if not self._processes[slot].is_alive:
            self._start(drawer, slot)
        return self._processes[slot].draw(job)

    def _start(self, drawer: Drawer, slot: int) -> None:
        if not self._processes[slot].is_alive:
            self._processes[slot] = DrawingProcess()
        self._processes[slot].configure(drawer)
