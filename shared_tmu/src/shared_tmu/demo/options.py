"""The command line of `demo.py`, the same for every model folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from shared_tmu.datasets import SetOptions
from shared_tmu.demo.clip_flags import ClipChoice, add_clip_flags
from shared_tmu.demo.engine import LOCAL, require_distributable
from shared_tmu.demo.merging import add_merging_flags, read_merging
from shared_tmu.demo.output_flags import add_output_flags
from shared_tmu.demo.subjects import DemoSubject, demo_subject
from shared_tmu.demo.together import (
    default_detector_dir,
    is_clip,
    require_body_detector_used,
    require_detector_files,
    require_flags_that_fit,
    require_something_to_save,
)
from shared_tmu.detect import BODY_DETECTORS
from shared_tmu.evaluation.budget.flags import choose_samples, refuse_unused_samples
from shared_tmu.evaluation.budget.request import Budget
from shared_tmu.evaluation.budget.samples import SampleChoice
from shared_tmu.programs.flags import (
    CONFIG_HELP,
    DEVICE_HELP,
    FlagParser,
    choose_device,
    images_per_call,
    named_path,
    positive_number,
)
from shared_tmu.programs.model_program import ModelProgram, Run
from shared_tmu.programs.places import require_places
from shared_tmu.runtime.packing import PACKED_HELP
from shared_tmu.runtime.precision import choose_dtype, name_of

DTYPES = ("float32", "bfloat16")

FILE_TYPES = ("*.jpg", "*.png")
"""The files that are read by default."""


@dataclass(frozen=True)
class DemoOptions:
    """All settings of a command line.

    Attributes:
        img_folder: folder of pictures, or one picture.
        video: a clip to process instead.
        camera: or a camera or stream, see `live.parse_address`.
        out_folder: folder for results.
        file_type: patterns of file names, see `listing.list_images`.
        run: how tokens are merged; replaced by what a search finds if there is a budget.
        budget: error budget of such a search; None for no search.
        calibration: samples of such a search.
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
        clip: how the frames of a clip belong together.
        engine: `local`, or `ray` for all machines of the cluster at `ray_address`.
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
    camera: str | None = None
    draw_processes: int | None = None
    report: Path | None = None
    budget: Budget | None = None
    calibration: SampleChoice | None = None
    engine: str = LOCAL
    ray_address: str | None = None
    clip: ClipChoice = field(default_factory=ClipChoice)

    @property
    def holds_plans(self) -> bool:
        """Whether to try to use the plans of earlier frames again."""
        return self.is_clip and self.clip.hold is not False and not self.run.schedule.is_off

    @property
    def is_clip(self) -> bool:
        """Whether the input is frames in order, not pictures."""
        return self.video is not None or self.camera is not None

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
    return make_options(program, vars(build_parser(program).parse_args(arguments)))


def make_options(program: ModelProgram, given: dict[str, Any]) -> DemoOptions:
    """Check the values that a parser has read, and that they fit each other; `given` is used up.

    Raises:
        TMUError: a value is invalid.
    """
    flags = {"body_path": program.estimates.body_flag}
    require_places({flags.get(name, f"--{name}"): value for name, value in given.items()})
    run, budget = read_merging(program, given)
    require_something_to_save(given)
    require_flags_that_fit(given)
    require_detector_files(given, program)
    require_body_detector_used(given)
    require_distributable(given)
    clip = ClipChoice.read(given, is_clip=is_clip(given))
    device = choose_device(given.pop("device"))
    dtype = choose_dtype(given.pop("dtype"), device)
    refuse_unused_samples(program, given["calib"], given["calib_dir"], is_searching=budget is not None)
    samples = choose_samples(
        *(program, given.pop("calib"), given.pop("calib_dir"), given["batch_size"], device),
        SetOptions(body_path=given["body_path"]),
    )
    return DemoOptions(
        budget=budget,
        calibration=samples if budget else None,
        run=run,
        clip=clip,
        device=device,
        dtype=dtype.dtype,
        dtype_reason=dtype.reason,
        focal_px=given.pop("focal"),
        file_type=tuple(given.pop("file_type")),
        **given,
    )


def build_parser(program: ModelProgram, kind: type[FlagParser] = FlagParser) -> argparse.ArgumentParser:
    """The parser of `parse_options`; its help shows the defaults."""
    subject = demo_subject(program.estimates)
    many = subject.many
    parser = kind(
        for_files="pictures are given by --img_folder DIR, a video by --video FILE",
        description=f"Meshes of all {many} in a folder of pictures, by {program.name} with token merging: "
        f"finds the {many}, predicts them in batches, and saves pictures, meshes and parameters for each "
        "image.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_published(parser, program, subject)
    _add_model(parser, program)
    _add_detection(parser, program, subject)
    add_clip_flags(parser, many)
    add_output_flags(parser)
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
    shown(
        "--camera",
        metavar="N|ADDRESS",
        help="process a camera, such as 0, or a stream, such as rtsp://host/path, until it ends, or q or "
        "Ctrl-C is pressed; gives what --video gives",
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
        default=list(FILE_TYPES),
        metavar="PATTERN",
        help="which files of the folder are images; case is ignored, and .jpg includes .jpeg",
    )


def _add_model(parser: argparse.ArgumentParser, program: ModelProgram) -> None:
    add = parser.add_argument_group("model and token merging").add_argument
    add_merging_flags(add, program)
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
        default=default_detector_dir(program),
        help="folder with the files of other detectors",
    )
