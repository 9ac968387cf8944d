"""The model of an evaluation, loaded and checked, and the facts that its results depend on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from shared_tmu.evaluation.budget.auto import ModelIdentity
from shared_tmu.evaluation.recipes import require_recipes, trunk_sha256
from shared_tmu.evaluation.settings import EvalSettings
from shared_tmu.programs.identity import code_sha256, file_sha256, sizes_of, weights_sha256
from shared_tmu.programs.program import Program
from shared_tmu.programs.results import describe_environment
from shared_tmu.runtime.packing import PackHandle, pack_if_possible


@dataclass(frozen=True)
class LoadedModel:
    """A model and what is known about it.

    Args:
        program: description of the model.
        module: on its device, in the number format of the evaluation.
        facts: go into every record.
        depends_on: facts that decide, with the set and the run, whether finished work is still valid.
        packing: handle of the packed weights, removed when all is done.
        exact: the same model in float32, None if that is its dtype.
        identity: digests of the weights as they were loaded; that of the trunk only if runs are to be found.
    """

    program: Program
    module: nn.Module
    facts: Mapping[str, Any]
    depends_on: Mapping[str, Any]
    packing: PackHandle
    exact: nn.Module | None = None
    identity: ModelIdentity = field(default_factory=ModelIdentity)

    @classmethod
    def load(cls, program: Program, settings: EvalSettings) -> LoadedModel:
        """Load the model and apply every run's patch once.

        Raises:
            TMUError: no usable weights, or a run that does not fit the model.
        """
        model = program.load_model(settings.checkpoint, settings.body_path, settings.config_path).eval()
        require_recipes(program, model, settings.runs)
        for run in settings.runs:
            with run.shortened(program, model):
                run.check(program, model, settings.batch_size)
        weights = weights_sha256(model)
        trunk = trunk_sha256(program, model) if settings.budgets else ""
        model.to(device=settings.device)
        exact = copy.deepcopy(model) if settings.dtype != torch.float32 else None
        model.to(dtype=settings.dtype)
        packing = pack_if_possible(model) if settings.packed else PackHandle([])
        environment = describe_environment(settings.device, program.folder)
        checkpoint = settings.checkpoint or program.default_checkpoint
        shared = {
            "model": program.name,
            "weights_sha256": weights,
            "dtype": settings.dtype_name,
            "device": settings.device.type,
            "batch_size": settings.batch_size,
            "packed": packing.num_layers > 0,
        }
        facts = {
            **shared,
            "checkpoint": checkpoint.name,
            "checkpoint_sha256": file_sha256(checkpoint) if checkpoint.is_file() else None,
            "body_model": settings.body_path.name if settings.body_path else None,
            **environment,
        }
        depends_on = {
            **shared,
            "config": sizes_of(model),
            "code": code_sha256(program.folder),
            "torch": torch.__version__,
            "processor": environment["machine"]["processor"],
        }
        return cls(program, model, facts, depends_on, packing, exact, ModelIdentity(weights, trunk))
