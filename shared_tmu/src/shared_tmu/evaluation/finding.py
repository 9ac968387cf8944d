"""Runs that an evaluation has to find before it evaluates them."""

from __future__ import annotations

from dataclasses import replace

from shared_tmu.errors import InputError
from shared_tmu.evaluation.budget.auto import find_run
from shared_tmu.evaluation.loaded import LoadedModel
from shared_tmu.evaluation.settings import EvalSettings
from shared_tmu.programs.model_program import ModelProgram


def find_runs(loaded: LoadedModel, settings: EvalSettings) -> tuple[EvalSettings, list[str]]:
    """Find the fastest run for each budget.

    Returns:
        The settings with these runs after the others, and a sentence for each budget that cannot be met.
    """
    runs, failures = list(settings.runs), []
    for budget in settings.budgets:
        assert settings.auto is not None, "settings with budgets say how"
        assert isinstance(loaded.program, ModelProgram), "only model folders offer --r auto"
        how = (loaded.program, loaded.module, loaded.identity, budget, settings.auto)
        try:
            runs.append(find_run(*how, fresh=settings.fresh))
        except InputError as error:
            failures.append(str(error))
    return replace(settings, runs=tuple(dict.fromkeys(runs))), failures
