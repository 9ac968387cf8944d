"""Evaluate a model under several schedules on several sets: predict, score, time, one JSON line each."""

from __future__ import annotations

import copy
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from shared_tmu.datasets import EvalSet, check_dataset, open_dataset, picture_signature, set_sha256
from shared_tmu.errors import InputError, TMUError
from shared_tmu.evaluation.intervals import PER_SAMPLE, read_intervals, read_per_sample
from shared_tmu.evaluation.mask_costs import measure_masks
from shared_tmu.evaluation.masking import (
    TOKENS,
    describe_masks,
    masks_of,
    without_masks_lacking,
)
from shared_tmu.evaluation.number_format import measure_dtype_error
from shared_tmu.evaluation.predict import assemble, load_batch, predict_missing
from shared_tmu.evaluation.recipes import facts_of_files, require_recipes
from shared_tmu.evaluation.report import finished_records, say
from shared_tmu.evaluation.settings import EvalSettings, parse_settings
from shared_tmu.evaluation.speed import count_tokens, measure_speeds
from shared_tmu.evaluation.stability import measure_stability
from shared_tmu.evaluation.store import (
    Arrays,
    Chunk,
    RunFolder,
    SetRun,
    chunk_bounds,
    require_folder,
    results_file,
)
from shared_tmu.files import replacing, write_text
from shared_tmu.programs.console import run_program
from shared_tmu.programs.identity import code_sha256, digest_of, file_sha256, sizes_of, weights_sha256
from shared_tmu.programs.model_program import BASELINE, ModelProgram, Run
from shared_tmu.programs.results import append_record, describe_environment, require_writable
from shared_tmu.runtime.packing import PackHandle, pack_if_possible

_TRIES = 5  # to read predictions that another run removes
_log = logging.getLogger(__name__)


