"""Prediction of every run over a set through Lightning, by one process or by several, in chunks on disk.

Each chunk is predicted by one process, in the batches in which a single process predicts it, so that no
sample is counted twice or lost, and numbers do not depend on how many processes there are.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from shared_tmu.datasets import EvalSet
from shared_tmu.errors import MethodError, PlanError
from shared_tmu.evaluation.batches import Batches, Loaded, join
from shared_tmu.evaluation.clip_masks import of_frames
from shared_tmu.evaluation.clip_plans import ClipPlans
from shared_tmu.evaluation.masking import masks_of
from shared_tmu.evaluation.predict import predict_batch, predict_frames, progress, raise_for
from shared_tmu.evaluation.settings import EvalSettings
from shared_tmu.evaluation.store import Arrays, Chunk, RunFolder
from shared_tmu.evaluation.world import World, quiet
from shared_tmu.programs.model_program import Run
from shared_tmu.programs.program import Program

_log = logging.getLogger(__name__)


@dataclass
class _Work:
    """What one process predicts.

    Args:
        batches: samples, and the chunk that they are of.
        needed: runs that lack a chunk.
        problems: messages about pictures that could not be read, by chunk; filled while predicting.
    """

    batches: Sequence[tuple[Chunk, range]]
    needed: Mapping[Chunk, Sequence[Run]]
    problems: dict[Chunk, list[str]] = field(default_factory=dict)


class ChunkPredictor(pl.LightningModule):
    """Fills the chunks that runs lack.

    The model is no submodule: it is on its device already, and Lightning would take it away at the end.

    Args:
        program: description of the model.
        model: on this process's device.
        data: the set.
        folders: the runs, and where their chunks lie.
        chunks: ranges that cover the set.
        settings: settings of the evaluation.
        world: its processes.
    """

    def __init__(
        self,
        program: Program,
        model: nn.Module,
        data: EvalSet,
        folders: Mapping[Run, RunFolder],
        chunks: Sequence[Chunk],
        settings: EvalSettings,
        world: World,
    ) -> None:
        super().__init__()
        self.program, self.data, self.folders = program, data, folders
        self.chunks, self.settings, self.world = chunks, settings, world
        self._model = (model,)
        self._work = _Work((), {})
        self._parts: dict[Run, list[Arrays]] = {run: [] for run in folders}
        self._plans = {run: ClipPlans() for run in folders if run.hold}
        waiting = {run: of_frames(data, run) for run in folders}
        self._frames = {run: masks for run, masks in waiting.items() if masks is not None}
        self.problems: list[str] = []
        self.failures: dict[Run, str] = {}

    def setup(self, stage: str) -> None:
        """Decide what this process does, when all have begun."""
        self.trainer.strategy.barrier()
        mine = self.chunks[self.world.rank :: self.world.size]
        needed = {c: [run for run, f in self.folders.items() if f.load(c) is None] for c in mine}
        size = self.settings.batch_size
        batches = [(c, rows) for c, runs in needed.items() if runs for rows in c.batches(size)]
        self._work = _Work(batches, needed)
        total = sum(len(rows) * len(needed[chunk]) for chunk, rows in batches)
        title = f"{self.program.name} on {self.data.name}"
        self._bar = progress(total, title, is_shown=self.world.is_first)
        self.trainer.strategy.barrier()  # nobody writes before everybody has looked

    def predict_dataloader(self) -> DataLoader[Loaded]:
        """The batches of this process."""
        masks = masks_of(run for runs in self._work.needed.values() for run in runs)
        batches = Batches(self.data, [rows for _, rows in self._work.batches], masks)
        return DataLoader(batches, batch_size=None, num_workers=self.settings.num_workers)

    def predict_step(self, batch: tuple[dict[str, Tensor], list[str]], batch_idx: int) -> None:
        """Every run that lacks the chunk of a batch; the chunk is written with its last batch."""
        crops, unreadable = batch
        chunk, rows = self._work.batches[batch_idx]
        problems = self._work.problems.setdefault(chunk, [])
        problems.extend(unreadable)
        for problem in unreadable:
            _log.warning("%s", problem)
        needed = self._work.needed[chunk] if not problems else ()
        for run in needed:
            if run in self.failures:
                continue
            self._end_if_asked()
            self._bar.set_postfix_str(run.label, refresh=False)
            try:
                self._parts[run].append(self._predict(run, crops, rows))
            except (MethodError, PlanError) as error:  # the method does not suit this model; others may
                self.failures[run] = str(error)
            self._bar.update(len(rows))
        if rows.stop == chunk.stop:
            for run in needed:
                if run not in self.failures:
                    self.folders[run].save(chunk, join(self._parts[run]))
            self._parts = {run: [] for run in self.folders}

    def _predict(self, run: Run, crops: Mapping[str, Tensor], rows: range) -> Arrays:
        held = self._plans[run].of(crops["img"], crops["clip"]) if run.hold else None
        if run in self._frames:
            return predict_frames(self.program, self._model[0], self._frames[run], crops, rows, held)
        return predict_batch(self.program, self._model[0], run, crops, self.data.kept, held)

    def _end_if_asked(self) -> None:
        """End the program if it was sent SIGTERM, which Lightning catches, and forgets while it predicts."""
        if self.trainer.received_sigterm:
            _log.error("Ended by SIGTERM; the same command continues with what is not predicted yet.")
            raise SystemExit(128 + signal.SIGTERM)

    def teardown(self, stage: str) -> None:
        """Tell every process which pictures could not be read, and which runs failed; also those that had
        nothing to do."""
        self._bar.close()
        own = [problem for found in self._work.problems.values() for problem in found]
        everybody: list[Any] = [(own, self.failures)]
        if self.world.size > 1:
            everybody = [None] * self.world.size
            torch.distributed.all_gather_object(everybody, (own, self.failures))
        self.problems = [problem for found, _ in everybody for problem in found]
        self.failures = {run: text for _, failed in everybody for run, text in failed.items()}


def predict_missing(
    program: Program,
    model: nn.Module,
    data: EvalSet,
    folders: Mapping[Run, RunFolder],
    chunks: Sequence[Chunk],
    settings: EvalSettings,
    world: World,
    trainer: pl.Trainer,
) -> dict[Run, str]:
    """Predict every chunk that a run lacks; every process of the world must call this.

    Args:
        program: description of the model.
        model: on this process's device.
        data: the set.
        folders: the runs, with the folders of their chunks.
        chunks: ranges that cover the set.
        settings: settings of the evaluation.
        world: its processes.
        trainer: result of `make_trainer`.

    Returns:
        Why runs could not be predicted, whose methods do not suit the model.

    Raises:
        InputError: pictures cannot be read; the message names all of them. Chunks without such pictures are
            kept.
    """
    if world.size == 1 and all(f.load(chunk) is not None for f in folders.values() for chunk in chunks):
        return {}
    predictor = ChunkPredictor(program, model, data, folders, chunks, settings, world)
    before = signal.getsignal(signal.SIGINT)
    try:
        with quiet():
            trainer.predict(predictor, return_predictions=False)
    except SystemExit as end:  # Lightning's answer to Ctrl-C
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from end
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, before)
    raise_for(data, predictor.problems)
    return predictor.failures
