"""The ways to run a model that a search tries, with their times, measured in turn in one process."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shared_tmu.errors import TMUError
from shared_tmu.evaluation.budget.ladder import make_ladder, thin_out
from shared_tmu.evaluation.budget.samples import Samples
from shared_tmu.evaluation.budget.search import Contender
from shared_tmu.evaluation.mask_costs import measure_masks
from shared_tmu.evaluation.masking import key_of
from shared_tmu.layers import LayerRecipe
from shared_tmu.masks import NO_MASK
from shared_tmu.programs.model_program import BASELINE, ModelProgram, Run
from shared_tmu.programs.timing import Timing, compare_times, measure_in_turn, time_once
from shared_tmu.schedule import Schedule

_log = logging.getLogger(__name__)
_TIMING_S = 120.0
"""What timing the candidates may take, roughly; for slower models fewer are tried."""
_MOST_ROUNDS, _FEWEST_ROUNDS, _FEWEST_SCHEDULES = 7, 3, 8
_AVERAGE = 0.7  # time of a candidate over the unpatched model's, expected
_PAYS = 0.98
"""Candidates that take more than this share of the unpatched model's time are not worth any error."""
_AGAIN_ROUNDS, _AGAIN_S = 15, 40.0


@dataclass(frozen=True)
class _Way:
    """A trunk and a schedule, before masks.

    Attributes:
        run: without a mask.
        counts: tokens before the first block and after each.
    """

    run: Run
    counts: tuple[int, ...]


