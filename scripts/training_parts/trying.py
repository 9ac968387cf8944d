"""The loop of `try_training.py`: one trial after the other, until it is asked to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from bundled import Bundled

from shared_tmu.errors import TrainingError
from shared_tmu.programs.model_program import find_program
from shared_tmu.programs.results import describe_environment
from shared_tmu.synth.scene import Difficulty
from shared_tmu.training.drawing import Scenes
from training_parts.slices import run_slice
from training_parts.trial_errors import ERROR, SEEN, is_measured, measure
from training_parts.trial_table import HELD_OUT
from training_parts.trials import VAL_COUNT, VAL_SEED, Trial

KINDS = ("own", "average")
_SEEN_COUNT = 500
_log = logging.getLogger("shared_tmu.try_training")


class Trying:
    """Runs trials that are not finished.

    Args:
        model: its folder has `configs/trial.yaml`.
        state: folder of all trials.
        cache: folder of the scenes.
        sets: the scenes.
        is_over: tells whether to stop, after so many seconds.
        held: descriptors that programs inherit.
    """

    def __init__(
        self,
        model: Bundled,
        state: Path,
        cache: Path,
        sets: Sequence[Scenes],
        is_over: Callable[[float], bool],
        held: Sequence[int] = (),
    ) -> None:
        self.model, self.state, self.cache, self.sets = model, state, cache, tuple(sets)
        self.held, self.began = held, time.monotonic()
        self.is_over = lambda: is_over(time.monotonic() - self.began)

    def run(self, trials: Sequence[Trial]) -> None:
        """Run all that are not finished, in order.

        Raises:
            TrainingError: a run fails; its log is named.
            InputError: a run was begun with other settings.
        """
        for trial in trials:
            trial.begin(self.state)
        for trial in trials:
            if self.is_over():
                return
            if not self._is_trained(trial):
                self._train(trial)
            if self._is_trained(trial) and not is_measured(trial.folder(self.state), KINDS, (HELD_OUT, SEEN)):
                self._measure(trial)

    def _is_trained(self, trial: Trial) -> bool:
        return self._exported(trial).exists()

    def _exported(self, trial: Trial) -> Path:
        return trial.folder(self.state) / "export" / self.model.weights

    def _train(self, trial: Trial) -> None:
        _log.info("%s, seed %d, %d pictures", trial.variant, trial.seed, trial.pictures)
        trial.keep_starts(self.state, self.model.folder)
        log = trial.folder(self.state) / "train.log"
        command = trial.command(self.state, self.cache, self.sets)
        ended = run_slice(
            command, self.model.folder, log, lambda _: self.is_over(), lambda _: None, self.held
        )
        if not self._is_trained(trial) and not ended.is_ended:
            raise TrainingError(
                f"the run of {trial.variant!r} with seed {trial.seed} failed (exit status {ended.status}): "
                f"{log} says why."
            )

    def _measure(self, trial: Trial) -> None:
        first = self.sets[0]
        sets = {
            HELD_OUT: Scenes(VAL_SEED, VAL_COUNT, Difficulty()),
            SEEN: Scenes(first.seed, min(first.count, _SEEN_COUNT), first.difficulty),
        }
        program = find_program(self.model.stem)
        trial.keep_environment(self.state, describe_environment(torch.device("cpu"), self.model.folder))
        found = measure(program, self._exported(trial), trial.weights(self.state), self.cache, sets)
        for kind in KINDS:
            error = found[kind, HELD_OUT].errors[ERROR].mean()
            _log.info("%s, seed %d, %s: %.2f mm", trial.variant, trial.seed, kind, error)
