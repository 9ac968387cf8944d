"""The command line of `eval.py`, the same for every model folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from shared_tmu.datasets import DATASETS, SetOptions, dataset_names
from shared_tmu.datasets.hand_rules import TIPS
from shared_tmu.evaluation.budget.auto import AutoSettings
from shared_tmu.evaluation.budget.flags import add_auto_flags, read_auto, refuse_unused
from shared_tmu.evaluation.budget.request import HELP, Budget, split_budgets
from shared_tmu.evaluation.clip_flags import add_clip_flags, clip_choices
from shared_tmu.evaluation.report import COLUMNS
from shared_tmu.evaluation.run_lists import NO_LAYERS, mask_place, read_runs, refuse_models
from shared_tmu.masks import NO_MASK, mask_names
from shared_tmu.method_parts.restores import COPY
from shared_tmu.programs.estimates import HAND
from shared_tmu.programs.flags import (
    CONFIG_HELP,
    DEVICE_HELP,
    METHOD_HELP,
    RESTORE_HELP,
    FlagParser,
    choose_device,
    images_per_call,
    named_path,
    natural,
    positive,
)
from shared_tmu.programs.learned_files import add_learned_flag
from shared_tmu.programs.mask_flags import add_mask_flags, choose_weight
from shared_tmu.programs.model_program import ModelProgram, Run
from shared_tmu.runtime.packing import PACKED_HELP
from shared_tmu.runtime.precision import DTYPES, choose_dtype, name_of

_THESIS = "off,5x20,8x16,10x16,10x8+6x8,12x8+6x8"


@dataclass(frozen=True)
class EvalSettings:
    """All settings of a command line.

    Args:
        datasets: canonical names.
        runs: merging settings to evaluate, in order.
        data_dir: folder in which datasets are looked for.
        results: folder of the `*.jsonl` files.
        checkpoint: None for the bundled weights.
        config_path: its configuration; None looks beside it.
        body_path: None for the bundled body model.
        limit: number of samples to evaluate, from the first.
        tips: which definition of fingertips the joint errors use, see `HandMeshSet`.
        rounds: timed rounds per schedule; 0 measures no speed.
        stability: samples on which to measure how far joints jump, see `measure_stability`; 0 for none.
        columns: which errors the table shows, see `report.COLUMNS`.
        predictions: a prediction file to score instead of running the model; None runs it.
        devices: processes on each machine that predict.
        num_nodes: machines.
        fresh: do everything again, whatever is already there.
        budgets: error budgets, for each of which the fastest run is found first.
        auto: how to find them; None without budgets.
        packed: multiply by packed copies of the weights where a CPU can, see `shared_tmu.runtime.packing`.
    """

    datasets: tuple[str, ...]
    runs: tuple[Run, ...]
    data_dir: Path
    results: Path
    device: torch.device
    dtype: torch.dtype = torch.float32
    checkpoint: Path | None = None
    config_path: Path | None = None
    body_path: Path | None = None
    batch_size: int = 16
    num_workers: int = 0
    limit: int | None = None
    tips: str = "model"
    rounds: int = 50
    stability: int = 0
    columns: str = "published"
    predictions: Path | None = None
    devices: int = 1
    num_nodes: int = 1
    fresh: bool = False
    packed: bool = True
    budgets: tuple[Budget, ...] = ()
    auto: AutoSettings | None = None

    @property
    def dtype_name(self) -> str:
        """The number format without `torch.`, such as `float32`."""
        return name_of(self.dtype)

    def set_options(self, model: nn.Module | None = None) -> SetOptions:
        """How sets are read, for this model if it is already loaded."""
        options = SetOptions(body_path=self.body_path, tips=self.tips)
        return options if model is None else options.for_model(model)


def parse_settings(program: ModelProgram, arguments: Sequence[str] | None = None) -> EvalSettings:
    """Read a command line; None reads the process's own.

    Raises:
        TMUError: a value is invalid (`ScheduleError`, `MethodError`, `InputError`).
        SystemExit: `--help`, an unknown flag, or a value of the wrong type.
    """
    parser = build_parser(program)
    given = parser.parse_args(arguments)
    refuse_models(parser, given)
    device = choose_device(given.device)
    dtype = choose_dtype(given.dtype, device).dtype
    budgets, fixed = split_budgets(given.r)
    datasets = dataset_names(given.dataset, program.estimates.name)
    settings = EvalSettings(
        datasets=datasets,
        runs=read_runs(
            *(fixed, given.method, given.protect, given.mask or NO_MASK, program.estimates.name),
            unmerge=not given.no_unmerge,
            restores=given.restore,
            **clip_choices(given),
            learned=given.learned,
            layers=given.layers,
            probe=given.probe,
            weight=choose_weight(given.background),
            checkpoint=given.checkpoint or program.default_checkpoint,
            datasets=datasets,
        )
        if fixed
        else (),
        budgets=budgets,
        auto=read_auto(program, given, device, dtype) if budgets else None,
        data_dir=given.data_dir,
        results=given.results or program.results_dir,
        device=device,
        dtype=dtype,
        checkpoint=given.checkpoint,
        config_path=given.config_path,
        body_path=given.body_path,
        batch_size=given.batch_size,
        num_workers=given.num_workers,
        limit=given.limit,
        tips=getattr(given, "tips", "model"),
        rounds=given.rounds,
        stability=given.stability,
        columns=given.columns,
        predictions=given.predictions,
        devices=given.devices,
        num_nodes=given.num_nodes,
        fresh=given.fresh,
        packed=given.packed,
    )
    refuse_unused(program, given, settings.runs, settings.auto)
    return settings


def build_parser(program: ModelProgram) -> argparse.ArgumentParser:
    """The parser of `parse_settings`; its help shows the defaults."""
    parser = FlagParser(
        description=f"Accuracy and speed of {program.name} on evaluation sets, with and without merging. "
        "Finished schedules are kept: running the same command again computes only what is missing.",
        epilog=f"The schedules of the thesis: --r {_THESIS}",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_what(parser, program)
    add_model_flags(parser, program)
    _add_how(parser, program)
    return parser


def _add_what(parser: argparse.ArgumentParser, program: ModelProgram) -> None:
    """Sets and schedules."""
    add, subject = parser.add_argument, program.estimates
    sets = ", ".join(spec.name for spec in DATASETS.values() if spec.subject == subject.name)
    add("--dataset", default=subject.dataset, help=f"comma-separated list of {sets}; case is ignored")
    add("--data_dir", type=named_path, default=program.data_dir, help="folder of datasets")
    add(
        "--r",
        default="off,5x20",
        help="comma-separated list of schedules, tokens removed per layer: off, 5x20, 10x8+6x8, 0.9x12, "
        f"total:98; {HELP}",
    )
    add_auto_flags(add, program)
    add("--method", default="tome", help=f"comma-separated list of {METHOD_HELP}")
    add_learned_flag(add, named_path)
    add(
        "--no-unmerge",
        "--no_unmerge",
        action="store_true",
        help="merge-only: the head reads the merged tokens, or a sparse grid if it needs all positions",
    )
    add("--restore", default=COPY, help=f"comma-separated list of {RESTORE_HELP}")
    add(
        "--protect",
        default="first",
        help="comma-separated list of first, last: which tokens are protected; last as in published TMU, "
        "which merges task tokens",
    )
    add(
        "--mask",
        help=f"comma-separated list of {', '.join(mask_names(mask_place(subject.name, DATASETS)))}: which "
        "tokens merge last; landmarks+box: the first of these that is known for a sample; default: none, and "
        "for --r auto every mask that a picture can have",
    )
    add_mask_flags(add)
    add_clip_flags(add)
    add(
        "--layers",
        default=NO_LAYERS,
        help=f"comma-separated list of {NO_LAYERS} and files that scripts/merge_layers.py made from these "
        "weights: adds the same runs with fewer layers",
    )


def add_model_flags(parser: argparse.ArgumentParser, program: ModelProgram) -> None:
    """Add the flags for weights, body model and number format."""
    add, subject = parser.add_argument, program.estimates
    add(
        "--checkpoint",
        type=named_path,
        help=f"weights; default: the bundled {program.default_checkpoint.name}",
    )
    add("--config", dest="config_path", type=named_path, help=CONFIG_HELP)
    add(
        subject.body_flag,
        dest="body_path",
        type=named_path,
        help=f"{subject.body_file}; default: {subject.bundled}",
    )
    add("--batch_size", type=images_per_call, default=16, help="images per model call, also for timing")
    add("--device", default="auto", help=DEVICE_HELP)
    add(
        "--dtype",
        choices=("auto", *DTYPES),
        default="float32",
        help="number format of the model; auto: bfloat16 if the device computes in it",
    )
    add("--packed", action=argparse.BooleanOptionalAction, default=True, help=PACKED_HELP)


def _add_how(parser: argparse.ArgumentParser, program: ModelProgram) -> None:
    """How much is computed, timed and kept."""
    add = parser.add_argument
    add("--num_workers", type=natural, default=0, help="number of processes that read images ahead")
    add(
        "--devices",
        type=positive,
        default=1,
        help="processes that predict, each on its own CPU share or GPU; torchrun and srun say it themselves",
    )
    add("--num_nodes", type=positive, default=1, help="machines that do, with MASTER_ADDR and NODE_RANK set")
    add("--limit", type=positive, help="evaluate only the first N samples; the results record this")
    if program.estimates is HAND:
        add(
            "--tips",
            choices=TIPS,
            default="model",
            help="which definition of fingertips joint errors use; published: model",
        )
    add(
        "--rounds",
        type=natural,
        default=50,
        help="rounds in which a schedule and off are timed in turn; 0: errors only, without speed-ups",
    )
    add(
        "--stability",
        type=natural,
        default=0,
        metavar="N",
        help="measure on N samples how far joints move if the box moves by a pixel or values by a grey level",
    )
    add(
        "--results",
        type=named_path,
        help=f"folder for *.jsonl and files; default: {_shown(program.results_dir)}",
    )
    add(
        "--columns",
        choices=COLUMNS,
        default="published",
        help="errors in the table: those of papers, or those that alignment hides (all are in the results)",
    )
    add(
        "--predictions",
        type=named_path,
        metavar="FILE",
        help="score this prediction file, in the set's own format, instead of running the model",
    )
    add("--fresh", action="store_true", help="compute and time everything again, even if there are results")


def _shown(folder: Path) -> str:
    """A folder of the repository by its last two names, which are the same on every machine."""
    return "/".join(folder.parts[-2:])
