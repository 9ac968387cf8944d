"""Loads the model of the demo, and searches its setting for `--r auto`."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import nn

from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.subjects import demo_subject
from shared_tmu.errors import InputError
from shared_tmu.evaluation.budget.auto import AutoSettings, ModelIdentity, find_run
from shared_tmu.evaluation.recipes import trunk_sha256
from shared_tmu.masks import NO_MASK
from shared_tmu.programs.identity import weights_sha256
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.runtime.packing import PackHandle, pack_if_possible
from shared_tmu.runtime.precision import name_of
from shared_tmu.schedule import Schedule


def load_for(program: ModelProgram, options: DemoOptions) -> tuple[nn.Module, DemoOptions]:
    """Load the model that options ask for, and complete the options from it.

    Returns:
        The model, in eval mode, on the CPU, in float32; and the options with a scale of the crops and, if a
        search was asked for, with the run that it found.

    Raises:
        TMUError: the model cannot be loaded, a search failed, or merging does not fit the model.
    """
    model = program.load_model(options.checkpoint, options.body_path, options.config_path).eval()
    if options.rescale_factor is None:
        options = replace(options, rescale_factor=demo_subject(program.estimates).scale_of(model))
    options = find_demo_run(program, model, options)
    # an unsuitable schedule raises its error before any work
    with options.run.shortened(program, model):
        options.run.check(program, model, options.batch_size)
    return model, options


def find_demo_run(program: ModelProgram, model: nn.Module, options: DemoOptions) -> DemoOptions:
    """The same options with the fastest run within the budget, if one was asked for.

    Its mask is the one that the demo would take, or none, whichever is better.

    Args:
        program: description of the model.
        model: as it was loaded; it stays so.
        options: options of the demo.

    Raises:
        TMUError: see `find_run`; or what was found merges no tokens, and pictures of merging were asked for.
    """
    if options.budget is None or options.calibration is None:
        return options
    identity = ModelIdentity(weights_sha256(model), trunk_sha256(program, model))
    tried = copy.deepcopy(model).to(device=options.device, dtype=options.dtype)
    run = options.run
    with pack_if_possible(tried) if options.packed else PackHandle([]) as packing:
        settings = AutoSettings(
            samples=options.calibration,
            base=replace(run, schedule=Schedule(), mask=NO_MASK, probe=None),
            probes={run.mask: run.probe, NO_MASK: None},
            dtype_name=name_of(options.dtype),
            packed=packing.num_layers > 0,
        )
        found = find_run(program, tried, identity, options.budget, settings)
    if found.schedule.is_off and (options.compare or options.tokens):
        raise InputError(
            f"--compare and --tokens show how tokens merge, and {found.label}, which {options.budget} has "
            "found, merges layers only: leave them out, or use a schedule."
        )
    return replace(options, run=found, budget=None, calibration=None)
