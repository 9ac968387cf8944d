"""`train.py` as a command: every error, including hydra's, becomes one sentence and an exit status."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from shared_tmu.errors import TMUError
from shared_tmu.limits import shown
from shared_tmu.training.stopping import Stopped

_FULL = "HYDRA_FULL_ERROR"  # set to 1, hydra raises its errors instead of printing them over many lines
log = logging.getLogger(__name__)


@contextmanager
def reported() -> Iterator[None]:
    """End the process with one sentence on standard error for users' mistakes and for signals.

    With `HYDRA_FULL_ERROR=1` the traceback is shown too.

    Raises:
        SystemExit: with 1, or for a signal with 128 plus its number.
    """
    wants_traceback = os.environ.get(_FULL) == "1" and _FULL not in _OURS
    if not wants_traceback:
        os.environ[_FULL] = "1"
        _OURS.add(_FULL)
    try:
        yield
    except (Stopped, KeyboardInterrupt) as error:
        name, status = (error.name, error.status) if isinstance(error, Stopped) else ("SIGINT", 130)
        _say(
            f"Stopped by {name}; nothing was exported. Run the same command again to continue from the last "
            "checkpoint."
        )
        sys.exit(status)
    except Exception as error:
        sentence = describe(error)
        if sentence is None or wants_traceback:
            raise
        _say(sentence)
        sys.exit(1)


_OURS: set[str] = set()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def describe(error: Exception) -> str | None:
    """One sentence for an error that is not a fault of the program; None for a fault of the program."""
    if isinstance(error, TMUError):
        return f"{type(error).__name__}: {_of_worker(str(error))}"
    if isinstance(error, HydraException | OmegaConfBaseException | YAMLError | RecursionError):
        return f"ConfigError: {_of_hydra(error)}"
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "TrainingError: there is not enough memory: lower batch_size, or the sizes of the model."
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"OSError: {error.strerror}{where}. Existing checkpoints are complete."
    return None


def _of_worker(text: str) -> str:
    """The error message of a process that reads pictures, without the traceback that torch adds."""
    if "Original Traceback" not in text:
        return text
    last = [line for line in text.strip().splitlines() if line and not line.startswith(" ")][-1]
    return last.partition(": ")[2] or last


def _of_hydra(error: Exception) -> str:
    """The error that hydra or OmegaConf found, in one sentence."""
    if isinstance(error, RecursionError):
        return "the command line or the configuration is nested too deeply to be read."
    if isinstance(error, MissingConfigException):
        there = sorted(path.stem for path in (Path(sys.argv[0]).parent / "configs").glob("[!b]*.yaml"))
        known = f"; use one of {', '.join(there)} with --config-name" if there else ""
        return f"the configuration {error.missing_cfg_file!r} does not exist{known}."
    first = _first_line(error)
    if isinstance(error, OverrideParseException):
        return f"{shown(error.override)!r} cannot be read as a setting ({first}): write it like seed=1."
    if isinstance(error, ConfigCompositionException):
        append = _lines(error).partition("To append to your config use ")[2]
        if append:
            name = append.removeprefix("+").partition("=")[0]
            return f"{name} does not exist in this configuration; if it is not a typing error, add {append}."
        return f"{first} ({_first_line(error.__cause__)})." if error.__cause__ else f"{_lines(error)}."
    key = getattr(error, "full_key", None)
    if isinstance(error, OmegaConfBaseException):
        return f"{key}: {first}." if key and key not in first else f"{first}."
    return f"{_lines(error)}."


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines() or [type(error).__name__]
    return shown(text[0].removesuffix("."), 200)


def _lines(error: BaseException) -> str:
    """The message in one line, without a full stop."""
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return shown(text.removesuffix("."), 300)
