"""Runs from the comma lists of a command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from shared_tmu.errors import InputError
from shared_tmu.evaluation.recipes import read_recipe_of
from shared_tmu.masks import NO_MASK, MaskPlace
from shared_tmu.method_parts.protection import WEIGHT
from shared_tmu.method_parts.restores import COPY
from shared_tmu.methods import find_method
from shared_tmu.programs.estimates import HAND
from shared_tmu.programs.flags import choose_protection, choose_restore, split_list
from shared_tmu.programs.learned_files import choose_learned, read_schedules
from shared_tmu.programs.mask_flags import choose_mask, choose_probe, refuse_unused_probe
from shared_tmu.programs.model_program import BASELINE, Run

NO_LAYERS = "none"
FREE, HELD = "free", "held"


def read_runs(
    schedules: str,
    methods: str,
    protect: str = "first",
    masks: str = NO_MASK,
    subject: str = HAND.name,
    *,
    unmerge: bool,
    learned: Path | None = None,
    layers: str = NO_LAYERS,
    probe: Path | None = None,
    weight: float | None = WEIGHT,
    checkpoint: Path = Path(),
    restores: str = COPY,
    plans: str = FREE,
) -> tuple[Run, ...]:
    """Every schedule, method, restore, protection, mask, kind of plans and recipe of layers of comma lists,
    no repeats; `off` only once for each recipe.

    Raises:
        ScheduleError: a schedule that cannot be read.
        MethodError: a method that does not exist.
        InputError: an empty list, a protection or mask that does not exist, a mask for a method without
            groups of tokens, a restore where nothing is restored, or a file of learned parts or a probe that
            is not there or would not be used.
        PatchError: a restore that does not exist.
        LayersError: a file that has no recipe.
    """
    rows = [find_method(part).name for part in split_list("--method", methods)]
    files = choose_learned(learned, rows, checkpoint if checkpoint.name else None)
    parsed = read_schedules(split_list("--r", schedules), files)
    endings = [choose_restore(part, unmerge=unmerge) for part in split_list("--restore", restores)]
    sides = [choose_protection(part) for part in split_list("--protect", protect)]
    kinds = [choose_mask(part, rows, mask_place(subject)) for part in split_list("--mask", masks)]
    holds = [choose_plans(part) for part in split_list("--plans", plans)]
    shorter = [None if part == NO_LAYERS else Path(part) for part in split_list("--layers", layers)]
    recipes = {path: None if path is None else read_recipe_of(path) for path in shorter}
    probes = {(m, path): choose_probe(probe, m, path or checkpoint) for m in kinds for path in shorter}
    refuse_unused_probe(probe, probes.values())
    runs = [
        replace(BASELINE, layers=recipe)
        if s.is_off
        else Run(
            s, method, unmerge, side, mask, files[method], recipe, probes[mask, path], weight, ending, hold
        )
        for path, recipe in recipes.items()
        for side in sides
        for method in rows
        for ending in endings
        for mask in kinds
        for hold in holds
        for s in parsed[method]
    ]
    return tuple(dict.fromkeys(runs))


def choose_plans(text: str) -> bool:
    """Whether plans are held, from the word for it.

    Raises:
        InputError: there is no such word.
    """
    if text not in (FREE, HELD):
        raise InputError(f"--plans {text!r} does not exist: use {FREE}, {HELD} or both, {FREE},{HELD}.")
    return text == HELD


def mask_place(subject: str) -> MaskPlace:
    """What an evaluation can mask."""
    return MaskPlace(subject, has_truth=True, is_video=False)
