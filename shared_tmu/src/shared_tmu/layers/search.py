"""Algorithm 1 of ECLM: which blocks can be merged into one while the error stays within a bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from shared_tmu.errors import LayersError
from shared_tmu.layers.partition import Partition, Window, fill_with_singles, singles

ErrorOf = Callable[[Partition], float]
"""The error of the model whose blocks are merged by a partition, e.g. in mm; less is better."""


@dataclass(frozen=True)
class Trial:
    """One try to merge the blocks `first` to `last`.

    Attributes:
        first, last: the window, both included.
        error: of the model with this window and those committed before.
        passed: whether `error - base` was below the threshold; never where it is not a number.
    """

    first: int
    last: int
    error: float
    passed: bool


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes:
        partition: of all blocks.
        base: error of the original model.
        error: of the model with this partition, as measured in the trial that passed; `base` if nothing
            merged.
        trials: all that were made, in order.
    """

    partition: Partition
    base: float
    error: float
    trials: tuple[Trial, ...]

    @property
    def depth(self) -> int:
        """Blocks that are left."""
        return len(self.partition)


def find_windows(
    depth: int,
    error_of: ErrorOf,
    threshold: float,
    *,
    flush: bool = False,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> Search:
    """Merge neighbouring blocks, from the last to the first, as long as the error grows by less than a bound.

    A window grows towards the first block while its trials pass. When one fails, the window without the block
    that was added last is committed, if it holds two blocks or more; the next window then starts below it.

    Args:
        depth: number L of blocks.
        error_of: called once for the unmerged model and L - 1 times for trials.
        threshold: a trial passes if its error exceeds the unmerged model's by less than this (strictly less;
            an improvement always passes).
        flush: also commit the window that is still open when it has reached block 0. The published algorithm
            loses it, so that nothing at all is merged if every trial passes.
        on_trial: called with each trial, e.g. to show progress.

    Raises:
        LayersError: `depth` is below 1, the threshold is not a number, or the unmerged model's error is none.

    Source: Algorithm 1 of FastHMR, arXiv:2510.10868.
    """
    if depth < 1 or not math.isfinite(threshold):
        raise LayersError(
            f"depth = {depth}, threshold = {threshold}: use 1 block or more and a finite bound."
        )
    base = error_of(singles(depth))
    if not math.isfinite(base):
        raise LayersError(f"the unmerged model's error is {base}: look for what is wrong with it first.")
    trials: list[Trial] = []
    committed: list[Window] = []
    error = base
    high, low = depth - 1, depth - 2
    while low >= 0:
        found = error_of(fill_with_singles([*committed, (low, high)], depth))
        trial = Trial(low, high, found, found - base < threshold)
        trials.append(trial)
        on_trial(trial)
        if trial.passed:
            low -= 1
            continue
        if high - low >= 2:  # what is above `low` passed as the last trial
            committed.append((low + 1, high))
            error = trials[-2].error
            high = low
        else:
            high -= 1
        low = high - 1
    if flush and high > 0:
        committed.append((0, high))
        error = trials[-1].error
    return Search(fill_with_singles(committed, depth), base, error, tuple(trials))
