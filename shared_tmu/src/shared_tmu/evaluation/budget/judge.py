"""How much more error than the unpatched model's a way to run it has."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from shared_tmu.datasets.base import group_numbers
from shared_tmu.evaluation.batches import join
from shared_tmu.evaluation.budget.samples import Batch, Errors, Samples
from shared_tmu.evaluation.budget.search import Contender, Judgement
from shared_tmu.evaluation.budget.trials import TrialErrors
from shared_tmu.evaluation.masking import key_of
from shared_tmu.layers import LayerRecipe, find_windows
from shared_tmu.metrics.bootstrap import bootstrap_interval
from shared_tmu.programs.identity import digest_of
from shared_tmu.programs.model_program import BASELINE, ModelProgram, Run

_log = logging.getLogger(__name__)
VARIANT = "eq4"
_CLEAR = 4.0
"""Standard errors by which a part of the samples must be over the budget for the rest to be left out."""
_FEWEST_GROUPS = 8
"""With fewer, a standard error is too uncertain for that."""


class Judge:
    """Measures candidates on samples, against the unpatched model on the same.

    Args:
        program: description of the model.
        model: as it will run.
        samples: with the masks of all candidates.
        metric: as in result lines.
        extra_mm: the budget.
    """

    def __init__(
        self, program: ModelProgram, model: nn.Module, samples: Samples, metric: str, extra_mm: float
    ) -> None:
        self.program, self.model, self.samples = program, model, samples
        self.metric, self.extra_mm = metric, extra_mm
        self._groups = group_numbers(samples.data.groups)
        self._base = self._errors(BASELINE, range(samples.num_batches))

    @property
    def base_mm(self) -> float:
        """The unpatched model's error."""
        return float(self._base.mean())

    def __call__(self, candidate: Contender) -> Judgement:
        """Measure one; a quarter of the samples is enough where it is clear that it fails."""
        whole = self.samples.num_batches
        first = max(1, whole // 4)
        run = candidate.run
        outputs = [self._predict(run, range(first))]
        extra = self._extra(join(outputs))
        groups = self._groups[: len(extra)]
        clear = extra.mean() - _CLEAR * _standard_error(extra, groups) > self.extra_mm
        clear = clear and len(set(groups)) >= _FEWEST_GROUPS
        if first < whole and not clear and np.isfinite(extra).all():
            outputs.append(self._predict(run, range(first, whole)))
            extra = self._extra(join(outputs))
        mean = float(extra.mean())
        is_known = math.isfinite(mean)
        groups = self._groups[: len(extra)]
        varied = is_known and len(set(groups)) > 1
        interval = bootstrap_interval(extra, groups=groups) if varied else (math.nan, math.nan)
        likely = mean + _standard_error(extra, groups)
        passed = is_known and likely <= self.extra_mm
        verdict = Judgement(candidate, mean, likely, interval, len(extra), passed)
        _log.info(
            "%s: %.2fx, %+.3f mm on %d samples: %s",
            *(run.label, 1 / candidate.share, mean, len(extra)),
            "within the budget" if verdict.passed else "over the budget",
        )
        return verdict

    def find_layers(self, trunk: str, extra_mm: float, log: Path) -> LayerRecipe | None:
        """Layers that ECLM merges within a bound; None if there are none.

        Args:
            trunk: digest of the ViT's weights.
            extra_mm: the bound.
            log: where the errors of trials are kept, for another search.
        """
        place = self.program.blocks_of(self.model)
        depth = len(place.blocks)
        errors = TrialErrors(
            self.samples,
            place,
            self.metric,
            VARIANT,
            log,
            digest_of({"log": log.stem, "n": len(self.samples)}),
        )
        _log.info("Merging layers within a limit of %g mm, in %d trials.", extra_mm, depth - 1)
        found = find_windows(depth, errors, extra_mm, flush=True)
        if found.depth == depth:
            return None
        recipe = LayerRecipe(found.partition, VARIANT, trunk)
        _log.info("%s: %+.3f mm.", recipe, found.error - found.base)
        return recipe

    def _extra(self, outputs: Mapping[str, Any]) -> Errors:
        errors = self.samples.errors(dict(outputs), self.metric)
        return errors - self._base[: len(errors)]

    def _errors(self, run: Run, numbers: range) -> Errors:
        return self.samples.errors(self._predict(run, numbers), self.metric)

    def _predict(self, run: Run, numbers: range) -> dict[str, Any]:
        with run.opened(self.program, self.model) as masked_with:

            def call(_: int, batch: Batch) -> Mapping[str, Any]:
                with masked_with(batch.get(key_of(run.mask))):
                    output: Mapping[str, Any] = self.model(batch)
                return output

            return self.samples.predict(call, numbers)


def _standard_error(extra: Errors, groups: Sequence[int]) -> float:
    """That of the mean of errors `[N]`, of which those of a group depend on each other.

    Of one group it is unknown: then it is that of N errors that do not depend on each other, which is less.
    """
    groups = groups if len(set(groups)) > 1 else range(len(extra))
    count = len(set(groups))
    sums = np.bincount(groups, weights=extra - extra.mean())
    return float(np.sqrt((sums**2).sum() * count / max(1, count - 1))) / len(extra)
