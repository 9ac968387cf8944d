"""Keyword arguments of `load`: flags of `demo.py`, with the same names, values, defaults and checks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, NoReturn, TypedDict

import numpy as np
import torch

from shared_tmu.demo.options import DemoOptions, build_parser, make_options
from shared_tmu.errors import InputError, nearest
from shared_tmu.programs.flags import FlagParser
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.schedule import Schedule

FilePath = Path | str


class LoadOptions(TypedDict, total=False):
    """Further keyword arguments of `load`; what is left out, or None, has the default of `demo.py`.

    Attributes:
        method: merge method, a row of `shared_tmu.METHODS`, with its options as in `"pitome:variant=bsm"`.
        learned: file with the trained parts of a method that learns.
        no_unmerge: merge-only: the head reads the merged tokens.
        restore: how the full grid is restored, a row of `shared_tmu.method_parts.restores.RESTORES`.
        protect: which end of the tokens never merges.
        mask: which tokens merge last: `"auto"` (the probe, where the weights have one), `"none"`, `"box"`,
            `"landmarks+box"`, ...
        background: how a mask counts: `"weighed"`, `"first"`, or a number.
        probe: file of the probe for masks that read one.
        calib, calib_dir: for `r="auto:..."`: the set on which the error is measured, and its folder.
        checkpoint: weights; the bundled ones if left out.
        config: the checkpoint's configuration, if it is not beside the checkpoint.
        dtype: number format of the weights: `"float32"`, `"bfloat16"` or `"auto"`.
        packed: multiply by packed copies of the weights if the CPU supports it.
        detector: what finds hands or people where `predict` gets no boxes.
        detector_dir: folder with the files of other detectors.
        body_detector: network that finds people for the detector `vitdet`.
        rescale_factor: size of a crop relative to its box.
        batch_size: crops per model call.
        tokens: keep each crop and which of its tokens merged, for `draw_tokens` and `measure`.
        focal: focal length of the pictures in pixels; 5000/256 times the longer side if left out.
    """

    method: str
    learned: FilePath | None
    no_unmerge: bool
    restore: str
    protect: Literal["first", "last"]
    mask: str
    background: str | float
    probe: FilePath | None
    calib: str
    calib_dir: FilePath | None
    checkpoint: FilePath | None
    config: FilePath | None
    dtype: str | torch.dtype
    packed: bool
    detector: str
    detector_dir: FilePath | None
    body_detector: str
    rescale_factor: float | None
    batch_size: int
    tokens: bool
    focal: float | None


_SWITCHES = ("no_unmerge", "tokens")
MERGING = ("r", "method", "learned", "no_unmerge", "restore", "protect", "mask", "background", "probe")
"""What `MeshModel.at` can change."""


class _Parser(FlagParser):
    """A parser that raises instead of printing its usage and ending the process."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message.removeprefix('argument --')}.")


def options_of(program: ModelProgram, given: Mapping[str, Any]) -> DemoOptions:
    """The demo's settings for keyword arguments.

    Raises:
        TMUError: there is no such argument, or a value is invalid or does not fit the others.
    """
    require_known(given, names_of(program), f"load of {program.name}")
    words = [word for name, value in given.items() for word in _words(name, value)]
    options = make_options(program, vars(build_parser(program, _Parser).parse_args(words)))
    if options.detector == "boxes":
        raise InputError("detector 'boxes' reads a file of demo.py: here, pass boxes to predict instead.")
    return options


def names_of(program: ModelProgram) -> tuple[str, ...]:
    """All keyword arguments that `load` of a model accepts."""
    own = program.estimates.body_flag.removeprefix("--")
    return ("r", "device", own, *LoadOptions.__annotations__)


def require_known(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Refuse keyword arguments that do not exist.

    Raises:
        InputError: there is one; the message names a similar one, or all.
    """
    for name in given:
        if name not in known:
            near = nearest(name, known)
            meant = f"did you mean {near!r}?" if near else f"it takes {', '.join(known)}."
            raise InputError(f"{where} has no argument {name!r}: {meant}")


def _words(name: str, value: Any) -> Iterator[str]:
    """A keyword argument as on a command line."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (value is False and name in _SWITCHES):
        return  # as if left out
    if name in (*_SWITCHES, "packed"):
        require_bool(name, value)
        yield f"--{name}" if value else f"--no-{name}"
    else:
        yield f"--{name}={_text(name, value)}"


def _text(name: str, value: Any) -> str:
    if name == "r" and not isinstance(value, str):
        return str(Schedule.parse(value))
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, str | int | float | Path | torch.device) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"{name} is of type {type(value).__name__}: expected a text, a number or a path.")


def require_bool(name: str, value: Any) -> None:
    """Refuse anything but True and False for a switch: `"no"` would count as True.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} is {value!r}: give True or False.")


def require_count(name: str, value: Any) -> None:
    """Refuse anything but a whole number of at least 1.

    Raises:
        InputError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InputError(f"{name} is {value!r}: give a whole number of at least 1.")


def require_positive(name: str, value: Any, what: str) -> None:
    """Refuse anything but a finite number above 0; `what` says what it means.

    Raises:
        InputError: it is something else.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} is {value!r}: give {what}, a number above 0.")
