"""Baseline, merge-only and TMU on the same hands, with times measured in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from shared_tmu.bench import Timing, measure_in_turn
from shared_tmu.demo.pictures import encode, side_by_side, with_caption
from shared_tmu.demo.predict import Prediction, Predictor
from shared_tmu.demo.records import make_record
from shared_tmu.demo.saving import ImageFiles
from shared_tmu.evaluation.program import Run
from shared_tmu.overlays import draw_meshes
from shared_tmu.schedule import Schedule

ROUNDS = 10
BUDGET_S = 30.0


class Comparer:
    """Predicts each batch three times; times the three on the first batch it sees.

    Args:
        predictor: its own way of merging gives the results that are saved.
    """

    def __init__(self, predictor: Predictor) -> None:
        schedule, method = predictor.run.schedule, predictor.run.method
        self.predictor = predictor
        self.runs = {
            "baseline": Run(Schedule.parse("off"), method, unmerge=True),
            "merge-only": Run(schedule, method, unmerge=False),
            "TMU": Run(schedule, method, unmerge=True),
        }
        self.timings: dict[str, Timing] = {}
        self.batch_size = 0
        self._moved_mm: dict[str, list[float]] = {name: [] for name in self.runs}

    def predict(self, images: Sequence[NDArray[np.float32] | None]) -> list[Prediction]:
        """As `Predictor.predict`, with the other ways' results in `others`."""
        if not self.timings:
            self._measure(images)
        others = {name: self.predictor.predict(images, run) for name, run in self.runs.items()}
        predictions = []
        for row, prediction in enumerate(self.predictor.predict(images)):
            outputs = {name: rows[row].output for name, rows in others.items()}
            if images[row] is not None:
                for name, output in outputs.items():
                    gap = output["pred_vertices"] - outputs["baseline"]["pred_vertices"]
                    self._moved_mm[name].append(float(np.linalg.norm(gap, axis=-1).mean()) * 1000.0)
            predictions.append(replace(prediction, others=outputs))
        return predictions

    def files(self, drawing: ImageFiles) -> dict[str, bytes]:
        """One picture per hand: the photograph and the three meshes, captioned with their times."""
        key = drawing.job.loaded.source.key
        return {
            f"{key}_{index}_compare.png": encode(self._picture(drawing, index), ".png")
            for index in range(len(drawing.records))
        }

    def table(self) -> list[tuple[str, str, str, str]]:
        """Rows of name, time per hand, speed-up, distance of the vertices from the baseline's."""
        rows = [("", "ms per hand", "speed-up", "vertices moved (mm)")]
        base = self.timings["baseline"].median_s if self.timings else 0.0
        for name, timing in self.timings.items():
            moved = float(np.mean(self._moved_mm[name])) if self._moved_mm[name] else 0.0
            speedup = base / timing.median_s
            rows.append((self._label(name), f"{self._ms(name):.2f}", f"{speedup:.2f}x", f"{moved:.2f}"))
        return rows

    def _measure(self, images: Sequence[NDArray[np.float32] | None]) -> None:
        size = self.predictor.image_size_px
        nothing = np.zeros((3, size, size), np.float32)
        pixels = np.stack([nothing if image is None else image for image in images])
        batch = torch.from_numpy(pixels).to(self.predictor.device)
        contenders = {
            name: (lambda run=run: run.applied(self.predictor.program, self.predictor.model))
            for name, run in self.runs.items()
        }
        self.batch_size = len(images)
        self.timings = measure_in_turn(
            lambda: self.predictor.forward(batch),
            contenders,
            self.predictor.device,
            rounds=ROUNDS,
            warmup=3 if self.predictor.device.type == "cuda" else 1,
            budget_s=BUDGET_S,
        )

    def _picture(self, drawing: ImageFiles, index: int) -> NDArray[np.uint8]:
        photograph, view = drawing.hand_view(index)
        job = drawing.job
        panels = [with_caption(photograph, drawing.job.loaded.source.name)]
        for name, output in job.predictions[index].others.items():
            record = make_record(output, job.detection.hands[index], job.crops[index], drawing.camera)
            drawn = draw_meshes(photograph, [drawing.mesh(record)], view)
            panels.append(with_caption(drawn, f"{self._label(name)}: {self._ms(name):.2f} ms"))
        return side_by_side(panels)

    def _label(self, name: str) -> str:
        run = self.runs[name]
        method = "" if run.method == "tome" else f" {run.method}"
        return name if run.schedule.is_off else f"{name} {run.schedule}{method}"

    def _ms(self, name: str) -> float:
        return 1000.0 * self.timings[name].median_s / self.batch_size
