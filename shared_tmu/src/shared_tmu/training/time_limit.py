"""Time limits of training: measures the time of a stage over all its runs, and ends it in time, with the
learning rate annealed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

TOGETHER = 20  # several devices agree on the time after every such number of steps
HEAD = 4  # cost of everything except the blocks, in units of one block


class Sized(Protocol):
    """The values on which a stage's share of the time depends."""

    @property
    def images(self) -> int: ...

    @property
    def depth(self) -> int: ...


def seconds_for(stages: Sequence[Sized], left_s: float) -> float:
    """The time for the first of the remaining stages: its share of the time left, by pictures and blocks; at
    least 1 s.
    """
    costs = [stage.images * (stage.depth + HEAD) for stage in stages]
    return max(left_s * costs[0] / sum(costs), 1.0)


class Clock(Callback):
    """The clock of a stage, stored in its checkpoints; ends the stage after its last step or when its time is
    over.

    Args:
        steps: number of steps of the stage.
        limit_s: time limit in seconds; None for no limit.
    """

    def __init__(self, steps: int, limit_s: float | None = None) -> None:
        self.steps, self.limit_s = steps, limit_s
        self.passed = 0.0
        """Share of the time that is over, the same on all devices."""
        self._before, self._start = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds taken by this run and earlier ones."""
        return self._before + time.monotonic() - self._start

    def is_past(self, part: float) -> bool:
        """Whether more than a share of the time is over; always False without a limit."""
        return self.limit_s is not None and self.seconds > part * self.limit_s

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Check the time; when it is over, stop after a last validation."""
        if self.limit_s is not None and (trainer.world_size == 1 or trainer.global_step % TOGETHER == 0):
            self.passed = float(trainer.strategy.broadcast(self.seconds / self.limit_s))
        if trainer.global_step >= self.steps or self.passed >= 1.0:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"seconds": self.seconds, "passed": self.passed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint, which may be of a run with another time limit."""
        self._before = state_dict["seconds"]
        self.passed = 0.0 if self.limit_s is None else self._before / self.limit_s
