"""Parsing of flags that several command lines share."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from shared_tmu.errors import InputError, nearest
from shared_tmu.files import shortened
from shared_tmu.method_parts.restores import COPY, RESTORES, find_restore
from shared_tmu.methods import METHODS
from shared_tmu.trunk import Protect

DEVICE_HELP = "auto, cpu, cuda, cuda:1, ..."
CONFIG_HELP = (
    "the checkpoint's model_config.yaml, or a configuration in our layout, if it is not beside the checkpoint"
)
MAX_BATCH = 4096
"""Largest number of images per model call: with more, a program would run out of memory on any device."""

_DEVICE = re.compile(r"cpu|cuda(?::(\d{1,3}))?", re.ASCII)


class FlagParser(argparse.ArgumentParser):
    """A parser whose message on flags that it does not know names similar ones.

    Args:
        for_files: by which flags files and folders are given, told where one is given without a flag.
        **options: of `ArgumentParser`.
    """

    def __init__(self, *, for_files: str = "", **options: Any) -> None:
        super().__init__(**options)
        self._for_files = for_files

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """As of `ArgumentParser`."""
        found: argparse.Namespace
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            hints = [hint for word in unknown if (hint := self._hint(word))]
            self.error(" ".join(["unrecognized arguments:", *unknown, *hints[:1]]))
        return found

    def _hint(self, word: str) -> str:
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        if word.startswith("-"):
            near = nearest(word.partition("=")[0], flags)
            return f"(did you mean {near}?)" if near else ""
        if self._for_files and (Path(word).is_dir() or Path(word).is_file()):
            return f"({self._for_files})"
        return ""


def choose_device(name: str) -> torch.device:
    """The device that `--device` names; `auto` is the first CUDA device if there is one, else the CPU.

    Raises:
        InputError: there is no such device here, or merging does not support it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = _DEVICE.fullmatch(name)
    if found is None:
        raise InputError(
            f"--device {shortened(name, 40)} cannot be used here (it is not supported): use cpu, cuda, a "
            "numbered one such as cuda:1, or auto."
        )
    if name == "cpu":
        return torch.device(name)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count <= int(found[1] or 0):
        have = f"there are {count}, from cuda:0 on" if count else "torch finds no CUDA device"
        raise InputError(f"--device {name} cannot be used here ({have}): try --device cpu.")
    device = torch.device(name)
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"--device {name} cannot be used here ({reason}): try --device cpu.") from error
    return device


def named_path(text: str) -> Path:
    """A path; an empty text is refused, because it would mean the current folder (a shell variable may be
    unset).
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: name a file or folder (. for the current one)")
    return Path(text)


def images_per_call(text: str) -> int:
    """A whole number of images per model call."""
    value = positive(text)
    if value > MAX_BATCH:
        raise argparse.ArgumentTypeError(f"must be at most {MAX_BATCH} images per call, not {value}")
    return value


def choose_protection(text: str) -> Protect:
    """Which end of the sequence is protected from merging.

    Raises:
        InputError: neither `first` nor `last`.
    """
    if text in ("first", "last"):
        return "first" if text == "first" else "last"
    raise InputError(f"--protect {text!r} is not known: use first, or last to reproduce published TMU.")


def split_list(flag: str, text: str) -> list[str]:
    """The items of a comma-separated list.

    Raises:
        InputError: the list is empty.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise InputError(f"{flag} is empty: name at least one value; separate several by commas.")
    return parts


def natural(text: str) -> int:
    """A whole number of at least 0: a `type` for `argparse`."""
    return _whole(text, 0)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    return _whole(text, 1)


def _whole(text: str, least: int) -> int:
    if not text.strip().isdecimal() or len(text) > 18 or int(text) < least:
        told = shortened(text, 40)
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}, not {told!r}")
    return int(text)


def positive_number(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


METHOD_HELP = f"{', '.join(METHODS)}; a method's options follow it, as in pitome:variant=bsm"
RESTORE_HELP = f"{', '.join(RESTORES)}: what merged tokens get back after the last block"


def choose_restore(name: str, *, unmerge: bool) -> str:
    """The row of `RESTORES` that a flag names.

    Raises:
        PatchError: there is no such row.
        InputError: nothing is restored that it could change.
    """
    found = find_restore(name.strip()).name
    if found != COPY and not unmerge:
        raise InputError(
            f"--restore {found} says how all tokens come back, and --no-unmerge that none do: leave one of "
            "the two out."
        )
    return found
