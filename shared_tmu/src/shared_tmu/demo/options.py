"""The command line of `demo.py`, the same for every model folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from shared_tmu.demo.subjects import DemoSubject, demo_subject
from shared_tmu.demo.together import (
    auto_mask,
    require_flags_of_clips,
    require_something_to_save,
    with_mask,
)
from shared_tmu.detect import BODY_DETECTORS
from shared_tmu.errors import InputError
from shared_tmu.masks import AUTO, MaskPlace, mask_names
from shared_tmu.methods import find_method
from shared_tmu.programs.flags import (
    CONFIG_HELP,
    DEVICE_HELP,
    LEARNED_HELP,
    METHOD_HELP,
    choose_device,
    choose_learned,
    choose_protection,
    images_per_call,
    named_path,
    natural,
    positive_number,
)
from shared_tmu.programs.mask_flags import add_mask_flags, probe_beside
from shared_tmu.programs.model_program import ModelProgram, Run
from shared_tmu.programs.places import require_places
from shared_tmu.runtime.packing import PACKED_HELP
from shared_tmu.runtime.precision import choose_dtype, name_of
from shared_tmu.schedule import Schedule

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class DemoOptions:
    """All settings of a command line.

    Attributes:
        img_folder: folder of pictures, or one picture.
        video: a clip to process instead.
        out_folder: folder for results.
        file_type: patterns of file names, see `listing.list_images`.
        run: how tokens are merged.
        dtype: number format of the weights; `dtype_reason` says why.
        packed: multiply by packed copies of the weights if the CPU supports it, see
            `shared_tmu.runtime.packing`.
        checkpoint: None for the bundled weights.
        config_path: the checkpoint's configuration; None looks beside the checkpoint, see `ModelFormat.load`.
        body_path: None for the bundled body model.
        detector: one of the subject's detectors.
        boxes: boxes file for the detector `boxes`.
        detector_dir: folder of the files of yolo and vitdet.
        body_detector: which network finds people for vitdet.
        rescale_factor: size of the crop relative to the box; None takes the model's value.
        batch_size: crops per model call.
        focal_px: focal length of the whole image; None for the published 5000 / 256 times its longer side.
        overlays: whether meshes are drawn over the photographs; `side_view` and `full_frame` are kinds of
            overlays.
        side_view, full_frame, save_mesh, save_params, compare, tokens: which results are saved.
        draw_processes: number of drawing processes; 0 draws in this process; None decides by the number of
            images.
        report: JSON-lines file to which a record of the time spent is appended.
        resume: keep results of an earlier run with the same options.
    """

    img_folder: Path
    out_folder: Path
    file_type: tuple[str, ...]
    run: Run
    device: torch.device
    dtype: torch.dtype
    detector_dir: Path
    dtype_reason: str = "as asked"
    packed: bool = True
    checkpoint: Path | None = None
    config_path: Path | None = None
    body_path: Path | None = None
    detector: str = "auto"
    boxes: Path | None = None
    body_detector: str = "vitdet"
    rescale_factor: float | None = None
    batch_size: int = 8
    focal_px: float | None = None
    overlays: bool = True
    side_view: bool = False
    full_frame: bool = True
    save_mesh: bool = False
    save_params: bool = True
    compare: bool = False
    tokens: bool = False
    resume: bool = False
    video: Path | None = None
    draw_processes: int | None = None
    report: Path | None = None

    @property
    def draws_on_photographs(self) -> bool:
        """Whether the photographs are still needed after cropping."""
        return self.overlays or self.compare

    @property
    def draws(self) -> bool:
        """Whether making an image's files is enough work for separate processes."""
        return self.draws_on_photographs or self.save_mesh or self.tokens

    @property
    def dtype_name(self) -> str:
        """`float32` or `bfloat16`."""
        return name_of(self.dtype)


