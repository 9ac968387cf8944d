"""The error that number formats other than float32 cause."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.evaluation.masking import key_of
from shared_tmu.programs.model_program import Run
from shared_tmu.programs.program import Program
from shared_tmu.runtime.precision import name_of

_log = logging.getLogger(__name__)


@torch.inference_mode()
def measure_dtype_error(
    program: Program, model: nn.Module, exact: nn.Module | None, run: Run, batch: Mapping[str, Tensor]
) -> dict[str, Any]:
    """How far outputs are from those in float32, for the samples of one batch.

    Args:
        program: description of the models.
        model: the model in the number format of an evaluation.
        exact: the model in float32; None if the evaluation is in float32, so that there is nothing to
            compare.
        run: the merging setting.
        batch: samples.
    """
    if exact is None:
        return {}
    found = []
    for each in (model, exact):
        with run.applied(program, each, batch.get(key_of(run.mask))):
            found.append(each(batch))
    error = program.estimates.dtype_error(*found)
    dtype = name_of(next(model.parameters()).dtype)
    _log.info("%s: %s instead of float32: %s", run.label, dtype, error)
    return {"dtype_error": asdict(error)}
