"""Algorithm 1 of ECLM: finds blocks that can be merged into one while the error stays within a bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from shared_tmu.errors import LayersError
from shared_tmu.layers.partition import Partition, Window, fill_with_singles, singles

ErrorOf = Callable[[Partition], float]
"""Gives the error of the model after merging its blocks by a partition, e.g. in mm; lower is better."""


@dataclass(frozen=True)
class Trial:
    """One attempt to merge the blocks `first` to `last`.

    Attributes:
        first, last: the window, both included.
        error: error of the model with this window and those committed before.
        passed: whether `error - base` was below the threshold; False if it is NaN.
    """

    first: int
    last: int
    error: float
    passed: bool


@dataclass(frozen=True)
class Search:
    """The result of a search.

    Attributes:
        partition: partition of all blocks.
        base: error of the original model.
        error: error of the model with this partition, as measured in the trial that passed; `base` if nothing
            merged.
        trials: all trials, in order.
    """

    partition: Partition
    base: float
    error: float
    trials: tuple[Trial, ...]

    @property
    def depth(self) -> int:
        """Number of blocks that are left."""
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

    A window grows towards the first block while its trials pass. When a trial fails, the window without the
    last added block is committed if it has at least two blocks; the next window then starts below it.

    Args:
        depth: number L of blocks.
        error_of: called once for the unmerged model and L - 1 times for trials.
        threshold: a trial passes if its error exceeds the unmerged model's by less than this (strictly less;
            an improvement always passes).
        flush: also commit the window that is still open when it has reached block 0. The published algorithm
            drops it, so that nothing is merged if every trial passes.
        on_trial: called with each trial, e.g. to show progress.

    Raises:
        LayersError: `depth` is below 1, or the threshold is not finite, or the unmerged model's error is NaN.

    Source: Algorithm 1 of FastHMR, arXiv:2510.10868.
    """
    if depth < 1 or not math.isfinite(threshold):
        raise LayersError(
            f"depth = {depth}, threshold = {threshold}: use at least 1 block and a finite threshold."
        )
    base = error_of(singles(depth))
    if not math.isfinite(base):
        raise LayersError(f"the unmerged model's error is {base}: check the model and the data first.")
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
        if high - low >= 2:  # the window above `low` passed in the last trial
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
