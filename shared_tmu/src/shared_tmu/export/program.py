"""The command line of `export.py`, the same for every model folder."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor, nn

from shared_tmu.errors import ExportError, InputError
from shared_tmu.export.onnx_export import export_onnx, output_file
from shared_tmu.export.onnx_model import OnnxModel
from shared_tmu.export.outputs import flatten_output
from shared_tmu.masks import ANYWHERE, AUTO, MASKS, NO_MASK, find_masks
from shared_tmu.methods import find_method
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import (
    CONFIG_HELP,
    METHOD_HELP,
    FlagParser,
    images_per_call,
    named_path,
)
from shared_tmu.programs.learned_files import add_learned_flag, choose_learned, read_schedule
from shared_tmu.programs.mask_flags import (
    add_mask_flags,
    choose_mask,
    choose_probe,
    choose_weight,
    probe_beside,
    refuse_unused_probe,
    refuse_unused_weight,
)
from shared_tmu.programs.model_program import ModelProgram, Run
from shared_tmu.programs.results import require_other_file

_log = logging.getLogger(__name__)

MASK_NAMES = (AUTO, NO_MASK, *(row.name for row in MASKS.values() if row.reads_tokens))
"""Choices of `--mask`."""

_EXAMPLE_IMAGES = 2  # so that the batch can be distinguished from a dimension of size 1


def main(program: ModelProgram, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    return run_program(
        lambda: _export(program, build_parser(program).parse_args(arguments)),
        "Interrupted; nothing was written.",
    )


def build_parser(program: ModelProgram) -> argparse.ArgumentParser:
    """The parser of `main`; its help shows the defaults."""
    parser = FlagParser(
        description=f"Exports {program.name} as an ONNX file, with token merging inside the graph. The "
        "schedule is part of the file. The file is then run once in onnxruntime and compared with PyTorch.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--r", default="5x20", help="tokens to remove per layer: off, 5x20, 10x8+6x8, 0.9x12, total:98, ...")
    add(
        "--out",
        type=named_path,
        required=True,
        help="the .onnx file; large weights go to <file>.data beside it",
    )
    add("--method", default="tome", help=f"how tokens are matched: {METHOD_HELP}")
    add_learned_flag(add, named_path)
    add(
        "--no-unmerge",
        "--no_unmerge",
        action="store_true",
        help="merge-only: the head reads the merged tokens, or a sparse grid if it needs all positions",
    )
    add(
        "--mask",
        default=AUTO,
        help=f"which tokens merge last: {', '.join(MASK_NAMES)}; auto: probe where the weights have one, "
        "else none. Other masks of demo.py are drawn over pictures, which the file does not do",
    )
    add_mask_flags(add)
    add("--checkpoint", type=named_path, help="weights; default: the bundled ones")
    add("--config", dest="config_path", type=named_path, help=CONFIG_HELP)
    add(
        program.estimates.body_flag,
        dest="body_path",
        type=named_path,
        help=f"{program.estimates.body_file}; default: {program.estimates.bundled}",
    )
    add("--batch", type=images_per_call, help="fix the number of images; default: any number is accepted")
    return parser


def _export(program: ModelProgram, given: argparse.Namespace) -> int:
    method = find_method(given.method).name
    learned = choose_learned(given.learned, [method], given.checkpoint or program.default_checkpoint)[method]
    schedule = read_schedule(given.r, method, learned)
    run = _with_mask(Run(schedule, method, unmerge=not given.no_unmerge, learned=learned), program, given)
    _require_free(program, given, run)
    model = program.load_model(given.checkpoint, given.body_path, given.config_path).eval()
    run.check(program, model)
    batch = program.estimates.crops(model, given.batch or _EXAMPLE_IMAGES)
    facts = {
        "model": program.name,
        "schedule": str(schedule),
        "method": method,
        "unmerge": str(run.unmerge),
        "mask": run.mask,
        "checkpoint": given.checkpoint.name if given.checkpoint else "bundled",
    }
    differences: dict[str, float] = {}

    def check(path: Path) -> None:
        differences.update(compare(model, OnnxModel(path), batch))
        lost = [name for name, difference in differences.items() if not isfinite(difference)]
        if lost:
            raise ExportError(
                f"{given.out} was not written: in onnxruntime these outputs are not finite: "
                f"{', '.join(lost)}."
            )

    with run.applied(program, model):
        files = export_onnx(
            *(model, batch, given.out), dynamic_batch=given.batch is None, metadata=facts, check=check
        )
    for file in files:
        _log.info("%s: %.1f MB", file, file.stat().st_size / 1e6)
    name, worst = max(differences.items(), key=lambda item: item[1])
    _log.info("Largest difference from PyTorch, relative to 1 + |value|: %.1e (%s).", worst, name)
    return 0


def _with_mask(run: Run, program: ModelProgram, given: argparse.Namespace) -> Run:
    """The run with the mask of the command line, which can only be one that is read inside the model.

    Raises:
        InputError: there is no such mask, it would have no effect, or its probe is missing.
    """
    checkpoint = given.checkpoint or program.default_checkpoint
    probe: Path = given.probe or probe_beside(checkpoint)
    asked, is_off, weight = given.mask, run.schedule.is_off, choose_weight(given.background)
    if asked == AUTO:
        is_useful = not is_off and not find_method(run.method).mixes
        asked = "probe" if is_useful and probe.is_file() else NO_MASK
    if find_masks(asked, also=(AUTO,)).drawn:
        raise InputError(
            f"--mask {asked} is drawn over each picture, which an ONNX file cannot do: use one of "
            f"{', '.join(MASK_NAMES)}."
        )
    if asked != NO_MASK and is_off:
        raise InputError(f"--mask {asked} needs merging, but --r is off: try --r 8x16.")
    mask = choose_mask(asked, [run.method], ANYWHERE)
    found = choose_probe(given.probe, mask, checkpoint)
    refuse_unused_probe(given.probe, [found])
    refuse_unused_weight(weight, [mask])
    return replace(run, mask=mask, probe=found, weight=weight)


def _require_free(program: ModelProgram, given: argparse.Namespace, run: Run) -> None:
    """Refuse, before any work, an output file that cannot be written, or that is read.

    Raises:
        TMUError: it is one of the model's files, is not named `.onnx`, or cannot be written.
    """
    checkpoint = given.checkpoint or program.default_checkpoint
    config = given.config_path or checkpoint.with_suffix(".yaml")
    others = (given.body_path, run.learned, run.probe)
    read = [checkpoint, config, *(path for path in others if path is not None)]
    target = output_file(given.out)
    require_other_file(given.out, (target, target.with_name(f"{target.name}.data")), read)
    if given.out.suffix != ".onnx":
        raise ExportError(f"--out {given.out} is not named as an ONNX file: name it .onnx.")


@torch.no_grad()
def compare(model: nn.Module, exported: OnnxModel, batch: Mapping[str, Tensor]) -> dict[str, float]:
    """The largest difference of every output, relative to 1 + |value| (almost absolute for small values such
    as metres).
    """
    wanted = flatten_output(model(batch))
    return {
        name: float(((value - wanted[name]).abs() / (1 + wanted[name].abs())).max())
        for name, value in flatten_output(exported(batch)).items()
    }
