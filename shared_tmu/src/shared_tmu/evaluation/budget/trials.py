"""The error of a model with merged layers, measured for each trial of ECLM and kept, so that nothing is
measured twice."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shared_tmu.errors import InputError
from shared_tmu.evaluation.budget.samples import Batch, Samples
from shared_tmu.files import shortened
from shared_tmu.layers import BlocksOf, Partition, merge_blocks, singles
from shared_tmu.programs.results import append_record, read_records

_log = logging.getLogger(__name__)
MAX_BYTES = 1 << 30
"""Of tokens that are kept."""


class Recall(nn.Module):
    """Stands for the blocks whose outcome is known: gives it, whatever comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, N, C]` to the same shape."""
        return self.tokens


class KnownTokens:
    """Tokens before some blocks of the unmerged trunk, for every batch: a trial begins there.

    Args:
        place: the model and where its blocks are.
        num_batches: how many batches there are.
        max_bytes: how much is kept; with fewer bytes tokens are kept before fewer blocks.
    """

    def __init__(self, place: BlocksOf, num_batches: int, max_bytes: int = MAX_BYTES) -> None:
        self._place, self._num_batches, self._max_bytes = place, num_batches, max_bytes
        self._kept: dict[tuple[int, int], Tensor] = {}  # by batch and block
        self._at: tuple[int, ...] | None = None

    def record(self, number: int, call: Callable[[], Any]) -> Any:
        """Run the unmerged model on a batch, and keep tokens on the way."""

        def keep(block: int, x: Tensor) -> None:
            if self._at is None:
                self._at = self._choose(x)
            if block in self._at:
                self._kept[number, block] = x.detach().clone()

        hooks = [
            block.register_forward_pre_hook(lambda _, given, index=index: keep(index, given[0]))
            for index, block in enumerate(self._place.blocks)
            if index > 0
        ]
        try:
            return call()
        finally:
            for hook in hooks:
                hook.remove()

    def start(self, first: int) -> int:
        """The last block, not after `first`, before which tokens are known for all batches; 0 if none."""
        known = [block for block in self._at or () if block <= first]
        complete = (b for b in reversed(known) if all((n, b) in self._kept for n in range(self._num_batches)))
        return next(complete, 0)

    def of(self, number: int, block: int) -> Tensor:
        """The tokens of a batch before a block."""
        return self._kept[number, block]

    def _choose(self, x: Tensor) -> tuple[int, ...]:
        depth = len(self._place.blocks)
        fit = int(self._max_bytes // max(1, x.nbytes * self._num_batches))
        if fit < 1:
            return ()
        step = max(1, math.ceil((depth - 1) / fit))
        return tuple(range(step, depth, step))


class TrialErrors:
    """The error of each partition, for `find_windows`.

    Args:
        samples: where it is measured.
        place: the model and where its blocks are.
        metric: as in result lines.
        variant: row of `VARIANTS`.
        log: JSON-lines file of errors that are known, and of those that are measured.
        key: digest of everything that they depend on besides the partition.
    """

    def __init__(
        self, samples: Samples, place: BlocksOf, metric: str, variant: str, log: Path, key: str
    ) -> None:
        self.samples, self.place, self.metric, self.variant = samples, place, metric, variant
        self.log, self.key = log, key
        self._known = dict(
            filter(None, (_trial(line) for line in read_records(log) if line.get("key") == key))
        )
        self._logged, self._reused = frozenset(self._known), set[Partition]()
        self._tokens = KnownTokens(place, samples.num_batches)
        self._is_recorded = False
        self._can_log = True
        self._merged: dict[tuple[int, int], nn.Module] = {}

    def __call__(self, partition: Partition) -> float:
        """Its mean error in millimetres; NaN if an output is not finite."""
        if partition in self._known:
            self._reused |= self._logged & {partition}
            return self._known[partition]
        if not self._is_recorded:
            base = self._record()
            if partition == singles(len(self.place.blocks)):
                return self._keep(partition, base)
        return self._keep(partition, self._measure(partition))

    @property
    def num_reused(self) -> int:
        """Errors that an earlier run had measured."""
        return len(self._reused)

    def _keep(self, partition: Partition, error: float) -> float:
        shown = error if math.isfinite(error) else None
        try:
            append_record(self.log, {"key": self.key, "partition": partition, "error_mm": shown})
        except OSError as reason:
            if self._can_log:
                _log.warning("Trials cannot be kept in %s (%s).", self.log, reason.strerror or reason)
            self._can_log = False
        self._known[partition] = error
        return error

    def _record(self) -> float:
        model: Callable[[Batch], Mapping[str, Any]] = self.place.model
        outputs = self.samples.predict(
            lambda number, batch: self._tokens.record(number, lambda: model(batch))
        )
        self._is_recorded = True
        return float(self.samples.errors(outputs, self.metric).mean())

    def _measure(self, partition: Partition) -> float:
        blocks = self.place.blocks
        first = next((window[0] for window in partition if window[0] != window[1]), len(blocks) - 1)
        start, recall = self._tokens.start(first), Recall()
        trial: list[nn.Module] = [recall] if start else []
        windows = [window for window in partition if window[0] >= start]
        kept = {window: self._merged[window] for window in windows if window in self._merged}
        self._merged = kept
        trial += [self._block(blocks, window) for window in windows]
        model = self.place.replaced(trial)

        def call(number: int, batch: Batch) -> Mapping[str, Any]:
            if start:
                recall.tokens = self._tokens.of(number, start)
            output: Mapping[str, Any] = model(batch)
            return output

        return float(self.samples.errors(self.samples.predict(call), self.metric).mean())

    def _block(self, blocks: list[nn.Module], window: tuple[int, int]) -> nn.Module:
        first, last = window
        if first == last:
            return blocks[first]
        if window not in self._merged:
            self._merged[window] = merge_blocks(blocks[first : last + 1], self.variant)
        return self._merged[window]


def forget_trials(log: Path) -> None:
    """Remove a log of trials, if there is one.

    Raises:
        InputError: it cannot be removed.
    """
    try:
        log.unlink(missing_ok=True)
    except NotADirectoryError:  # so there is none
        return
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{log} cannot be removed ({reason}), and its errors would be used again: remove it."
        ) from error


def _trial(line: Mapping[str, Any]) -> tuple[Partition, float] | None:
    """The partition and the error in a line of the log; None if it is damaged."""
    try:
        partition = tuple((int(first), int(last)) for first, last in line["partition"])
        error = line["error_mm"]
        return partition, math.nan if error is None else float(error)
    except (KeyError, TypeError, ValueError):
        _log.warning("A line of the trials is damaged, and is measured again: %s", shortened(str(line), 80))
        return None
