"""Flags of programs that take `--r auto:0.5mm`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from shared_tmu.datasets import DATASETS, SetOptions, dataset_names
from shared_tmu.errors import InputError
from shared_tmu.evaluation.budget.auto import SAMPLES, AutoSettings
from shared_tmu.evaluation.budget.samples import SampleChoice
from shared_tmu.evaluation.masking import uses_detector
from shared_tmu.evaluation.run_lists import NO_LAYERS
from shared_tmu.masks import NO_MASK, MaskPlace, find_masks, mask_names
from shared_tmu.methods import find_method
from shared_tmu.programs.estimates import Estimate
from shared_tmu.programs.flags import choose_protection, choose_restore, named_path, split_list
from shared_tmu.programs.learned_files import choose_learned
from shared_tmu.programs.mask_flags import (
    choose_mask,
    choose_probe,
    choose_weight,
    probe_beside,
    refuse_unused_weight,
)
from shared_tmu.programs.model_program import ModelProgram, Run
from shared_tmu.runtime.precision import name_of
from shared_tmu.schedule import Schedule


def add_auto_flags(add: Callable[..., Any], program: ModelProgram) -> None:
    """Add the flags for the set on which `--r auto` measures error, by a parser's `add_argument`."""
    subject = program.estimates
    sets = ", ".join(spec.name for spec in DATASETS.values() if spec.subject == subject.name)
    add(
        "--calib",
        default=subject.calibration,
        help=f"for --r auto: set on which the error is measured, one of {sets}",
    )
    add("--calib_dir", type=named_path, default=program.data_dir, help="for --r auto: folder of that set")


def refuse_unused_samples(program: ModelProgram, calib: str, calib_dir: Path, *, is_searching: bool) -> None:
    """Refuse `--calib` and `--calib_dir` where nothing is searched; their defaults are never refused.

    Raises:
        InputError: one of them was given, and would not be used.
    """
    defaults = (("calib", calib, program.estimates.calibration), ("calib_dir", calib_dir, program.data_dir))
    for name, value, default in defaults:
        if value != default and not is_searching:
            raise InputError(
                f"--{name} {value} was given, but --r searches nothing: use --r auto:0.5mm, or leave it out."
            )


def choose_samples(
    program: ModelProgram,
    calib: str,
    calib_dir: Path,
    batch_size: int,
    device: torch.device,
    options: SetOptions,
) -> SampleChoice:
    """The samples that `--calib` and `--calib_dir` name.

    Raises:
        InputError: no such set, or several.
    """
    names = dataset_names(calib, program.estimates.name)
    if len(names) != 1:
        raise InputError(f"--calib {calib}: a search measures the error on one set: name exactly one.")
    return SampleChoice(names[0], calib_dir, SAMPLES, batch_size, device, options, is_spread=True)


def read_auto(
    program: ModelProgram, given: argparse.Namespace, device: torch.device, dtype: torch.dtype
) -> AutoSettings:
    """What an evaluation's command line says about a search.

    Raises:
        InputError: several methods, restores or protections, layers that are merged already, or a method for
            which there is nothing to search.
    """
    names = ("method", "protect", "layers", "restore")
    one = [split_list(f"--{name}", getattr(given, name)) for name in names]
    if any(len(parts) > 1 for parts in one) or one[2] != [NO_LAYERS]:
        raise InputError(
            "--r auto searches with one --method, one --restore and one --protect, and merges layers itself "
            "if this is allowed (auto:0.5mm+layers): leave the others and --layers out, or evaluate them "
            "with a separate command."
        )
    method = find_method(one[0][0]).name
    require_searchable(method)
    checkpoint = given.checkpoint or program.default_checkpoint
    base = Run(
        Schedule(),
        method,
        unmerge=not given.no_unmerge,
        restore=choose_restore(one[3][0], unmerge=not given.no_unmerge),
        protect=choose_protection(one[1][0]),
        learned=choose_learned(given.learned, [method], checkpoint)[method],
        weight=choose_weight(given.background),
    )
    options = SetOptions(body_path=given.body_path, tips=getattr(given, "tips", "model"))
    return AutoSettings(
        samples=choose_samples(program, given.calib, given.calib_dir, given.batch_size, device, options),
        base=base,
        probes=choose_masks(given.mask, method, program.estimates, given.probe, checkpoint),
        dtype_name=name_of(dtype),
        packed=given.packed,
    )


def refuse_unused(
    program: ModelProgram, given: argparse.Namespace, runs: Iterable[Run], auto: AutoSettings | None
) -> None:
    """Refuse flags of an evaluation that none of its runs, and no search, would use.

    Raises:
        InputError: `--calib`, `--calib_dir` or `--background` is one.
    """
    refuse_unused_samples(program, given.calib, given.calib_dir, is_searching=auto is not None)
    masks = [*(run.mask for run in runs), *(auto.probes if auto else ())]
    refuse_unused_weight(choose_weight(given.background), masks)


def require_searchable(method: str) -> None:
    """Refuse a method for which a search has no schedules to try.

    Raises:
        InputError: it takes thresholds, or gives its tokens back within each block.
    """
    row = find_method(method)
    if row.reads != "counts":
        raise InputError(
            f"--r auto searches for counts, but with method {method!r} they follow from thresholds: use "
            "another --method, or thresholds such as threshold:0.9."
        )
    if not row.removes:
        raise InputError(
            f"--r auto searches for schedules that leave fewer tokens to later blocks, but method {method!r} "
            "gives all of them back in every block: use another --method, or a schedule such as 96x32."
        )


def choose_masks(
    asked: str | None, method: str, subject: Estimate, probe: Path | None, checkpoint: Path
) -> dict[str, Path | None]:
    """Masks to try, each with its probe: those of a comma list, or all that any picture has for nothing.

    Masks of the detector are tried only if they are asked for: it would run on the whole calibration set,
    for minutes, before the search begins.

    Raises:
        InputError: a mask that does not exist, or that the method has no use for.
    """
    names: Sequence[str]
    if asked is not None:
        place = MaskPlace(subject.name, has_truth=True, is_video=False)
        names = split_list("--mask", asked)
    else:
        place = MaskPlace(subject.name, has_truth=False, is_video=False)
        has_probe = (probe or probe_beside(checkpoint)).is_file()
        free = [name for name in mask_names(place) if not uses_detector([find_masks(name)])]
        names = [name for name in free if name != "probe" or has_probe]
        names = [NO_MASK] if find_method(method).mixes else names
    return {choose_mask(name, [method], place): choose_probe(probe, name, checkpoint) for name in names}
