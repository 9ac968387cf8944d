"""Files of what methods have learned: which one a program reads, and `--r learned`, the schedule in it."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shared_tmu.errors import CheckpointError, InputError, ScheduleError
from shared_tmu.files.checkpoints import beside
from shared_tmu.method_parts.learned import LearnedFacts
from shared_tmu.methods import find_method
from shared_tmu.schedule import Schedule

UNTRAINED = Path("none")
AS_LEARNED = "learned"
_TRAIN = "python train.py --config-name learned method="
_log = logging.getLogger(__name__)


def add_learned_flag(add: Callable[..., argparse.Action], named_path: Callable[[str], Path]) -> None:
    """Add `--learned`; `add` is a parser's `add_argument`."""
    about = "trained parts of a method that learns, a file of train.py --config-name learned"
    default = "default: the one beside the weights; none: untrained"
    add("--learned", type=named_path, metavar="FILE", help=f"{about}; {default}")


def learned_name(checkpoint: Path, method: str) -> str:
    """The name under which the learned parts for a checkpoint are looked for, beside it."""
    return beside(checkpoint, f".{find_method(method).name.partition(':')[0]}.safetensors").name


def choose_learned(
    given: Path | None, methods: Sequence[str], checkpoint: Path | None
) -> dict[str, Path | None]:
    """The file of every method; None for methods that learn nothing, or that run untrained.

    Args:
        given: value of `--learned`.
        methods: rows of the table.
        checkpoint: weights beside which files are looked for; None looks nowhere.

    Raises:
        InputError: a method learns and there is no file, a file is given and not exactly one method learns,
            or the file does not exist.
    """
    learning = sorted({name for name in methods if find_method(name).learn is not None})
    files: dict[str, Path | None] = dict.fromkeys(methods)
    if given is not None and given != UNTRAINED:
        files[_only(learning, methods)] = _existing(given)
    elif given is None and checkpoint is not None:
        beside = {name: checkpoint.with_name(learned_name(checkpoint, name)) for name in learning}
        files |= {name: path for name, path in beside.items() if path.is_file()}
    for name in learning:
        if files[name] is None and not find_method(name).runs_untrained:
            raise InputError(
                f"method {name!r} has learned parts, and no file with them was given: train them, save "
                "them with handle.save_learned, and pass --learned FILE."
            )
        _log.info("%s: %s", name, _tell(name, files[name], given, checkpoint))
    return files


def _tell(method: str, file: Path | None, given: Path | None, checkpoint: Path | None) -> str:
    """What a method that learns runs with, and if that is nothing, why and how to change it."""
    if file is not None:
        return f"learned parts of {file}"
    if given is not None or checkpoint is None:
        return "untrained"
    return (
        f"untrained, since there is no {learned_name(checkpoint, method)} beside the weights: make one with "
        f"{_TRAIN}{method} (for weights of your own with checkpoint=FILE), and pass --learned FILE"
    )


def _only(learning: Sequence[str], methods: Sequence[str]) -> str:
    """The one method that a given file is for."""
    if len(learning) != 1:
        found = f"{', '.join(learning)} all learn" if learning else f"{', '.join(methods)} has none"
        raise InputError(
            f"--learned names the learned parts of one method, but {found}: choose exactly one --method "
            "that learns."
        )
    return learning[0]


def _existing(given: Path) -> Path:
    if not given.is_file():
        raise InputError(
            f"--learned {given} does not exist, or is not a file: name a file written by "
            "handle.save_learned, or none."
        )
    return given


def read_schedule(text: str, method: str, learned: Path | None) -> Schedule:
    """A schedule as users type it; `learned` is the one in the method's file.

    Raises:
        ScheduleError: it cannot be read.
        InputError: `learned`, but the method has no file, or nothing about schedules in it; or counts, but it
            takes thresholds.
    """
    if text.strip().lower() != AS_LEARNED:
        found = Schedule.parse(text)
        _require_thresholds(found, method, learned)
        return found
    asked = f"--r {AS_LEARNED} takes the schedule that a method has learned"
    if find_method(method).learn is None:
        raise InputError(f"{asked}, but {method!r} learns nothing: use a schedule such as 5x20.")
    if learned is None:
        raise InputError(
            f"{asked}, but {method!r} runs untrained here: train it with {_TRAIN}{method} (for weights of "
            "your own with checkpoint=FILE), and pass --learned FILE."
        )
    facts = LearnedFacts.read(learned)
    if not facts.schedule:
        raise InputError(
            f"{asked}, but {method!r} learns something else: use a schedule such as 10x16 with "
            f"{learned.name}."
        )
    try:
        return Schedule.parse(facts.schedule)
    except ScheduleError as error:
        raise CheckpointError(f"{learned} is damaged: its schedule cannot be read ({error}).") from error


def _require_thresholds(schedule: Schedule, method: str, learned: Path | None) -> None:
    """Refuse counts for a method that takes thresholds, and name those that it has."""
    if find_method(method).reads != "thresholds" or schedule.reads_thresholds or schedule.is_off:
        return
    known = f"{AS_LEARNED} (the thresholds in {learned.name}), or " if learned else ""
    raise InputError(
        f"--r {schedule} gives counts, but with method {method!r} they follow from thresholds: use --r "
        f"{known}thresholds such as threshold:0.9."
    )


def read_schedules(texts: Sequence[str], files: Mapping[str, Path | None]) -> dict[str, list[Schedule]]:
    """The schedules of every method, see `read_schedule`."""
    return {name: [read_schedule(text, name, path) for text in texts] for name, path in files.items()}
