"""The command line that merges layers, the same for every model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from shared_tmu.datasets import DATASETS, dataset_names
from shared_tmu.datasets.hand_rules import TIPS
from shared_tmu.errors import InputError
from shared_tmu.evaluation.budget.samples import SampleChoice, metric_name
from shared_tmu.evaluation.settings import EvalSettings, add_model_flags
from shared_tmu.files.checkpoints import beside
from shared_tmu.layers import VARIANTS
from shared_tmu.programs.estimates import HAND
from shared_tmu.programs.flags import (
    FlagParser,
    choose_device,
    named_path,
    natural,
    positive,
    positive_number,
)
from shared_tmu.programs.mask_flags import probe_beside
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.results import require_other_file
from shared_tmu.runtime.precision import DTYPES, choose_dtype


@dataclass(frozen=True)
class LayerSettings:
    """Everything a command line decides.

    Args:
        common: model, device, data and so on, as for an evaluation.
        calibration: samples on which the error is measured.
        check: samples on which to look at the result afterwards; None for none.
        threshold_mm: how much more error a trial may have, less than this.
        metric: as in result lines.
        variant: row of `VARIANTS`.
        flush: also commit a window that reaches the first block.
        out: the file to write; None chooses one in the folder of results.
        file_dtype: dtype of the weights in the file.
    """

    common: EvalSettings
    calibration: SampleChoice
    check: SampleChoice | None
    threshold_mm: float
    metric: str
    variant: str
    flush: bool
    out: Path | None
    file_dtype: torch.dtype

    def out_for(self, program: ModelProgram) -> Path:
        """Where the model goes."""
        name = f"{self._stem(program)}-eclm-{self.threshold_mm:g}mm.safetensors"
        return self.out or self.common.results / "layers" / name

    def require_other_file_for(self, program: ModelProgram) -> None:
        """Refuse to write over the model that is read.

        Raises:
            InputError: the file to write, or one that is written beside it, is the checkpoint, its
                configuration or its probe.
        """
        out, checkpoint = self.out_for(program), self.common.checkpoint or program.default_checkpoint
        config = self.common.config_path or beside(checkpoint, ".yaml")
        written = (out, out.with_suffix(".yaml"), probe_beside(out))
        require_other_file(out, written, (checkpoint, config, probe_beside(checkpoint)))

    def log_for(self, program: ModelProgram) -> Path:
        """Where errors of trials are kept: with the model, for they do not depend on the threshold."""
        return self.out_for(program).with_name(f"{self._stem(program)}.trials.jsonl")

    def _stem(self, program: ModelProgram) -> str:
        return (self.common.checkpoint or program.default_checkpoint).stem


def parse_layer_settings(program: ModelProgram, arguments: Sequence[str] | None = None) -> LayerSettings:
    """Read a command line; None reads the process's own.

    Raises:
        TMUError: a value that cannot be what it should be.
        SystemExit: `--help`, an unknown flag, or a value of the wrong type.
    """
    given = build_layer_parser(program).parse_args(arguments)
    names = dataset_names(given.dataset, program.estimates.name)
    if len(names) != 1:
        raise InputError(
            f"--dataset {given.dataset}: merging layers uses the error on one set: name exactly one."
        )
    if given.out is not None and given.out.suffix != ".safetensors":
        raise InputError(
            f"--out {given.out} is written as safetensors: use a name that ends with .safetensors."
        )
    device = choose_device(given.device)
    common = EvalSettings(
        datasets=names,
        runs=(),
        data_dir=given.data_dir,
        results=given.results or program.results_dir,
        device=device,
        dtype=choose_dtype(given.dtype, device).dtype,
        checkpoint=given.checkpoint,
        config_path=given.config_path,
        body_path=given.body_path,
        batch_size=given.batch_size,
        tips=getattr(given, "tips", "model"),
        packed=given.packed,
    )
    options = common.set_options()
    calibration = SampleChoice(names[0], given.data_dir, given.limit, given.batch_size, device, options)
    check = _choose_check(given.check, names[0], program)
    return LayerSettings(
        common=common,
        calibration=calibration,
        check=None if check is None else replace(calibration, dataset=check, limit=given.check_limit or None),
        threshold_mm=given.threshold,
        metric=metric_name(given.metric),
        variant=given.variant,
        flush=given.flush,
        out=given.out,
        file_dtype=DTYPES[given.file_dtype],
    )


def _choose_check(asked: str, calibration: str, program: ModelProgram) -> str | None:
    """The set to look at afterwards; `auto` is the evaluation set that goes with our own calibration set."""
    if asked == "none":
        return None
    if asked == "auto":
        return program.estimates.dataset if calibration == program.estimates.calibration else None
    names = dataset_names(asked, program.estimates.name)
    if len(names) != 1 or names[0] == calibration:
        fault = "names several sets" if len(names) != 1 else "is the set with which layers are merged"
        raise InputError(f"--check {asked} {fault}: name one other set, or none.")
    return names[0]


def build_layer_parser(program: ModelProgram) -> argparse.ArgumentParser:
    """The parser of `parse_layer_settings`; defaults are in its help."""
    parser = FlagParser(
        prog=f"merge_layers.py --model {program.name.lower()}",
        description=f"Merge neighbouring blocks of {program.name}'s ViT while its error on a calibration set "
        "stays within a bound (ECLM, arXiv:2510.10868). The result is an ordinary model with fewer blocks. "
        "The same command goes on after a stop, and trials that are known are not made again.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add, subject = parser.add_argument, program.estimates
    sets = ", ".join(spec.name for spec in DATASETS.values() if spec.subject == subject.name)
    add("--threshold", type=positive_number, default=0.1, metavar="MM", help="allowed increase of the error")
    add("--metric", default="PA-MPVPE", help="the error: a name from eval.py's results in millimetres")
    add("--dataset", default=subject.calibration, help=f"calibration set, one of {sets}")
    add("--data_dir", type=named_path, default=program.data_dir, help="folder of datasets")
    add("--limit", type=positive, default=200, help="number of its samples, from the first")
    add(
        "--check",
        default="auto",
        help="set on which the result is checked; auto: the evaluation set, if there is one",
    )
    add("--check_limit", type=natural, default=200, help="number of its samples, from the first; 0: all")
    add("--variant", choices=VARIANTS, default="eq4", help="how the blocks of a window are combined")
    add("--flush", action="store_true", help="also merge the last window if it reaches the first block")
    add(
        "--out", type=named_path, help="the .safetensors file to write; default: a file in the results folder"
    )
    add("--file_dtype", choices=DTYPES, default="float32", help="number format of its weights")
    add("--results", type=named_path, help="folder of results; default: the model folder's")
    if subject is HAND:
        add(
            "--tips",
            choices=TIPS,
            default="model",
            help="which definition of fingertips joint errors use; published: model",
        )
    add_model_flags(parser, program)
    return parser
