"""A loaded model with its detector, which several threads can use at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.api.crops import KeptCrop, Speed
from shared_tmu.demo.batching import Batch
from shared_tmu.demo.compare import time_runs
from shared_tmu.demo.cutting import Cutter
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.predict import Predictor
from shared_tmu.demo.searching import load_for
from shared_tmu.detect import Detection, Detector
from shared_tmu.method_parts.held import Holding
from shared_tmu.programs.model_program import BASELINE, ModelProgram, Run


class Engine:
    """Finds, crops and predicts; the detector and the network each serve one thread at a time.

    Args:
        program: description of the model.
        options: the demo's settings.

    Raises:
        TMUError: the model, or a detector that was asked for by name, cannot be loaded.
    """

    def __init__(self, program: ModelProgram, options: DemoOptions) -> None:
        self.program = program
        model, self.options = load_for(program, options)
        self.faces = program.estimates.faces(model)
        self._input_size = program.estimates.input_size(model)
        run, device, dtype = self.options.run, self.options.device, self.options.dtype
        packed, record = self.options.packed, self.options.tokens
        self._predictor = Predictor(program, model, run, device, dtype, record=record, packed=packed)
        self.subject = self._predictor.subject
        self.grid = program.estimates.grid(model)
        self.depth = len(program.estimates.vit(model).blocks)
        self._detector: Detector | None = None
        self._computing, self._detecting = threading.Lock(), threading.Lock()
        if options.detector != "auto":
            self._find_detector()

    def detect(self, image_bgr: NDArray[np.uint8], name: str) -> tuple[Detection[Any], str]:
        """What the detector finds in a picture, and the detector's name. It is loaded when first needed.

        Raises:
            TMUError: it cannot be loaded.
        """
        with self._detecting:
            detector = self._find_detector()
            return detector.detect(image_bgr, name), detector.name

    def cutter(self, run: Run) -> Cutter:
        """Cuts crops with the masks of a merging setting."""
        assert self.options.rescale_factor is not None, "the model gives it"
        return Cutter(self.subject, self.options.rescale_factor, self._input_size, run.masks)

    def predict(self, batch: Batch, run: Run, held: Holding | None = None) -> None:
        """Predict a batch; its pictures take the results.

        Raises:
            TMUError: the setting does not fit the model, or the device has too little memory.
            HoldError: plans of earlier frames were given, and the method's cannot be held.
        """
        masks = [None if mask is None else mask.mask for mask in batch.masks]
        with self._computing:
            predictions = self._predictor.predict(batch.images, masks, run, held)
        for _ in batch.completed(predictions):
            pass

    def measure(self, crops: Sequence[KeptCrop], run: Run, rounds: int, budget_s: float) -> Speed:
        """Time the network on crops with a merging setting and without, in turn.

        Raises:
            TMUError: the setting does not fit the model.
        """
        images, masks = [one.crop.img for one in crops], [one.mask for one in crops]
        runs = {"off": BASELINE, "merged": run}
        with self._computing:
            times = time_runs(self._predictor, images, masks, runs, rounds=rounds, budget_s=budget_s)
        return Speed.of(run.label, times["off"], times["merged"], len(crops))

    def check(self, run: Run) -> None:
        """See that a merging setting fits the model.

        Raises:
            TMUError: it does not.
        """
        with self._computing:
            self._predictor.check(run, self.options.batch_size)

    def _find_detector(self) -> Detector:
        if self._detector is None:
            name = self.subject.detector_name(self.options)
            self._detector = self.subject.make_detector(name, self.options, str(self.options.device))
        return self._detector