def parse_options(program: ModelProgram, arguments: Sequence[str] | None = None) -> DemoOptions:
    """Read a command line; None reads the process's own.

    Raises:
        TMUError: a value is invalid.
        SystemExit: `--help`, an unknown flag, or a value of the wrong type.
    """
    given = vars(build_parser(program).parse_args(arguments))
    flags = {"body_path": program.estimates.body_flag}
    require_places({flags.get(name, f"--{name}"): value for name, value in given.items()})
    schedule = Schedule.parse(given.pop("r"))
    method = find_method(given.pop("method")).name
    run = Run(
        schedule,
        method,
        unmerge=not given.pop("no_unmerge"),
        protect=choose_protection(given.pop("protect")),
        learned=choose_learned(given.pop("learned"), [method]),
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
    require_something_to_save(given)
    if given["video"] is not None:
        require_flags_of_clips(given)
    device = choose_device(given.pop("device"))
    dtype = choose_dtype(given.pop("dtype"), device)
    return DemoOptions(
        run=run,
        device=device,
        dtype=dtype.dtype,
        dtype_reason=dtype.reason,
        focal_px=given.pop("focal"),
        file_type=tuple(given.pop("file_type")),
        **given,
    )


def build_parser(program: ModelProgram) -> argparse.ArgumentParser:
    """The parser of `parse_options`; its help shows the defaults."""
    subject = demo_subject(program.estimates)
    many = subject.many
    parser = argparse.ArgumentParser(
        description=f"Meshes of all {many} in a folder of pictures, by {program.name} with token merging: "
        f"finds the {many}, predicts them in batches, and saves pictures, meshes and parameters for each "
        "image.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_published(parser, program, subject)
    _add_model(parser, program)
    _add_detection(parser, program, subject)
    _add_output(parser)
    return parser


def _add_published(parser: argparse.ArgumentParser, program: ModelProgram, subject: DemoSubject) -> None:
    group = parser.add_argument_group("as in the published demo")
    add, switch = group.add_argument, argparse.BooleanOptionalAction
    add(
        "--checkpoint",
        type=named_path,
        help=f"weights; default: the bundled {program.default_checkpoint.name}",
    )
    add("--config", dest="config_path", type=named_path, help=CONFIG_HELP)
    shown = group.add_mutually_exclusive_group().add_argument
    shown("--img_folder", type=named_path, default=Path("images"), help="folder of pictures, or one picture")
    shown(
        "--video",
        type=named_path,
        help="process a video instead: gives an overlay video and one .npz for the whole clip",
    )
    add(
        "--out_folder",
        type=named_path,
        default=Path("out_demo"),
        help="folder for results; created if needed",
    )
    add("--side_view", action=switch, default=False, help=f"also show each {subject.one} from the side")
    add(
        "--full_frame", action=switch, default=True, help=f"also draw all {subject.many} over the whole image"
    )
    add("--save_mesh", action=switch, default=False, help=f"also save each {subject.one} as .obj and .glb")
    add("--batch_size", type=images_per_call, default=8, help=f"{subject.many} per model call")
    add(
        "--rescale_factor",
        type=positive_number,
        help=f"size of the crop relative to the {subject.one}'s box; default: the model's value, "
        f"usually {subject.scale:g}",
    )
    if "vitdet" in subject.detectors:
        add(
            "--body_detector",
            choices=BODY_DETECTORS,
            default="vitdet",
            help="network that finds people for vitdet",
        )
    add(
        "--file_type",
        nargs="+",
        default=["*.jpg", "*.png"],
        metavar="PATTERN",
        help="which files of the folder are images; case is ignored, and .jpg includes .jpeg",
    )


def _add_model(parser: argparse.ArgumentParser, program: ModelProgram) -> None:
    add = parser.add_argument_group("model and token merging").add_argument
    add("--r", default="5x20", help="tokens to remove per layer: off, 5x20, 10x8+6x8, 0.9x12, total:98, ...")
    add("--method", default="tome", help=f"how tokens are matched: {METHOD_HELP}")
    add("--learned", type=named_path, metavar="FILE", help=LEARNED_HELP)
    add(
        "--no_unmerge",
        "--no-unmerge",
        action="store_true",
        help="merge-only: the head reads the merged tokens, or a sparse grid if it needs all positions",
    )
    add(
        "--protect",
        default="first",
        help="which tokens are protected: first, or last as in published TMU, which merges task tokens",
    )
    names = ", ".join((AUTO, *mask_names(MaskPlace(program.estimates.name, has_truth=False))))
    add(
        "--mask",
        default=AUTO,
        help=f"what merges last: {names}; a+b: the first of them that is known of a crop; auto: "
        f"{auto_mask(probe_beside(program.default_checkpoint), is_video=False)}, with previous for videos; "
        "none: all tokens alike, as published TMU",
    )
    add_mask_flags(add)
    add("--device", default="auto", help=DEVICE_HELP)
    about = "number format of the weights; auto: bfloat16 if the device computes in it"
    add("--dtype", choices=("auto", *DTYPES), default="float32", help=about)
    add("--packed", action=argparse.BooleanOptionalAction, default=True, help=PACKED_HELP)
    body = program.estimates
    add(body.body_flag, dest="body_path", type=named_path, help=f"{body.body_file}; default: {body.bundled}")


def _add_detection(parser: argparse.ArgumentParser, program: ModelProgram, subject: DemoSubject) -> None:
    add = parser.add_argument_group(f"finding {subject.many}").add_argument
    add(
        "--detector",
        choices=subject.detectors,
        default="auto",
        help=subject.detector_help,
    )
    add("--boxes", type=named_path, help=f"JSON: {subject.boxes_format}")
    add(
        "--detector_dir",
        type=named_path,
        default=program.data_dir / "detectors",
        help="folder with the files of other detectors",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    add, switch = group.add_argument, argparse.BooleanOptionalAction
    add(
        "--focal",
        type=positive_number,
        help="focal length of the whole image in pixels; default: 5000/256 x its longer side",
    )
    add("--overlays", action=switch, default=True, help="draw meshes over the photographs")
    add(
        "--save_params",
        action=switch,
        default=True,
        help="save all parameters, one .npz and one .json per image",
    )
    add(
        "--compare",
        action="store_true",
        help="also show baseline, merge-only and TMU side by side, with their times",
    )
    add("--tokens", action="store_true", help="also show which tokens merged, block by block")
    add("--resume", action="store_true", help="keep results of an earlier run with the same options")
    add(
        "--draw_processes",
        type=natural,
        help="number of processes that draw and make meshes while the model runs; 0: a thread of the main "
        "process does it; default: one per core, fewer for few images",
    )
    add("--report", type=named_path, help="append a record of the time spent to this JSON-lines file")
