"""Evaluates the runs on one set: predict, score, time; one JSON line each."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

from shared_tmu.datasets import EvalSet, HandClipSet, picture_signature, set_sha256
from shared_tmu.errors import InputError
from shared_tmu.evaluation.batches import load_batch
from shared_tmu.evaluation.clip_plans import bounds_of, check_runs
from shared_tmu.evaluation.clip_stages import after_frames
from shared_tmu.evaluation.intervals import find_baseline, read_intervals
from shared_tmu.evaluation.loaded import LoadedModel
from shared_tmu.evaluation.mask_costs import measure_masks
from shared_tmu.evaluation.masking import (
    TOKENS,
    describe_masks,
    masks_of,
    without_masks_lacking,
)
from shared_tmu.evaluation.number_format import measure_dtype_error
from shared_tmu.evaluation.per_sample import unread_samples
from shared_tmu.evaluation.predict import assemble
from shared_tmu.evaluation.recipes import facts_of_files
from shared_tmu.evaluation.report import finished_records, say, shown_value
from shared_tmu.evaluation.scoring import score_run
from shared_tmu.evaluation.settings import EvalSettings
from shared_tmu.evaluation.speed import count_tokens, measure_speeds
from shared_tmu.evaluation.stability import measure_stability
from shared_tmu.evaluation.store import (
    Arrays,
    Chunk,
    RunFolder,
    SetRun,
    results_file,
)
from shared_tmu.evaluation.world import World
from shared_tmu.programs.identity import digest_of
from shared_tmu.programs.model_program import BASELINE, ModelProgram, Run
from shared_tmu.programs.program import Program
from shared_tmu.programs.results import append_record

_TRIES = 5  # attempts to read predictions that another run may remove
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated, how, and by which processes."""

    loaded: LoadedModel
    settings: EvalSettings
    world: World
    trainer: Any

    @property
    def program(self) -> Program:
        """Of the model."""
        return self.loaded.program

    @property
    def model(self) -> nn.Module:
        """On its device."""
        return self.loaded.module

    def evaluate_set(self, data: EvalSet) -> list[str]:
        """Evaluate all runs on one set, print its table, and return the failures.

        Raises:
            TMUError: the set has pictures that cannot be read.
        """
        settings = self.settings
        data = data.head(settings.limit) if settings.limit else data
        check_runs(data, settings.runs, settings.stability)
        bounds = bounds_of(data, settings.batch_size, self.world.size)
        chunks = [Chunk(a, b, picture_signature(data.images[a:b])) for a, b in bounds]
        runs, failures = without_masks_lacking(data, settings.runs)
        jobs = [self._job(data, run, chunks) for run in runs]
        lines = results_file(settings.results, self.program.name, data.name)
        folders = {job.key: job.folder.path for job in jobs}
        finished = {} if settings.fresh else finished_records(lines, folders, data.columns)
        todo = [job for job in jobs if job.key not in finished]
        if todo:
            _log.info("%s: %d samples, %d of %d runs to do.", data.name, len(data), len(todo), len(jobs))
            failed = self._predict(data, chunks, todo)
            failures += [_say_failed(job, data, failed) for job in todo if job.run.per_frame in failed]
            jobs = [job for job in jobs if job.run.per_frame not in failed]
            todo = [job for job in jobs if job.key not in finished]
        if not self.world.is_first:
            return []
        failures += self._work(data, chunks, todo, lines, finished) if todo else []
        for job in jobs:
            if job.key in finished:
                job.frames.drop_chunks()
        records = [finished[job.key] for job in jobs if job.key in finished]
        say(data, records, len(jobs) - len(todo), lines, settings.columns)
        gone = {name: None for record in records for name in unread_samples(record, settings.results)}
        return [*failures, *(f"{name}, a picture of {data.name} that cannot be read" for name in gone)]

    def _job(self, data: EvalSet, run: Run, chunks: Sequence[Chunk]) -> SetRun:
        settings = self.settings
        asked = {
            "schedule": str(run.schedule),
            "method": run.method,
            "unmerge": run.unmerge,
            "restore": run.restore,
            "protect": run.protect,
            "mask": run.mask,
            "weight": run.weight if run.masks else None,
            "hold": run.hold,
            "smooth": run.smooth,
            "dataset": data.name,
            "annotations": data.fingerprint,
            "count": len(data),
            **data.facts,
            **_shared_groups(data),
            **facts_of_files(run),
        }
        predictions = digest_of({**self.loaded.depends_on, **asked})
        pictures = [chunk.signature for chunk in chunks]
        threads = self.loaded.facts["machine"]["cpu_threads"]
        rest = {"r": settings.rounds, "s": settings.stability, "t": threads}
        key = digest_of({"p": predictions, "i": pictures, **rest})
        place = f"{self.program.name}-{data.name}".lower()
        label = re.sub(r"[^\w.+@ -]", "_", run.label)  # 'total:98^2', 'threshold:0.9/0.1x4'
        folder = RunFolder(settings.results / place / f"{label}-{predictions[:10]}")
        alone = run == run.per_frame
        frames = folder if alone else self._job(data, run.per_frame, chunks).folder
        return SetRun(run, folder, key, frames)

    def _predict(self, data: EvalSet, chunks: Sequence[Chunk], todo: Sequence[SetRun]) -> dict[Run, str]:
        """Fill the chunks of these runs, together with all other processes; see `predict_missing`."""
        from shared_tmu.evaluation.predictor import predict_missing

        if self.settings.fresh and self.world.is_first:
            for job in todo:
                job.frames.drop_chunks()
        folders = {job.run.per_frame: job.frames for job in todo}
        return predict_missing(
            self.program, self.model, data, folders, chunks, self.settings, self.world, self.trainer
        )

    def _work(
        self,
        data: EvalSet,
        chunks: Sequence[Chunk],
        todo: Sequence[SetRun],
        lines: Path,
        finished: dict[Any, dict[str, Any]],
    ) -> list[str]:
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
        jumps: Mapping[Run, Mapping[str, Any]] = {}
        if self.settings.stability:
            assert isinstance(self.program, ModelProgram), "only model folders offer --stability"
            jumps = measure_stability(self.program, self.model, data, runs, self.settings)
        off = self._job(data, BASELINE, chunks).folder.path
        if find_baseline(off, set_sha256(data)) is None:
            _log.info(
                "There is no result for 'off' on these samples and pictures, so there are no intervals of "
                "differences from it."
            )
        for job, errors in scored.items():
            tokens = count_tokens(self.program, self.model, job.run, batch["img"])
            moved = measure_dtype_error(self.program, self.model, self.loaded.exact, job.run, batch)
            intervals = read_intervals(job.folder.path, None if job.run == BASELINE else off, errors)
            beside = {**tokens, **speeds[job.run], **jumps.get(job.run, {}), **costs[job.run], **moved}
            record = self._record(data, job, {**errors, **intervals, **beside})
            append_record(lines, record)
            finished[job.key] = record
        return failures

    def _predictions(self, data: EvalSet, job: SetRun, chunks: Sequence[Chunk]) -> Arrays:
        """All predictions of a run; computed again if another process has finished the same run and removed
        them.

        Raises:
            InputError: a picture can no longer be read, or predictions are removed again and again.
        """
        for _ in range(_TRIES):
            found = assemble(job.frames, chunks)
            if found is not None:
                return found
            if self.world.size > 1:
                raise InputError(
                    f"{job.frames.path} lacks predictions of other processes: --results must name a folder "
                    "that all machines share, with one evaluation at a time."
                )
            self._predict(data, chunks, [job])
        raise InputError(
            f"predictions in {job.frames.path} are removed while they are read: run only one evaluation at "
            "a time with these results, or choose another --results."
        )

    def _score(self, data: EvalSet, job: SetRun, outputs: Arrays) -> dict[str, Any]:
        """Score a run, write its files, and return the numbers of its record."""
        if job.run != job.run.per_frame:
            assert isinstance(data, HandClipSet), "check_runs refuses other sets"
            outputs = after_frames(job.run, outputs, data, self.model)
        placed = data.place(outputs)
        about = {
            "model": self.program.name,
            "label": job.run.label,
            "checkpoint": self.loaded.facts["checkpoint"],
            "weights_sha256": self.loaded.facts["weights_sha256"],
            "data_dir": str(self.settings.data_dir.expanduser().resolve()),
        }
        found = score_run(data, placed, job.folder.path, about)
        title, key, form = data.columns[0]
        _log.info("%s on %s: %s %s", job.run.label, data.name, title, shown_value(found, key, form))
        return {**found, **describe_masks(job.run, outputs.get(TOKENS))}

    def _record(self, data: EvalSet, job: SetRun, measured: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "model": self.program.name,
            "dataset": data.name,
            "schedule": str(job.run.schedule),
            "method": job.run.method,
            "unmerge": job.run.unmerge,
            "restore": job.run.restore,
            "protect": job.run.protect,
            "hold": job.run.hold,
            "smooth": job.run.smooth,
            "decoder": None if job.run.decoder is None else job.run.decoder.name,
            "label": job.run.label,
            **facts_of_files(job.run),
            **measured,
            "n": len(data),
            "n_official": data.official_count,
            "limit": self.settings.limit,
            "dataset_sha256": set_sha256(data),
            **data.facts,
            **_shared_groups(data),
            **self.loaded.facts,
            "files": str(job.folder.path.relative_to(self.settings.results)),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "key": job.key,
        }


def _shared_groups(data: EvalSet) -> dict[str, int]:
    """How many groups there are, over which intervals are drawn, where samples share some."""
    count = len(set(data.groups))
    return {"groups": count} if count < len(data) else {}


def _say_failed(job: SetRun, data: EvalSet, failed: Mapping[Run, str]) -> str:
    """The sentence for a run that could not be predicted."""
    return f"{job.run.label} on {data.name}: {failed[job.run.per_frame]}"
