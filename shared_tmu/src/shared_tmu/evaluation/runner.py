"""Evaluates a model under several schedules on several sets: predict, score, time; one JSON line each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from torch import nn

from shared_tmu.datasets import EvalSet, check_dataset, open_dataset
from shared_tmu.errors import InputError, TMUError
from shared_tmu.evaluation.finding import find_runs
from shared_tmu.evaluation.loaded import LoadedModel
from shared_tmu.evaluation.per_sample import require_pyarrow
from shared_tmu.evaluation.prediction_file import score_prediction_file
from shared_tmu.evaluation.set_runner import Evaluation
from shared_tmu.evaluation.settings import EvalSettings, parse_settings
from shared_tmu.evaluation.store import (
    require_folder,
    results_file,
)
from shared_tmu.evaluation.world import find_world, make_trainer, share_threads
from shared_tmu.programs.console import run_program
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.program import Program
from shared_tmu.programs.results import require_writable

OpenSet = Callable[[nn.Module], EvalSet]
"""Opens a set for a model of this configuration."""
_log = logging.getLogger(__name__)


def main(program: ModelProgram, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0 only if everything asked for was evaluated."""
    return run_program(
        lambda: evaluate(program, parse_settings(program, arguments)),
        "Interrupted. Run the same command again to continue.",
    )


def evaluate(program: ModelProgram, settings: EvalSettings) -> int:
    """Evaluate every run on every set; failures are reported at the end and do not stop the rest.

    Returns:
        Exit status: 1 if anything failed.

    Raises:
        TMUError: before any work, if a schedule does not fit the model, a dataset is missing, or the
            weights or the results folder cannot be used.
    """
    for name in settings.datasets:
        check_dataset(name, settings.data_dir, settings.set_options())
    if settings.auto is not None:
        settings.auto.samples.check()
    if settings.predictions is not None:
        require_folder(settings.results)
        require_pyarrow()
        return score_prediction_file(settings.predictions, program.name, settings)

    def open_named(name: str, model: nn.Module) -> EvalSet:
        return open_dataset(name, settings.data_dir, settings.set_options(model))

    return evaluate_sets(program, settings, {name: partial(open_named, name) for name in settings.datasets})


def evaluate_sets(program: Program, settings: EvalSettings, sets: Mapping[str, OpenSet]) -> int:
    """`evaluate` for sets by their names; each is opened for the model when it is its turn.

    Raises:
        TMUError: before any work, if a run does not fit the model, or the weights or the results folder
            cannot be used.
    """
    require_folder(settings.results)
    require_pyarrow()
    for name in sets:
        require_writable(results_file(settings.results, program.name, name))
    world = find_world(settings.devices, settings.num_nodes, settings.device)
    if world.size > 1 and settings.budgets:
        raise InputError(
            "--r auto measures speed, which several processes would each find different: run it by one "
            "process, then name the schedule that it finds."
        )
    share_threads(world)
    if not world.is_first:
        logging.getLogger("shared_tmu").setLevel(logging.CRITICAL)  # the first one says everything
    loaded = LoadedModel.load(program, replace(settings, device=world.device))
    with loaded.packing:
        settings, failures = find_runs(loaded, replace(settings, device=world.device))
        evaluation = Evaluation(loaded, settings, world, make_trainer(world))
        for name, open_set in sets.items():
            try:
                failures += evaluation.evaluate_set(open_set(loaded.module))
            except TMUError as error:
                failures.append(f"{name}: {error}")
    if not world.is_first:
        return 0  # the first process reports what failed
    for failure in failures:
        _log.error("Not evaluated: %s", failure)
    return 1 if failures else 0
