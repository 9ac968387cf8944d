"""Shows pictures with a large last loss more often, without starving the others.

A loss counts some steps after it is known, so that a stopped run resumes exactly, and it does not matter how
far ahead of training pictures are read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.errors import ConfigError

LAG = 256
"""Steps after which a loss counts; pictures are read no further ahead of training."""
MOST = 4.0
"""The largest last loss that counts, in units of the mean: some pictures cannot be learned."""


class LastLosses:
    """The last loss of each picture, in units of the mean of its batch; NaN before the first.

    Losses fall during training, so that those of different steps could not be compared without a unit.

    Args:
        count: number of pictures.
    """

    def __init__(self, count: int) -> None:
        self._values: NDArray[np.float32] = np.full(count, np.nan, np.float32)
        self._waiting: deque[tuple[int, NDArray[np.int64], NDArray[np.float32]]] = deque()
        self._last = -1

    def begin(self, step: int) -> None:
        """No loss of a step before this one will come any more."""
        self._last = max(self._last, step - 1)

    def note(self, step: int, numbers: Tensor, losses: Tensor) -> None:
        """Keep the losses of a step.

        Args:
            step: number of the step; steps come in order.
            numbers: which pictures, `[B]` int64.
            losses: theirs, `[B]`, not negative.
        """
        values = losses.detach().float().cpu().numpy()
        mean = float(values.mean())
        if mean > 0.0 and np.isfinite(mean):
            self._waiting.append((step, numbers.cpu().numpy(), values / np.float32(mean)))
        self._last = step
        self._take(step)

    def known(self, step: int) -> NDArray[np.float32]:
        """The losses that count at a step, those of `LAG` steps before it and earlier, `[N]`.

        Raises:
            ConfigError: pictures are read too far ahead, so that some of them are not known yet.
        """
        if self._last < step - LAG:
            raise ConfigError(
                f"hard_share needs the losses of step {step - LAG} for step {step}, but pictures are read "
                f"{step - self._last} steps ahead: use fewer setting.workers."
            )
        self._take(step)
        return self._values.copy()

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        waiting = [[step, torch.from_numpy(n), torch.from_numpy(v)] for step, n, v in self._waiting]
        return {"values": torch.from_numpy(self._values.copy()), "waiting": waiting, "last": self._last}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint; sets of other sizes begin anew."""
        if len(state["values"]) == len(self._values):
            self._values = state["values"].numpy().copy()
            self._waiting = deque((step, n.numpy(), v.numpy()) for step, n, v in state["waiting"])
        self._last = int(state["last"])

    def _take(self, step: int) -> None:
        while self._waiting and self._waiting[0][0] <= step - LAG:
            _, numbers, values = self._waiting.popleft()
            self._values[numbers] = values


def turns(losses: NDArray[np.float32], share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each picture comes in a round; as many turns as pictures in all.

    Args:
        losses: last losses in units of their mean, `[N]`; NaN counts as the mean.
        share: share of the turns that follows the losses: over many rounds every picture has at least
            `1 - share` turns in each.
        rng: where the fractions fall.

    Returns:
        Turns `[N]`, each the expected number rounded down or up.
    """
    wanted = np.clip(np.nan_to_num(losses.astype(np.float64), nan=1.0), 0.0, MOST)
    mean = float(wanted.mean())
    wanted = (1.0 - share) + share * (wanted / mean if mean > 0.0 else np.ones_like(wanted))
    ends = np.cumsum(wanted)
    ends[-1] = len(wanted)
    counted = np.floor(ends + rng.random())
    return np.diff(counted, prepend=0.0).astype(np.int64)