def main(program: ModelProgram, arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0 only if everything asked for was evaluated."""
    return run_program(
        lambda: evaluate(program, parse_settings(program, arguments)),
        "Interrupted. The same command continues from here.",
    )


def evaluate(program: ModelProgram, settings: EvalSettings) -> int:
    """Evaluate every run on every set; what fails is reported at the end and does not stop the rest.

    Returns:
        Exit status: 1 if anything failed.

    Raises:
        TMUError: before any work, if a schedule does not fit the model, a dataset is missing, or the
            weights or the results folder cannot be used.
    """
    for name in settings.datasets:
        check_dataset(name, settings.data_dir, settings.set_options())
    require_folder(settings.results)
    for name in settings.datasets:
        require_writable(results_file(settings.results, program.name, name))
    evaluation = Evaluation.start(program, settings)
    failures: list[str] = []
    with evaluation.packing:
        for name in settings.datasets:
            try:
                failures += evaluation.evaluate_set(name)
            except TMUError as error:
                failures.append(f"{name}: {error}")
    for failure in failures:
        _log.error("Not evaluated: %s", failure)
    return 1 if failures else 0


@dataclass(frozen=True)
class Evaluation:
    """A loaded model and the facts that its results depend on.

    Args:
        facts: go into every record.
        depends_on: facts that decide, with the set and the run, whether finished work is still valid.
        packing: handle of the packed weights, removed when all is done.
        exact: the same model in float32, None if that is its dtype.
    """

    program: ModelProgram
    settings: EvalSettings
    model: nn.Module
    facts: Mapping[str, Any]
    depends_on: Mapping[str, Any]
    packing: PackHandle
    exact: nn.Module | None = None

    @classmethod
    def start(cls, program: ModelProgram, settings: EvalSettings) -> Evaluation:
        """Load the model and apply every run's patch once.

        Raises:
            TMUError: no usable weights, or a run that does not fit the model.
        """
        model = program.load_model(settings.checkpoint, settings.body_path, settings.config_path).eval()
        require_recipes(program, model, settings.runs)
        for run in settings.runs:
            with run.shortened(program, model):
                run.check(program, model)
        weights = weights_sha256(model)
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
        return cls(program, settings, model, facts, depends_on, packing, exact)

    def evaluate_set(self, name: str) -> list[str]:
        """Evaluate all runs on one set, print its table, and return what failed.

        Raises:
            TMUError: the set cannot be opened, or has pictures that cannot be read.
        """
        settings = self.settings
        options = settings.set_options(getattr(self.model, "config", None))
        data = open_dataset(name, settings.data_dir, options)
        data = data.head(settings.limit) if settings.limit else data
        bounds = chunk_bounds(len(data), settings.batch_size)
        chunks = [Chunk(a, b, picture_signature(data.images[a:b])) for a, b in bounds]
        runs, failures = without_masks_lacking(data, settings.runs)
        jobs = [self._job(data, run, chunks) for run in runs]
        lines = results_file(settings.results, self.program.name, name)
        folders = {job.key: job.folder.path for job in jobs}
        finished = {} if settings.fresh else finished_records(lines, folders, data.columns)
        todo = [job for job in jobs if job.key not in finished]
        _log.info("%s: %d samples, %d of %d runs to do.", data.name, len(data), len(todo), len(jobs))
        failures += self._work(data, chunks, todo, lines, finished) if todo else []
        for job in jobs:
            if job.key in finished:
                job.folder.drop_chunks()
        records = [finished[job.key] for job in jobs if job.key in finished]
        say(data, records, len(jobs) - len(todo), lines)
        return failures

    def _job(self, data: EvalSet, run: Run, chunks: Sequence[Chunk]) -> SetRun:
        settings = self.settings
        asked = {
            "schedule": str(run.schedule),
            "method": run.method,
            "unmerge": run.unmerge,
            "protect": run.protect,
            "mask": run.mask,
            "weight": run.weight if run.masks else None,
            "dataset": data.name,
            "annotations": data.fingerprint,
            "count": len(data),
            **data.facts,
            **facts_of_files(run),
        }
        predictions = digest_of({**self.depends_on, **asked})
        pictures = [chunk.signature for chunk in chunks]
        threads = self.facts["machine"]["cpu_threads"]
        rest = {"r": settings.rounds, "s": settings.stability, "t": threads}
        key = digest_of({"p": predictions, "i": pictures, **rest})
        place = f"{self.program.name}-{data.name}".lower()
        label = re.sub(r"[^\w.+@ -]", "_", run.label)  # 'total:98^2', 'threshold:0.9/0.1x4'
        folder = RunFolder(settings.results / place / f"{label}-{predictions[:10]}")
        return SetRun(run, folder, key)

    def _work(
        self,
        data: EvalSet,
        chunks: Sequence[Chunk],
        todo: Sequence[SetRun],
        lines: Path,
        finished: dict[Any, dict[str, Any]],
    ) -> list[str]:
        if self.settings.fresh:
            for job in todo:
                job.folder.drop_chunks()
        folders = {job.run: job.folder for job in todo}
        predict_missing(self.program, self.model, data, folders, chunks, self.settings)
        rows = range(min(len(data), self.settings.batch_size))
        batch = load_batch(data, rows, self.settings.device, masks_of(job.run for job in todo))
        failures, scored = [], {}
        for job in todo:
            try:
                scored[job] = self._score(data, job, self._predictions(data, job, chunks))
            except InputError as error:
                failures.append(f"{job.run.label} on {data.name}: {error}")
        runs = [job.run for job in scored]
        speeds = measure_speeds(self.program, self.model, runs, batch, self.settings) if runs else {}
        costs = measure_masks(self.program, self.model, data, runs, self.settings.device)
        jumps = measure_stability(self.program, self.model, data, runs, self.settings)
        off = self._job(data, BASELINE, chunks).folder.path
        if read_per_sample(off) is None:
            _log.info("Without 'off' among the results there are no intervals of differences to it.")
        for job, errors in scored.items():
            tokens = count_tokens(self.program, self.model, job.run, batch["img"])
            moved = measure_dtype_error(self.program, self.model, self.exact, job.run, batch)
            intervals = read_intervals(job.folder.path, None if job.run == BASELINE else off, errors)
            beside = {**tokens, **speeds[job.run], **jumps[job.run], **costs[job.run], **moved}
            record = self._record(data, job, {**errors, **intervals, **beside})
            append_record(lines, record)
            finished[job.key] = record
        return failures

    def _predictions(self, data: EvalSet, job: SetRun, chunks: Sequence[Chunk]) -> Arrays:
        """All predictions of a run, computed again if another process with the same run has finished and
        removed them.

        Raises:
            InputError: a picture cannot be read any more, or predictions never stay.
        """
        for _ in range(_TRIES):
            found = assemble(job.folder, chunks)
            if found is not None:
                return found
            predict_missing(self.program, self.model, data, {job.run: job.folder}, chunks, self.settings)
        raise InputError(
            f"predictions in {job.folder.path} vanish while they are read: let one run at a time write into "
            "these results, or choose --results."
        )

    def _score(self, data: EvalSet, job: SetRun, outputs: Arrays) -> dict[str, Any]:
        """Score a run, write its files, and return the numbers of its record."""
        scores, posture = data.score(outputs), data.posture(outputs)
        folder = job.folder.path
        data.write_predictions(outputs, folder)
        write_text(folder / "scores.txt", scores.scores_txt())
        write_text(folder / "scores.json", json.dumps(scores.as_dict(), allow_nan=False))
        with replacing(folder / PER_SAMPLE) as beside:
            names = np.array([image.name for image in data.images])
            np.savez(beside, image=names, **scores.per_sample, **posture)
        title, key, form = data.columns[0]
        _log.info("%s on %s: %s %s", job.run.label, data.name, title, format(scores.headline[key], form))
        means = {name: float(values.mean()) for name, values in posture.items()}
        masks = describe_masks(job.run, outputs.get(TOKENS))
        return {**scores.headline, **means, **masks, "scores_txt": scores.official()}

    def _record(self, data: EvalSet, job: SetRun, measured: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "model": self.program.name,
            "dataset": data.name,
            "schedule": str(job.run.schedule),
            "method": job.run.method,
            "unmerge": job.run.unmerge,
            "protect": job.run.protect,
            "label": job.run.label,
            **facts_of_files(job.run),
            **measured,
            "n": len(data),
            "n_official": data.official_count,
            "limit": self.settings.limit,
            "dataset_sha256": set_sha256(data),
            **data.facts,
            **self.facts,
            "files": str(job.folder.path.relative_to(self.settings.results)),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "key": job.key,
        }
