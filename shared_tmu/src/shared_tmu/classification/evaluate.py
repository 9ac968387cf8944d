"""The command line of `scripts/eval_classification.py`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from shared_tmu.classification.choosing import add_model_flags, read_choice
from shared_tmu.classification.class_names import read_class_map
from shared_tmu.classification.classifier import Classifier, program_of
from shared_tmu.classification.sources import DATA_HELP, FASHION, find_source
from shared_tmu.errors import InputError, TMUError
from shared_tmu.evaluation.run_lists import read_runs
from shared_tmu.evaluation.runner import evaluate_sets
from shared_tmu.evaluation.settings import EvalSettings
from shared_tmu.method_parts.restores import COPY
from shared_tmu.methods import METHODS, find_method
from shared_tmu.programs.console import run_program
from shared_tmu.programs.flags import (
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
from shared_tmu.programs.model_program import Run
from shared_tmu.programs.program import Program
from shared_tmu.runtime.packing import PACKED_HELP
from shared_tmu.runtime.precision import DTYPES, choose_dtype

ALL = "all"
RESULTS = Path("results")
_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 only if everything asked for was evaluated, on all pictures."""
    given = build_parser().parse_args(arguments)
    return run_program(lambda: _evaluate(given), "Interrupted. Run the same command again to continue.")


def _evaluate(given: argparse.Namespace) -> int:
    choice, source = read_choice(given), find_source(given.data, "test")
    classes = None if given.class_map is None else read_class_map(given.class_map)
    model, names = choice.load(source.name)
    data = source.labelled(model.crop, model.num_classes, classes if classes is not None else names)
    program = program_of(choice.model, lambda: model, choice.named_checkpoint)
    settings = read_settings(given, program, model)
    status = evaluate_sets(program, settings, {source.name: lambda config: data})
    for problem in source.problems:
        _log.error("Not evaluated: %s.", problem)
    return status or (1 if source.problems else 0)


def read_settings(given: argparse.Namespace, program: Program, model: Classifier) -> EvalSettings:
    """Everything but the set.

    Raises:
        TMUError: a value is invalid, or a run does not fit the model.
    """
    device = choose_device(given.device)
    return EvalSettings(
        datasets=(),
        runs=read_merging(given, program, model),
        data_dir=Path(),
        results=given.results,
        device=device,
        dtype=choose_dtype(given.dtype, device).dtype,
        checkpoint=None,
        batch_size=given.batch_size,
        num_workers=given.num_workers,
        limit=given.limit,
        rounds=given.rounds,
        devices=given.devices,
        num_nodes=given.num_nodes,
        fresh=given.fresh,
        packed=given.packed,
    )


def read_merging(given: argparse.Namespace, program: Program, model: Classifier) -> tuple[Run, ...]:
    """The runs of a command line; `--method all` leaves out, and names, what cannot run with these schedules
    on this model.

    Raises:
        TMUError: a value is invalid, or nothing is left.
    """
    how = {"unmerge": not given.no_unmerge, "restores": given.restore, "learned": given.learned}
    if given.method != ALL:
        return read_runs(given.r, given.method, given.protect, **how)
    runs: list[Run] = []
    for name in METHODS:
        try:
            own = read_runs(given.r, name, given.protect, **{**how, "learned": _learned_for(given, name)})
            for run in own:
                run.check(program, model, given.batch_size)
            runs += own
        except TMUError as error:
            _log.warning("Left out: %s (%s)", name, error)
    if not runs:
        raise InputError("none of the methods can run with these schedules on this model.")
    return tuple(dict.fromkeys(runs))


def _learned_for(given: argparse.Namespace, method: str) -> Path | None:
    path: Path | None = given.learned
    return path if find_method(method).learn is not None else None


def build_parser() -> argparse.ArgumentParser:
    """The parser; its help shows the defaults."""
    parser = FlagParser(
        prog="eval_classification.py",
        description="Top-1, top-5 and speed of a classifier, with and without merging. What is finished is "
        "kept: running the same command again computes only what is missing.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add_model_flags(parser)
    add("--probe", type=named_path, help="a linear probe, made by scripts/train_probe.py")
    add("--data", default=FASHION, help=DATA_HELP)
    add("--class_map", type=named_path, metavar="FILE", help="which class of the model each subfolder is")
    add_merging_flags(parser)
    add("--limit", type=positive, help="evaluate only the first N pictures; the results record this")
    add("--batch_size", type=images_per_call, default=32, help="pictures per call, also for timing")
    add("--device", default="auto", help=DEVICE_HELP)
    add("--dtype", choices=("auto", *DTYPES), default="float32", help="number format of the model")
    add("--packed", action=argparse.BooleanOptionalAction, default=True, help=PACKED_HELP)
    add("--num_workers", type=natural, default=0, help="number of processes that read pictures ahead")
    add("--devices", type=positive, default=1, help="processes, each on its own CPU share or GPU")
    add("--num_nodes", type=positive, default=1, help="machines, with MASTER_ADDR and NODE_RANK set")
    add("--rounds", type=natural, default=10, help="timed rounds per run, in turn with off; 0: no timing")
    add("--results", type=named_path, default=RESULTS, help="folder for *.jsonl and files")
    add("--fresh", action="store_true", help="compute and time everything again")
    return parser


def add_merging_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `read_merging` reads."""
    add = parser.add_argument
    add("--r", default="off,16x12", help="comma-separated list of schedules: off, 16x12, 0.9x12, total:98^2")
    add("--method", default="tome", help=f"{ALL}, or a comma-separated list of {METHOD_HELP}")
    add_learned_flag(add, named_path)
    add("--no-unmerge", "--no_unmerge", action="store_true", help="the head reads the merged tokens")
    add("--restore", default=COPY, help=f"comma-separated list of {RESTORE_HELP}")
    add("--protect", default="first", help="comma-separated list of first, last")
