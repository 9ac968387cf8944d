"""The flags that set how the demo merges, and the search for `--r auto`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared_tmu.demo.together import with_mask
from shared_tmu.errors import InputError
from shared_tmu.evaluation.budget.flags import add_auto_flags, require_searchable
from shared_tmu.evaluation.budget.request import HELP, Budget
from shared_tmu.masks import AUTO, MaskPlace, mask_names
from shared_tmu.method_parts.restores import COPY
from shared_tmu.methods import find_method
from shared_tmu.programs.flags import (
    METHOD_HELP,
    RESTORE_HELP,
    choose_protection,
    choose_restore,
    named_path,
)
from shared_tmu.programs.learned_files import add_learned_flag, choose_learned, read_schedule
from shared_tmu.programs.mask_flags import add_mask_flags
from shared_tmu.programs.model_program import ModelProgram, Run
from shared_tmu.schedule import Schedule

_SOME = Schedule.parse("1")
"""Stands for a schedule that the demo searches."""


def add_merging_flags(add: Callable[..., Any], program: ModelProgram) -> None:
    """Add what `read_merging` reads, by the `add_argument` of a parser or group."""
    about = "tokens to remove per layer: off, 5x20, 10x8+6x8, 0.9x12, total:98, ..."
    add("--r", default="5x20", help=f"{about}; {HELP}")
    add("--method", default="tome", help=f"merge method: {METHOD_HELP}")
    add_learned_flag(add, named_path)
    add(
        "--no_unmerge",
        "--no-unmerge",
        action="store_true",
        help="merge-only: the head reads the merged tokens, or a sparse grid if it needs all positions",
    )
    add("--restore", default=COPY, help=f"how the full grid is restored: {RESTORE_HELP}")
    add(
        "--protect",
        default="first",
        help="which tokens are protected: first, or last as in published TMU, which merges task tokens",
    )
    names = ", ".join((AUTO, *mask_names(MaskPlace(program.estimates.name, has_truth=False))))
    add(
        "--mask",
        default=AUTO,
        help=f"which tokens merge last: {names}; a+b: the first of these that is known for a crop; auto: "
        "probe where the weights have one (of people landmarks+probe), else landmarks+box, for videos "
        "landmarks+previous+box; "
        "none: all tokens alike, as in published TMU",
    )
    add_mask_flags(add)
    add_auto_flags(add, program)


def read_merging(program: ModelProgram, given: dict[str, Any]) -> tuple[Run, Budget | None]:
    """Take the values of these flags out of all that were given.

    Returns:
        How tokens merge; with a budget only the schedule is missing, and the mask is the one to try.

    Raises:
        TMUError: a value is invalid, or values contradict each other.
    """
    text = given.pop("r")
    budget = Budget.parse(text) if Budget.is_one(text) else None
    method = find_method(given.pop("method")).name
    if budget is not None:
        require_searchable(method)
    unmerge = not given.pop("no_unmerge")
    weights = given["checkpoint"] or program.default_checkpoint
    learned = choose_learned(given.pop("learned"), [method], weights)[method]
    schedule = read_schedule(text, method, learned) if budget is None else _SOME
    run = Run(
        schedule,
        method,
        unmerge=unmerge,
        restore=choose_restore(given.pop("restore"), unmerge=unmerge),
        protect=choose_protection(given.pop("protect")),
        learned=learned,
    )
    run = with_mask(run, given, program)
    for flag in ("compare", "tokens"):
        if given[flag] and schedule.is_off:
            raise InputError(f"--{flag} needs merging, but --r is off: try --r 5x20.")
    if given["tokens"] and find_method(run.method).mixes:
        raise InputError(
            f"--tokens was asked for with --method {run.method}, which mixes all tokens, so there are no "
            "groups to draw: leave one of the two out."
        )
    return run, budget
