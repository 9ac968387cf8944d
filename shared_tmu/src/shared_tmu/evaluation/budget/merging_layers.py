"""ECLM as a program: search windows of layers by trials, save the shorter model, look at what it does."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared_tmu.datasets import set_sha256
from shared_tmu.datasets.base import group_numbers
from shared_tmu.errors import InputError, LayersError
from shared_tmu.evaluation.budget.layers_settings import LayerSettings, parse_layer_settings
from shared_tmu.evaluation.budget.samples import Errors, Samples
from shared_tmu.evaluation.budget.shorter_model import carry_probe, save_shorter
from shared_tmu.evaluation.budget.trials import TrialErrors
from shared_tmu.evaluation.recipes import trunk_sha256
from shared_tmu.evaluation.store import require_folder
from shared_tmu.layers import LayerRecipe, Search, Trial, describe_partition, find_windows, singles
from shared_tmu.metrics.bootstrap import bootstrap_interval
from shared_tmu.programs.console import run_program
from shared_tmu.programs.identity import code_sha256, digest_of, sizes_of, weights_sha256
from shared_tmu.programs.mask_flags import probe_beside
from shared_tmu.programs.model_program import ModelProgram
from shared_tmu.programs.results import describe_environment, require_writable
from shared_tmu.programs.rows import format_rows
from shared_tmu.runtime.packing import pack_if_possible

_log = logging.getLogger(__name__)


def main(program: ModelProgram, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    return run_program(
        lambda: merge_layers_of(program, parse_layer_settings(program, arguments)),
        "Interrupted. The same command continues from here.",
    )


def merge_layers_of(program: ModelProgram, settings: LayerSettings) -> int:
    """Search, save and report; the model that is read stays as it is.

    Raises:
        TMUError: before any work, if a set is missing or the file cannot be written; afterwards, if nothing
            can be merged within the bound.
    """
    common, out = settings.common, settings.out_for(program)
    for asked in filter(None, (settings.calibration, settings.check)):
        asked.check()
    settings.require_other_file_for(program)
    require_folder(out.parent)
    log = settings.log_for(program)
    require_writable(out)
    require_writable(log)
    model = program.load_model(common.checkpoint, common.body_path, common.config_path).eval()
    original = trunk_sha256(program, model)
    samples = Samples.of_set(settings.calibration, model)
    key = digest_of(_depends_on(program, settings, model, samples))
    model.to(device=common.device, dtype=common.dtype)
    with pack_if_possible(model) if common.packed else nullcontext():
        errors = TrialErrors(samples, program.blocks_of(model), settings.metric, settings.variant, log, key)
        found = search_layers(errors, settings)
    if errors.num_reused:
        _log.info(
            "%d of %d errors were known from an earlier run (%s).",
            errors.num_reused,
            1 + len(found.trials),
            log,
        )
    _require_merged(found, settings)
    recipe = LayerRecipe(found.partition, settings.variant, original)
    exact = program.load_model(common.checkpoint, common.body_path, common.config_path).eval()
    facts = {**_facts(program, settings, samples, found), "model": program.name}
    save_shorter(program, exact, recipe, out, settings.file_dtype, facts)
    rows = [
        ("layers", f"{found.depth} of {len(errors.place.blocks)} ({describe_partition(found.partition)})")
    ]
    rows += _measured(program, settings, samples, exact, out, found)
    rows.append(("saved as", str(out)))
    sys.stdout.write(format_rows(rows) + "\n")
    return 0


def search_layers(errors: TrialErrors, settings: LayerSettings) -> Search:
    """Algorithm 1, with a line for each trial.

    Raises:
        LayersError: see `find_windows`.
        InputError: the unmerged model's error is not finite.
    """
    depth = len(errors.place.blocks)
    base = errors(singles(depth))
    if not math.isfinite(base):
        raise InputError(
            f"the unmerged model has no finite {settings.metric} on {settings.calibration.dataset}, see "
            "above: use another --metric, such as PA-MPJPE, or another --dataset."
        )
    _log.info("%d layers: %s %.3f mm on %d samples.", depth, settings.metric, base, len(errors.samples))
    made: list[Trial] = []

    def show(trial: Trial) -> None:
        made.append(trial)
        _log.info(
            "trial %d of %d: layers %d-%d as one: %+.4f mm, %s",
            *(len(made), depth - 1, trial.first, trial.last, trial.error - base),
            "passed" if trial.passed else "failed",
        )

    return find_windows(depth, errors, settings.threshold_mm, flush=settings.flush, on_trial=show)


def _require_merged(found: Search, settings: LayerSettings) -> None:
    if found.depth < found.partition[-1][1] + 1:
        return
    best = min(found.trials, key=lambda trial: trial.error, default=None)
    if best is None:
        raise LayersError("this model has one layer: there is nothing to merge.")
    if all(trial.passed for trial in found.trials):
        raise LayersError(
            "every trial passed, so that the window never closed, and the published algorithm then merges "
            "nothing: add --flush to keep it, or use a smaller --threshold."
        )
    raise LayersError(
        f"no layers can be merged within {settings.threshold_mm:g} mm of {settings.metric}: the least "
        f"is {best.error - found.base:+.3f} mm, of layers {best.first} to {best.last} (a window that reaches "
        "the first layer is lost without --flush). Use a larger --threshold."
    )


def _depends_on(
    program: ModelProgram, settings: LayerSettings, model: nn.Module, samples: Samples
) -> dict[str, Any]:
    common = settings.common
    return {
        "weights": weights_sha256(model),
        "config": sizes_of(model),
        "samples": [set_sha256(samples.data), len(samples), samples.data.facts],
        "metric": settings.metric,
        "variant": settings.variant,
        "how": [common.dtype_name, common.device.type, common.batch_size, common.packed],
        "code": code_sha256(program.folder),
        "torch": torch.__version__,
    }


def _facts(program: ModelProgram, settings: LayerSettings, samples: Samples, found: Search) -> dict[str, Any]:
    """What the file says about how it was made, besides the recipe itself."""
    trials = [
        {
            "first": t.first,
            "last": t.last,
            "error_mm": t.error if t.error == t.error else None,
            "passed": t.passed,
        }
        for t in found.trials
    ]
    data = samples.data
    return {
        "layers_before": found.partition[-1][1] + 1,
        "layers": found.depth,
        "threshold_mm": settings.threshold_mm,
        "metric": settings.metric,
        "flush": settings.flush,
        "base_mm": found.base,
        "error_mm": found.error,
        "calibration": {
            "dataset": data.name,
            "n": len(data),
            "dataset_sha256": set_sha256(data),
            **data.facts,
        },
        "trials": trials,
        "batch_size": settings.common.batch_size,
        "dtype": settings.common.dtype_name,
        **describe_environment(settings.common.device, program.folder),
    }


def _measured(
    program: ModelProgram,
    settings: LayerSettings,
    samples: Samples,
    model: nn.Module,
    out: Path,
    found: Search,
) -> list[tuple[str, str]]:
    """Rows of what the saved file does: on the samples of the trials, and on others."""
    common = settings.common
    shorter = program.load_model(out, common.body_path, None).eval()
    counts = [sum(p.numel() for p in each.parameters()) for each in (model, shorter)]
    rows = [("parameters", f"{counts[1] / 1e6:.2f} M of {counts[0] / 1e6:.2f} M")]
    if carry_probe(program, common.checkpoint or program.default_checkpoint, shorter, out):
        rows.append(("probe for --mask", f"{probe_beside(out).name}, beside it"))
    for each in (model, shorter):
        each.to(device=common.device, dtype=common.dtype)
    again = float(_errors_of(shorter, samples, settings.metric).mean())
    shown = f"{settings.metric} {found.base:.3f} mm before, {again:.3f} mm after ({again - found.base:+.3f})"
    rows.append((f"{samples.data.name}, {len(samples)} samples", shown))
    if not again - found.base < settings.threshold_mm:
        _log.warning(
            "The file's error is %+.4f mm, and the trial's was less than %g: its numbers are rounded to %s; "
            "use --file_dtype float32.",
            *(again - found.base, settings.threshold_mm, settings.file_dtype),
        )
    if settings.check is not None:
        others = Samples.of_set(settings.check, model)
        pair = [_errors_of(each, others, settings.metric) for each in (model, shorter)]
        groups = group_numbers(others.data.groups)
        interval = "of one group"
        if len(set(groups)) > 1:
            interval = "{:+.3f} to {:+.3f}".format(*bootstrap_interval(pair[1] - pair[0], groups=groups))
        means = [float(errors.mean()) for errors in pair]
        text = f"{means[0]:.3f} mm before, {means[1]:.3f} mm after ({means[1] - means[0]:+.3f}, {interval})"
        rows.append((f"{others.data.name}, {len(others)} samples, others", text))
    return rows


def _errors_of(model: nn.Module, samples: Samples, metric: str) -> Errors:
    def call(_: int, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        output: Mapping[str, Any] = model(batch)
        return output

    return samples.errors(samples.predict(call), metric)
