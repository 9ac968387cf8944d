"""Runs from the comma lists of a command line."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from shared_tmu.datasets import DATASETS
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
from shared_tmu.temporal.files import decoder_path
from shared_tmu.temporal.smoothing.kinds import BOTH_WAYS, NO_SMOOTHING, SMOOTHERS

NO_LAYERS = "none"
FREE, HELD = "free", "held"
HEAD, DIFFUSION = "none", "diffusion"

_OF_MODELS = (
    "r", "method", "learned", "no_unmerge", "restore", "protect", "mask", "background", "probe", "layers",
    "plans", "decoder", "decoder_file", "smooth", "checkpoint", "config_path", "stability",
)  # fmt: skip


def refuse_models(parser: ArgumentParser, given: Namespace) -> None:
    """Refuse what a command line says of models if `--predictions` has a file scored, which loads none.

    Raises:
        InputError: a flag about the model has another value than by default.
    """
    if given.predictions is None:
        return
    said = [name for name in _OF_MODELS if getattr(given, name, None) != parser.get_default(name)]
    if said:
        flags = ", ".join("--" + name.removesuffix("_path") for name in said)
        raise InputError(
            f"--predictions scores a file that a model wrote before, so {flags} would change nothing: leave "
            "that out, or leave out --predictions to run the model."
        )


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
    decoders: str = HEAD,
    decoder_file: Path | None = None,
    smooths: str = NO_SMOOTHING,
    datasets: Iterable[str] = (),
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
    kinds = choose_masks(masks, rows, mask_place(subject, datasets))
    decoding = choose_decoders(decoders, decoder_file, checkpoint)
    clips = tuple(product(choose_plans(plans), decoding, choose_smoothing(smooths)))
    shorter = [None if part == NO_LAYERS else Path(part) for part in split_list("--layers", layers)]
    recipes = {path: None if path is None else read_recipe_of(path) for path in shorter}
    probes = {(m, path): choose_probe(probe, m, path or checkpoint) for m in kinds for path in shorter}
    refuse_unused_probe(probe, probes.values())
    runs = [
        replace(BASELINE, layers=recipe, decoder=decoder, smooth=smooth)
        if s.is_off
        else Run(
            *(s, method, unmerge, side, mask, files[method], recipe, probes[mask, path], weight, ending),
            *(hold, decoder, smooth),
        )
        for path, recipe in recipes.items()
        for side in sides
        for method in rows
        for ending in endings
        for mask in kinds
        for hold, decoder, smooth in clips
        for s in parsed[method]
    ]
    return tuple(dict.fromkeys(runs))


def choose_masks(text: str, methods: Sequence[str], place: MaskPlace) -> list[str]:
    """Choices of masks from a comma-separated list, see `choose_mask`."""
    return [choose_mask(part, methods, place) for part in split_list("--mask", text)]


def choose_plans(text: str) -> list[bool]:
    """Whether plans are held, from a comma-separated list of the words for it.

    Raises:
        InputError: there is no such word.
    """
    words = split_list("--plans", text)
    for word in words:
        if word not in (FREE, HELD):
            raise InputError(f"--plans {word!r} does not exist: use {FREE}, {HELD} or both, {FREE},{HELD}.")
    return [word == HELD for word in words]


def choose_decoders(text: str, file: Path | None, checkpoint: Path) -> list[Path | None]:
    """Files of temporal decoders from the words for them; None for the model's head.

    Args:
        text: a comma-separated list.
        file: instead of the one beside the weights.
        checkpoint: the weights.

    Raises:
        InputError: a word is unknown, or a file is given that nothing reads.
    """
    words = split_list("--decoder", text)
    for word in words:
        if word not in (HEAD, DIFFUSION):
            raise InputError(f"--decoder {word!r} does not exist: use {HEAD}, {DIFFUSION} or both.")
    if file is not None and DIFFUSION not in words:
        raise InputError(f"--decoder_file {file} would not be read: use it with --decoder {DIFFUSION}.")
    return [None if word == HEAD else file or decoder_path(checkpoint) for word in words]


def choose_smoothing(text: str) -> list[str]:
    """Filters of a comma-separated list.

    Raises:
        InputError: a word is unknown.
    """
    words, known = split_list("--smooth", text), (NO_SMOOTHING, *SMOOTHERS, BOTH_WAYS)
    for word in words:
        if word not in known:
            raise InputError(f"--smooth {word!r} does not exist: use some of {', '.join(known)}.")
    return words


def mask_place(subject: str, datasets: Iterable[str]) -> MaskPlace:
    """What an evaluation on these sets can mask; a set of clips is a video."""
    has_clips = any(DATASETS[name].is_clips and DATASETS[name].subject == subject for name in datasets)
    return MaskPlace(subject, has_truth=True, is_video=has_clips)