class Contenders:
    """Makes candidates and times them on the first batch.

    Args:
        program: description of the model.
        model: as it will run.
        samples: with masks.
        base: what candidates do not change.
        probes: masks to try, each with the file of its probe.
    """

    def __init__(
        self,
        program: ModelProgram,
        model: nn.Module,
        samples: Samples,
        base: Run,
        probes: Mapping[str, Path | None],
    ) -> None:
        self.program, self.model, self.samples, self.base = program, model, samples, base
        self.batch = samples.batch(0)
        self.probes = {mask: probe for mask, probe in probes.items() if self._is_drawn(mask)}
        self._mask_s = self._time_masks()

    @torch.inference_mode()
    def timed(self, recipe: LayerRecipe | None) -> list[Contender]:
        """All candidates that are faster than the unpatched model.

        Args:
            recipe: merged layers to try, too.
        """
        slowest_s = self._time_once()
        ways = self._ways(None, slowest_s, 1 if recipe is None else 2)
        if recipe is not None:
            ways += self._ways(recipe, slowest_s, 2)
        rounds = int(_TIMING_S / (_AVERAGE * slowest_s * (1 + len(ways))))
        rounds = max(_FEWEST_ROUNDS, min(_MOST_ROUNDS, rounds))
        _log.info("Timing %d merging settings, %d rounds.", len(ways), rounds)
        runs = [BASELINE, *(way.run for way in ways)]
        times = self._measure(dict.fromkeys(runs), rounds, 2 * _TIMING_S)
        found = []
        for way in ways:
            for mask, probe in self._masks_for(way.run).items():
                share = self._share(times[BASELINE], times[way.run], mask)
                if share <= _PAYS:
                    found.append(Contender(replace(way.run, mask=mask, probe=probe), way.counts, share))
        return found

    @torch.inference_mode()
    def time_again(self, run: Run) -> tuple[float, tuple[float, float]]:
        """The speed-up of one run with its mask, and its quartiles."""
        times = self._measure({BASELINE: None, run: run.mask}, _AGAIN_ROUNDS, _AGAIN_S)
        found = compare_times(times[BASELINE], times[run])
        more = 0.0 if run.masks.read else self._mask_s[run.mask] / times[BASELINE].median_s
        speedup, low, high = (1 / (1 / ratio + more) for ratio in (found.speedup, *found.quartiles))
        return speedup, (low, high)

    def _ways(self, recipe: LayerRecipe | None, slowest_s: float, trunks: int) -> list[_Way]:
        """A ladder of schedules for a trunk, and the shorter trunk without merging."""
        alone = replace(BASELINE, layers=recipe)
        with alone.shortened(self.program, self.model):
            depth = len(self.program.blocks_of(self.model).blocks)
            with replace(self.base, schedule=Schedule()).patched(
                self.program, self.model, record=True
            ) as handle:
                self.model(self._one())
                plan, prefix = handle.plan, handle.num_prefix_tokens
        assert plan is not None, "a forward pass leaves a plan"
        ladder = make_ladder(self.base.method, depth, plan.num_tokens, prefix)
        most = int(_TIMING_S / (_AVERAGE * slowest_s * _FEWEST_ROUNDS * trunks))
        ladder = thin_out(ladder, max(_FEWEST_SCHEDULES, most))
        ways = [] if recipe is None else [_Way(alone, (plan.num_tokens,) * (depth + 1))]
        for schedule, counts in ladder.items():
            run = replace(self.base, schedule=schedule, mask=NO_MASK, probe=None, layers=recipe)
            ways.append(_Way(run, counts))
        return ways

    def _masks_for(self, run: Run) -> dict[str, Path | None]:
        """Masks that go with a run: none without merging, and no probe of another trunk."""
        if run.schedule.is_off:
            return {NO_MASK: None}
        found = {}
        for mask, probe in self.probes.items():
            if probe is None or self._fits(replace(run, mask=mask, probe=probe)):
                found[mask] = probe
        return found

    def _fits(self, run: Run) -> bool:
        try:
            with run.shortened(self.program, self.model):
                run.check(self.program, self.model)
        except TMUError:
            return False
        return True

    def _measure(self, masks: Mapping[Run, str | None], rounds: int, budget_s: float) -> dict[Run, Timing]:
        contenders = {
            run: partial(
                run.applied, self.program, self.model, self.batch.get(key_of(mask)) if mask else None
            )
            for run, mask in masks.items()
        }
        return measure_in_turn(
            lambda: self.model(self.batch),
            contenders,
            self.samples.device,
            rounds=rounds,
            warmup=1,
            budget_s=budget_s,
            fewest=_FEWEST_ROUNDS,
        )

    def _share(self, base: Timing, own: Timing, mask: str) -> float:
        return 1 / compare_times(base, own).speedup + self._mask_s[mask] / base.median_s

    def _time_once(self) -> float:
        """Seconds of an unpatched call on the batch."""
        self.model(self.batch)
        return max(
            1e-4, min(time_once(lambda: self.model(self.batch), self.samples.device) for _ in range(2))
        )

    def _one(self) -> dict[str, Any]:
        return {name: values[:1] for name, values in self.batch.items()}

    def _is_drawn(self, mask: str) -> bool:
        """Whether a mask shows anything on any sample; what is read in the model always may."""
        if mask == NO_MASK or replace(BASELINE, mask=mask).masks.read:
            return True
        shown = any(
            bool(self.samples.batch(number)[key_of(mask)].any()) for number in range(self.samples.num_batches)
        )
        if not shown:
            _log.warning("--mask %s is empty on these samples and is not tried.", mask)
        return shown

    def _time_masks(self) -> dict[str, float]:
        """Seconds that each mask takes for a batch."""
        seconds = dict.fromkeys(self.probes, 0.0)
        strongest = Schedule.parse([1])
        runs = {
            mask: replace(self.base, schedule=strongest, mask=mask, probe=probe)
            for mask, probe in self.probes.items()
            if mask != NO_MASK
        }
        data, device = self.samples.data, self.samples.device
        found = measure_masks(self.program, self.model, data, list(runs.values()), device)
        for mask, run in runs.items():
            seconds[mask] = found[run]["mask_ms"] * len(self.batch["img"]) / 1000
        return seconds
