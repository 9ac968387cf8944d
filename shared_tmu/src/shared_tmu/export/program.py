"""The command line of `export.py`, the same for every model folder."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor, nn

from shared_tmu.errors import ExportError
from shared_tmu.export.onnx_export import export_onnx, output_file
from shared_tmu.export.onnx_model import OnnxModel
from shared_tmu.export.outputs import flatten_output
from shared_tmu.methods import find_method
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import (
    CONFIG_HELP,
    METHOD_HELP,
    images_per_call,
    named_path,
)
from shared_tmu.programs.learned_files import add_learned_flag, choose_learned, read_schedule
from shared_tmu.programs.model_program import ModelProgram, Run
from shared_tmu.programs.results import require_other_file

_log = logging.getLogger(__name__)

_EXAMPLE_IMAGES = 2  # so that the batch can be distinguished from a dimension of size 1


def main(program: ModelProgram, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    return run_program(
        lambda: _export(program, build_parser(program).parse_args(arguments)),
        "Interrupted; nothing was written.",
    )


def build_parser(program: ModelProgram) -> argparse.ArgumentParser:
    """The parser of `main`; its help shows the defaults."""
    parser = argparse.ArgumentParser(
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
    _require_free(program, given, learned)
    run = Run(schedule, method, unmerge=not given.no_unmerge, learned=learned)
    model = program.load_model(given.checkpoint, given.body_path, given.config_path).eval()
    batch = program.estimates.crops(model, given.batch or _EXAMPLE_IMAGES)
    facts = {
        "model": program.name,
        "schedule": str(schedule),
        "method": method,
        "unmerge": str(run.unmerge),
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


def _require_free(program: ModelProgram, given: argparse.Namespace, learned: Path | None) -> None:
    """Refuse, before any work, an output file that cannot be written, or that is read.

    Raises:
        TMUError: it is one of the model's files, is not named `.onnx`, or cannot be written.
    """
    checkpoint = given.checkpoint or program.default_checkpoint
    config = given.config_path or checkpoint.with_suffix(".yaml")
    read = [path for path in (checkpoint, config, given.body_path, learned) if path is not None]
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
