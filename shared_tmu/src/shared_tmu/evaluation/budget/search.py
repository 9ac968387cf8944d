"""The fastest of several ways within an error budget, with as few measurements of the error as possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared_tmu.evaluation.budget.ladder import is_as_strong
from shared_tmu.programs.model_program import Run


@dataclass(frozen=True)
class Contender:
    """A way to run the model, with its time.

    Attributes:
        run: how.
        counts: tokens before the first block and after each.
        share: its time over the unpatched model's, mask included.
    """

    run: Run
    counts: tuple[int, ...]
    share: float

    def is_worse_than(self, failed: Contender) -> bool:
        """Whether it fails where `failed` does: the same in everything, and it merges at least as much."""
        same = (self.run.mask, self.run.layers, self.run.method) == (
            failed.run.mask,
            failed.run.layers,
            failed.run.method,
        )
        return same and is_as_strong(self.counts, failed.counts)


@dataclass(frozen=True)
class Judgement:
    """What was found of a candidate.

    Attributes:
        candidate: which.
        extra_mm: mean error less the unpatched model's.
        likely_mm: that and its standard error, since few pictures make most of the difference, and the one
            that is chosen is likely to have been lucky.
        interval_mm: its 95 % interval; NaN if it is unknown, as that of samples of one group is.
        samples: on how many.
        passed: whether `likely_mm` is within the budget.
    """

    candidate: Contender
    extra_mm: float
    likely_mm: float
    interval_mm: tuple[float, float]
    samples: int
    passed: bool


def find_fastest(
    candidates: Sequence[Contender], judge: Callable[[Contender], Judgement]
) -> tuple[Judgement | None, list[Judgement]]:
    """Bisect by time: what is slower than one that passed cannot win, what merges more than one that failed
    fails, too.

    The second is an assumption: errors hardly ever fall when more merges. A candidate that would have passed
    against it is missed; none that fails is ever chosen.

    Args:
        candidates: in any order.
        judge: measures one.

    Returns:
        The fastest that passed, None if none did, and all that were measured, in order.
    """
    left = sorted(candidates, key=lambda one: (one.share, one.run.label))
    best: Judgement | None = None
    judged: list[Judgement] = []
    while left:
        candidate = left[len(left) // 2]
        verdict = judge(candidate)
        judged.append(verdict)
        if verdict.passed:
            best = verdict
            left = [one for one in left if one.share < candidate.share]
        else:
            left = [one for one in left if one is not candidate and not one.is_worse_than(candidate)]
    return best, judged
