"""Checks flags of the demo that must fit each other."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared_tmu.demo.subjects import demo_subject
from shared_tmu.detect import BODY_DETECTORS
from shared_tmu.detect.vitdet import required_files
from shared_tmu.errors import InputError
from shared_tmu.masks import AUTO, NO_MASK, MaskPlace
from shared_tmu.methods import find_method
from shared_tmu.programs.estimates import HAND
from shared_tmu.programs.mask_flags import (
    choose_mask,
    choose_probe,
    choose_weight,
    probe_beside,
    refuse_unused_probe,
    refuse_unused_weight,
)
from shared_tmu.programs.model_program import ModelProgram, Run

_log = logging.getLogger(__name__)


def auto_mask(probe: Path, place: MaskPlace) -> str:
    """What `--mask auto` stands for where tokens merge: the first of these that is known of a crop.

    By scripts/measure_masks.py a probe left the smallest change of hands, also where all of them have
    landmarks; of people, landmarks where there are some, and a probe for the others.

    Args:
        probe: where one for the model's weights would be.
        place: what is masked, and whether there are frames in order.
    """
    if probe.is_file():
        return "probe" if place.subject == HAND.name else "landmarks+probe"
    return "+".join(("landmarks", *(("previous",) if place.is_video else ()), "box"))


def choose_demo_mask(asked: str, run: Run, place: MaskPlace, probe: Path) -> str:
    """A choice of masks; see `auto_mask` for `auto`, which is none where a mask would mean nothing.

    Raises:
        InputError: there is no such mask for pictures, or it has no effect in this run.
    """
    if asked == AUTO:
        is_useless = run.schedule.is_off or find_method(run.method).mixes
        return NO_MASK if is_useless else auto_mask(probe, place)
    if asked != NO_MASK and run.schedule.is_off:
        raise InputError(f"--mask {asked} needs merging, but --r is off: try --r 8x16.")
    return choose_mask(asked, [run.method], place, also=(AUTO,))


def with_mask(run: Run, given: dict[str, Any], program: ModelProgram) -> Run:
    """A run with the mask of a command line, whose flags on masks are taken out of `given`.

    Raises:
        InputError: see `choose_demo_mask`; or a probe that is not there, or a probe or a rule that would
            not be used.
    """
    place = MaskPlace(program.estimates.name, has_truth=False, is_video=is_clip(given))
    asked, probe, weight = given.pop("mask"), given.pop("probe"), choose_weight(given.pop("background"))
    checkpoint = given["checkpoint"] or program.default_checkpoint
    mask = choose_demo_mask(asked, run, place, probe or probe_beside(checkpoint))
    found = choose_probe(probe, mask, checkpoint)
    refuse_unused_probe(probe, [found])
    refuse_unused_weight(weight, [mask])
    return replace(run, mask=mask, probe=found, weight=weight)


def require_something_to_save(given: Mapping[str, Any]) -> None:
    """Refuse flags of the demo that leave nothing to save.

    Raises:
        InputError: there are such flags; the message names them.
    """
    if given["overlays"]:
        return
    if given["side_view"]:
        raise InputError(
            "--side_view adds a view to the overlays, but --no-overlays turns them off: leave one of the "
            "two out."
        )
    if not any(given[flag] for flag in ("save_mesh", "save_params", "compare", "tokens")):
        raise InputError(
            "--no-overlays and --no-save_params leave nothing to save: leave one of them out, or add "
            "--save_mesh."
        )


def is_clip(given: Mapping[str, Any]) -> bool:
    """Whether the input is a clip, a camera or a stream."""
    return given["video"] is not None or given["camera"] is not None


def default_detector_dir(program: ModelProgram) -> Path:
    """The folder in which files of detectors are looked for if none is named; it need not exist."""
    return program.data_dir / "detectors"


def require_detector_files(given: Mapping[str, Any], program: ModelProgram) -> None:
    """Refuse a folder of detectors that does not exist; warn if nothing in it would be used.

    yolo and vitdet themselves name the files that they miss.

    Raises:
        InputError: another folder than the default was named, and it is no folder.
    """
    folder, name = given["detector_dir"], given["detector"]
    if folder == default_detector_dir(program) or name in ("yolo", "vitdet"):
        return
    if not folder.is_dir():
        fault = "is no folder" if folder.exists() else "does not exist"
        raise InputError(f"--detector_dir {folder} {fault}: name the folder of the files, or leave it out.")
    looked_for = demo_subject(program.estimates).detector_files
    if name == "auto" and not any(any(folder.glob(pattern)) for pattern in looked_for):
        _log.warning("--detector_dir %s has no effect: it holds none of %s.", folder, ", ".join(looked_for))


def require_body_detector_used(given: Mapping[str, Any]) -> None:
    """Refuse `--body_detector` where vitdet does not run; the default is never refused.

    Raises:
        InputError: it would not be used.
    """
    body, name = given.get("body_detector", BODY_DETECTORS[0]), given["detector"]
    if body == BODY_DETECTORS[0] or name == "vitdet":
        return
    if name == "auto" and given["boxes"] is None:
        missing = [path for path in required_files(given["detector_dir"], body) if not path.is_file()]
        if not missing:
            return
        fault = f"auto does not take vitdet: {missing[0]} does not exist"
    else:
        fault = "boxes are given" if name == "auto" else f"--detector is {name}"
    raise InputError(
        f"--body_detector {body} is for --detector vitdet, but {fault}: use --detector vitdet, or leave "
        "--body_detector out."
    )


def require_flags_that_fit(given: Mapping[str, Any]) -> None:
    """Refuse flags that have no effect on a clip, which gives one video and one file of parameters.

    Raises:
        InputError: there are such flags; the message names them.
    """
    if not is_clip(given):
        return
    if given["camera"] is not None and given["resume"]:
        raise InputError(
            "--resume continues a run on the same frames, which --camera never has: leave it out."
        )
    for flag in ("side_view", "save_mesh", "compare", "tokens"):
        if given[flag]:
            raise InputError(f"--{flag} makes files of single images: leave it out with --video or --camera.")
    if not given["full_frame"] and given["overlays"]:
        raise InputError(
            "--no-full_frame leaves no overlay video: use --no-overlays to save parameters only."
        )
