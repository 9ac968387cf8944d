"""The state of `train_on.py`: one JSON file in a folder outside the repository, and a lock on that folder."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from shared_tmu.errors import InputError, TMUError
from shared_tmu.files import write_text
from shared_tmu.training.schema import read_as

STATE, LOCK, STOP, LOG = "state.json", "lock", "stop", "train_on.log"
_log = logging.getLogger("shared_tmu.train_on")
VARIABLE = "TMU_TRAIN_ON"
_WAIT_S = 180.0  # a program that was killed leaves one that still writes its checkpoint


@dataclass(frozen=True)
class Point:
    """An error on held-out scenes after a number of pictures."""

    pictures: int
    error_mm: float


@dataclass(frozen=True)
class Round:
    """A round of training: one run of `train.py`, from weights to better weights.

    Attributes:
        number: its number among all of the model, from 1.
        start_from: weights from which it starts.
        backbone_from: the other hand model's weights, whose trunk it takes; None for its own.
        pictures_before: pictures that the trunk has seen before.
        overrides: everything else on the command line.
        seen: pictures so far.
        seconds: time of training so far.
    """

    number: int
    start_from: Path
    backbone_from: Path | None
    pictures_before: int
    overrides: list[str]
    seen: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class ModelState:
    """One model.

    Attributes:
        shipped: SHA-256 of the repository's weights when it began, or when it was last shipped.
        pictures: pictures that the trunk of its newest weights has seen.
        log: errors of its weights, the first those of the repository.
        rounds: numbers of the finished rounds since it began, or was last shipped.
        last_round: number of the last round that was begun.
        seen: pictures of finished rounds.
        since: how many of them the shipped weights have seen.
        seconds: time of training, open round included.
        open: the round that is not finished.
    """

    shipped: str
    pictures: int
    log: list[Point] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    last_round: int = 0
    seen: int = 0
    since: int = 0
    seconds: float = 0.0
    open: Round | None = None

    @property
    def seen_in_all(self) -> int:
        """Pictures of all rounds, the open one included."""
        return self.seen + (self.open.seen if self.open else 0)


@dataclass(frozen=True)
class Drawing:
    """The scenes that were drawn for one subject.

    Attributes:
        seed: of the first set; a full set is followed by one of the next seed.
        known: seeds that the weights with which everything began have seen.
        scenes: how many were drawn here.
        seconds: time spent on them.
    """

    seed: int
    known: list[int] = field(default_factory=list)
    scenes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class State:
    """Everything that is kept: models by name, drawing by subject."""

    models: dict[str, ModelState]
    drawing: dict[str, Drawing]

    def with_model(self, name: str, model: ModelState) -> State:
        """The state with another entry of a model."""
        return replace(self, models={**self.models, name: model})

    def with_drawing(self, subject: str, drawing: Drawing) -> State:
        """The state with another entry of a subject."""
        return replace(self, drawing={**self.drawing, subject: drawing})


def state_folder(named: Path | None) -> Path:
    """The folder: as named, `$TMU_TRAIN_ON`, or `tmu_train_on` in the user's cache folder."""
    if named is None:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        named = Path(os.environ.get(VARIABLE) or Path(cache) / "tmu_train_on")
    return named.expanduser().resolve()


def read_state(folder: Path) -> State | None:
    """What was kept; None if there is nothing yet.

    Raises:
        InputError: it is damaged.
    """
    path = folder / STATE
    try:
        return read_as(State, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TMUError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): move it away, and training goes on from the shipped weights."
        ) from error


def write_state(folder: Path, state: State) -> None:
    """Keep the state, completely or not at all."""
    write_text(folder / STATE, json.dumps(asdict(state), indent=1, default=str) + "\n")


@contextmanager
def locked(folder: Path, wait_s: float = _WAIT_S, program: str = "train_on.py") -> Iterator[int]:
    """Be the only program that trains in a folder; yields the descriptor of the lock, for child processes.

    Raises:
        InputError: another program does, also after `wait_s`.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline, is_told = time.monotonic() + wait_s, wait_s < 1
        while not _taken(descriptor):
            if time.monotonic() >= deadline:
                raise InputError(
                    f"another {program} trains in {folder}: stop it with `touch {folder / STOP}`."
                )
            if not is_told:
                _log.info("another %s uses %s: waiting for its end, at most %g s", program, folder, wait_s)
                is_told = True
            time.sleep(0.2)
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether a program trains in a folder now; nothing is written there."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _taken(descriptor)
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
