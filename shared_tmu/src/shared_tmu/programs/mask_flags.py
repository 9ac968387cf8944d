"""Flags on masks that several command lines share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from shared_tmu.errors import InputError
from shared_tmu.files import shortened
from shared_tmu.files.checkpoints import beside
from shared_tmu.masks import NO_MASK, MaskPlace, find_masks
from shared_tmu.method_parts.protection import WEIGHT
from shared_tmu.methods import find_method
from shared_tmu.plans.matching import MOST
from shared_tmu.programs.flags import named_path


def add_mask_flags(add: Callable[..., Any]) -> None:
    """Add what masks need besides `--mask`; `add` is a parser's `add_argument`."""
    add("--background", default="weighed", help=_BACKGROUND_HELP)
    add("--probe", type=named_path, metavar="FILE", help=_PROBE_HELP)


def choose_mask(text: str, methods: Sequence[str], place: MaskPlace, also: tuple[str, ...] = ()) -> str:
    """Check a choice of masks such as `none`, `box` or `landmarks+probe`.

    Args:
        text: the choice.
        methods: rows of the table of methods that would use it.
        place: what is masked, and where.
        also: further choices that the caller accepts, for messages.

    Raises:
        InputError: there is no such mask, or a method forms no groups of tokens that could be kept apart.
    """
    if find_masks(text, place, also):
        mixing = next((name for name in methods if find_method(name).mixes), None)
        if mixing is not None:
            raise InputError(
                f"--mask {text} keeps tokens of the subject apart, but method {mixing!r} mixes all tokens: "
                "use --mask none, or another method."
            )
    return text


_BACKGROUND_HELP = (
    "how a mask counts: weighed, or a number: similarities to the subject's tokens are lowered by that much, "
    f"at most {MOST:g}; first: the subject merges only if too little background is left"
)


def choose_weight(text: str) -> float | None:
    """The weight of tokens that surely show the subject, see `method_parts.protection`; None for `first`.

    Raises:
        InputError: neither a rule nor a number of at least 0.
    """
    if text in ("first", "weighed"):
        return None if text == "first" else WEIGHT
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0.0 <= weight < math.inf:
        raise InputError(
            f"--background {shortened(text, 40)!r} is not known: use weighed (which is {WEIGHT:g}), another "
            "number of at least 0, or first."
        )
    return weight


def refuse_unused_weight(weight: float | None, masks: Iterable[str]) -> None:
    """Refuse `--background` where nothing is masked.

    Args:
        weight: what `choose_weight` gave; that of the default is never refused.
        masks: choices of masks of all runs.

    Raises:
        InputError: there is no mask.
    """
    if weight != WEIGHT and all(mask == NO_MASK for mask in masks):
        raise InputError(
            "--background was given, but no mask uses it: add --mask box, or another mask, with a --r that "
            "merges; or leave --background out."
        )


_PROBE_HELP = (
    "for --mask probe: a file written by shared_tmu.training.probe; default: the one beside the weights"
)


def probe_beside(checkpoint: Path) -> Path:
    """The file in which the probe for a checkpoint is looked for."""
    return beside(checkpoint, ".probe.safetensors")


def choose_probe(given: Path | None, mask: str, checkpoint: Path) -> Path | None:
    """The file of the probe that a mask reads; None for masks that read none.

    Args:
        given: value of `--probe`.
        mask: a choice of masks.
        checkpoint: the model's weights.

    Raises:
        InputError: there is no such file.
    """
    if "probe" not in find_masks(mask).names:
        return None
    found = given or probe_beside(checkpoint)
    if not found.is_file():
        fault = "is no file" if found.exists() else "does not exist"
        raise InputError(
            f"--mask {mask} reads tokens with a probe for {checkpoint.name}, but {found} {fault}: train one "
            "with python -m shared_tmu.training.probe (minutes), or use --mask box."
        )
    return found


def refuse_unused_probe(given: Path | None, chosen: Iterable[Path | None]) -> None:
    """Refuse `--probe` where no mask reads it.

    Raises:
        InputError: none does.
    """
    if given is not None and not any(chosen):
        raise InputError("--probe was given, but no mask reads it: add --mask probe, or leave --probe out.")
