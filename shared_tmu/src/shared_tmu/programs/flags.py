"""Values of flags that several command lines take."""

from __future__ import annotations

import argparse
import math

import torch

from shared_tmu.errors import InputError
from shared_tmu.trunk import Protect


def choose_device(name: str) -> torch.device:
    """`auto` is the first CUDA device if there is one.

    Raises:
        InputError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"--device {name} cannot be used here ({reason}): try --device cpu.") from error
    return device


def choose_protection(text: str) -> Protect:
    """Which end of the sequence stays out of merging.

    Raises:
        InputError: neither `first` nor `last`.
    """
    if text in ("first", "last"):
        return "first" if text == "first" else "last"
    raise InputError(f"--protect {text!r} is not known: use first, or last to reproduce published TMU.")


def split_list(flag: str, text: str) -> list[str]:
    """The parts of a comma list.

    Raises:
        InputError: there is none.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise InputError(f"{flag} is empty: name at least one, separated by commas.")
    return parts


def natural(text: str) -> int:
    """A whole number of at least 0, as `argparse` takes types."""
    if not text.strip().isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, not {text!r}")
    return int(text)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = natural(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be at least 1, not 0")
    return value


def positive_number(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value
