"""Baseline, merge-only and TMU on the same crops, with times measured in turn."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo.predict import Prediction, Predictor
from shared_tmu.demo.timeline import Timeline
from shared_tmu.errors import InputError
from shared_tmu.masks import Mask
from shared_tmu.method_parts.held import Holding
from shared_tmu.method_parts.restores import COPY
from shared_tmu.programs.model_program import BASELINE, Run
from shared_tmu.programs.timing import Timing, measure_in_turn

_log = logging.getLogger(__name__)

ROUNDS = 10
BUDGET_S = 30.0


def time_runs(
    predictor: Predictor,
    images: Sequence[NDArray[np.float32] | None],
    masks: Sequence[Mask | None],
    runs: Mapping[str, Run],
    *,
    rounds: int = ROUNDS,
    budget_s: float = BUDGET_S,
) -> dict[str, Timing]:
    """Time a batch of crops with several merging settings in turn, the network alone.

    Args:
        predictor: the model; its patch is removed, and made again when it next predicts.
        images: crops `[3, h, w]`, see `Predictor.predict`.
        masks: their masks, for the settings that draw some.
        runs: settings by name.
        rounds: how often each is timed.
        budget_s: see `measure_in_turn`.
    """
    predictor.prepare(images, masks)  # time the number format and packing with which results are made
    predictor.unpatch()
    batch = predictor.stacked(images)
    shown = {name: predictor.stacked_masks(masks, run) for name, run in runs.items()}
    contenders = {
        name: (lambda name=name, run=run: run.applied(predictor.program, predictor.model, shown[name]))
        for name, run in runs.items()
    }
    return measure_in_turn(
        lambda: predictor.forward(batch),
        contenders,
        predictor.device,
        rounds=rounds,
        warmup=3 if predictor.device.type == "cuda" else 1,
        budget_s=budget_s,
    )


class Comparer:
    """Predicts each batch in three ways, and times the three on the first batch.

    Args:
        predictor: its merging setting gives the results that are saved.
        batch_size: crops per call; merge-only is left out if its head would read padding.
        machine: lock that is held during timing; the demo's other threads hold it while they compute.
        timeline: records when the predictor's own setting runs.
    """

    def __init__(
        self, predictor: Predictor, batch_size: int, machine: threading.Lock, timeline: Timeline
    ) -> None:
        own = predictor.run
        self.predictor, self.machine, self.timeline = predictor, machine, timeline
        merge_only, tmu = replace(own, unmerge=False, restore=COPY), replace(own, unmerge=True)
        self.runs = {"baseline": BASELINE, "merge-only": merge_only, "TMU": tmu}
        if own.schedule.reads_thresholds:
            try:
                predictor.check(merge_only, batch_size)
            except InputError as error:
                _log.warning("--compare leaves merge-only out: %s", error)
                del self.runs["merge-only"]
        self.timings: dict[str, Timing] = {}
        self.batch_size = 0
        self._moved_mm = dict.fromkeys(self.runs, 0.0)  # sums over hands or people
        self._count = 0

    def predict(
        self,
        images: Sequence[NDArray[np.float32] | None],
        masks: Sequence[Mask | None] = (),
        *,
        held: Holding | None = None,
    ) -> list[Prediction]:
        """Like `Predictor.predict`, with the results of each setting in `others`; captions include the
        times, those of the first batch by its hands or people.
        """
        if not self.timings:
            with self.machine:
                self.batch_size = len(images)
                _log.info(
                    "--compare: %s are timed in turn on %d %s, in %d rounds or about %.0f s ...",
                    *(", ".join(map(self._label, self.runs)), self.batch_size, self._unit(self.batch_size)),
                    *(ROUNDS, BUDGET_S),
                )
                self.timings = time_runs(self.predictor, images, masks, self.runs)
        mesh_of = self.predictor.subject.mesh_of
        others = {name: self.predictor.predict(images, masks, run) for name, run in self.runs.items()}
        with self.timeline.part("handing"):
            own = self.predictor.predict(images, masks, held=held)
        predictions = []
        for row, prediction in enumerate(own):
            outputs = {name: rows[row].output for name, rows in others.items()}
            if images[row] is not None:
                self._add_distances({name: mesh_of(output) for name, output in outputs.items()})
            captioned = {
                f"{self._label(name)}: {self._ms(name):.2f} ms per {self._unit(1)}": outputs[name]
                for name in self.runs
            }
            predictions.append(replace(prediction, others=captioned))
        return predictions

    def table(self) -> list[tuple[str, str, str, str]]:
        """Rows of name, time per hand, speed-up, and distance of the vertices from the baseline's."""
        rows = [("", f"ms per {self.predictor.subject.one}", "speed-up", "vertices moved (mm)")]
        base = self.timings["baseline"].median_s if self.timings else 0.0
        for name, timing in self.timings.items():
            moved = self._moved_mm[name] / max(self._count, 1)
            speedup = base / timing.median_s
            rows.append((self._label(name), f"{self._ms(name):.2f}", f"{speedup:.2f}x", f"{moved:.2f}"))
        return rows

    def _add_distances(self, meshes: Mapping[str, NDArray[np.float32]]) -> None:
        """The vertices of one hand or person; values that are not finite are reported on saving."""
        with np.errstate(invalid="ignore"):
            moved_m = {
                name: float(np.linalg.norm(mesh - meshes["baseline"], axis=-1).mean())
                for name, mesh in meshes.items()
            }
        if all(math.isfinite(value) for value in moved_m.values()):
            self._count += 1
            for name, value in moved_m.items():
                self._moved_mm[name] += 1000.0 * value

    def _label(self, name: str) -> str:
        run = self.runs[name]
        method = "" if run.method == "tome" else f" {run.method}"
        return name if run.schedule.is_off else f"{name} {run.schedule}{method}"

    def _unit(self, count: int) -> str:
        subject = self.predictor.subject
        return subject.one if count == 1 else subject.many

    def _ms(self, name: str) -> float:
        return 1000.0 * self.timings[name].median_s / self.batch_size
