"""Draws the shards of all stages during training, in the order in which they are needed."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared_tmu.errors import InputError
from shared_tmu.limits import Limit, check_limits
from shared_tmu.synth import shards
from shared_tmu.synth.pool import DrawingPool
from shared_tmu.synth.scene import Difficulty
from shared_tmu.synth.shards import Kind, is_there, make_shards, shard_folder, write_shard

LARGEST_SEED = 2**32 - 1
_LIMITS = {"seed": Limit(0, LARGEST_SEED), "count": Limit(1, 10**7, unit="pictures")}
log = logging.getLogger(__name__)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Scenes:
    """A set of pictures: `count` scenes with one seed and difficulty."""

    seed: int
    count: int
    difficulty: Difficulty = field(default_factory=Difficulty)

    def __post_init__(self) -> None:
        check_limits(self, _LIMITS)


class ShardDrawer:
    """Draws the missing pictures of several sets, one after the other.

    Args:
        cache: folder of all sets.
        kind: kind of pictures.
        groups: groups of sets that are needed together, in the order of use.
        processes: number of processes that draw beside the caller; 1 draws in the caller instead, which then
            waits.
    """

    def __init__(self, cache: Path, kind: Kind, groups: Sequence[Sequence[Scenes]], processes: int) -> None:
        self.cache, self.kind, self.groups, self.processes = cache, kind, tuple(groups), processes
        self._pool: DrawingPool | None = None
        self._jobs: list[Future[Any]] = []
        self._there: dict[Path, int] = {}  # number of shards without a gap, by folder

    def start(self, *, beside_training: bool = False) -> None:
        """Start drawing, unless it has started, nothing is missing, or the caller draws.

        Args:
            beside_training: whether training begins before all pictures are there; with one process the
                caller draws otherwise.
        """
        if self._pool is not None or (self.processes <= 1 and not beside_training):
            return
        missing = {
            (folder, number): (folder, one.seed, number, one.difficulty, self.kind)
            for group in self.groups
            for one, number in _side_by_side(group)
            for folder in [self._folder(one)]
            if not is_there(folder / f"{number:05d}.npz")
        }
        if missing:
            log.info("drawing %d pictures with %d processes", len(missing) * shards.SHARD, self.processes)
            self._pool = DrawingPool(self.processes, self.cache)
            self._jobs = [self._pool.executor.submit(write_shard, *job) for job in missing.values()]

    def available(self, wanted: Scenes) -> int:
        """The number of pictures of a set that exist, from the first on without a gap.

        Raises:
            MissingDependencyError: embreex, which is needed for drawing, is not installed.
            InputError: a drawing process was killed.
        """
        self._raise_errors()
        folder = self._folder(wanted)
        number = self._there.get(folder, 0)
        while number * shards.SHARD < wanted.count and (folder / f"{number:05d}.npz").exists():
            number += 1
        self._there[folder] = number
        return min(number * shards.SHARD, wanted.count)

    def wait(self, wanted: Scenes, count: int, is_late: Callable[[], bool] = lambda: False) -> int:
        """Wait until `count` pictures of a set exist, or some exist and it is late; returns how many
        exist.
        """
        if self.processes <= 1 and self._pool is None:
            for _ in make_shards(self.cache, wanted.seed, count, wanted.difficulty, 1, self.kind):
                if is_late():
                    break
        while True:
            found = self.available(wanted)
            if found >= min(count, wanted.count) or (found and is_late()):
                return found
            time.sleep(0.2)

    def close(self) -> None:
        """Stop drawing; a later run draws the rest."""
        if self._pool is not None:
            self._pool.close()
            self._pool, self._jobs = None, []

    def _folder(self, one: Scenes) -> Path:
        return shard_folder(self.cache, one.seed, one.difficulty, self.kind)

    def _raise_errors(self) -> None:
        for job in [job for job in self._jobs if job.done()]:
            try:
                job.result()
            except BrokenProcessPool as error:
                fewer = self.processes // 2 or 1
                raise InputError(
                    "a process that draws pictures was killed, probably because memory ran out: run the "
                    f"same command again to continue; setting.draw_processes={fewer} needs less memory."
                ) from error
            self._jobs.remove(job)


def _side_by_side(group: Sequence[Scenes]) -> list[tuple[Scenes, int]]:
    """Sets with shard numbers, in an order in which all sets grow at the same time."""
    numbered = [(one, n) for one in group for n in range(-(-one.count // shards.SHARD))]
    return sorted(numbered, key=lambda entry: entry[1] * shards.SHARD / entry[0].count)
