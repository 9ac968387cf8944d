"""Runs the model on batches of crops from any number of images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared_tmu.demo.subjects import DemoSubject, demo_subject
from shared_tmu.errors import InputError
from shared_tmu.masks import Mask
from shared_tmu.method_parts.held import Holding
from shared_tmu.patching import PatchHandle
from shared_tmu.plans.plan import MergePlan
from shared_tmu.programs.features import FrameFeature
from shared_tmu.programs.model_program import ModelProgram, Run, masked
from shared_tmu.programs.timing import synchronize
from shared_tmu.runtime.packing import PackHandle, pack_if_possible
from shared_tmu.runtime.precision import VertexError, convert

Arrays = dict[str, NDArray[np.float32]]
Output = Mapping[str, Tensor | Mapping[str, Tensor]]
FEATURE = "feature"
"""What a temporal decoder reads of a prediction, among its arrays."""
_COMPARED = 4  # crops that are also run in float32, to measure the error of another dtype


@dataclass(frozen=True)
class TokenGroups:
    """Where the patch tokens of one image are after a block that merged or pruned.

    Attributes:
        slots: the slot that carries each of them, -1 for a pruned one, `[P]` int64.
        copies: the slot whose feature each of them gets back, `[P]` int64.
    """

    slots: NDArray[np.int64]
    copies: NDArray[np.int64]


@dataclass(frozen=True)
class Prediction:
    """The model's prediction for one hand or person.

    Attributes:
        output: the published keys that the subject keeps, without the batch dimension.
        groups: groups of tokens, after each block that merged; empty unless recorded.
        others: the same as `output` for other merging settings, by their caption; empty unless compared.
    """

    output: Arrays
    groups: tuple[TokenGroups, ...] = ()
    others: Mapping[str, Arrays] = field(default_factory=dict)

    @property
    def is_finite(self) -> bool:
        """Whether all numbers are finite; otherwise the image will be listed as failed."""
        return all(np.isfinite(values).all() for values in self.output.values())


class Predictor:
    """A model on its device, run with one merging setting.

    Args:
        program: description of the model.
        model: in eval mode, in float32; moved to `device`, and to `dtype` when the first crops are there for
            comparison.
        run: how tokens are merged.
        device: where the model runs.
        dtype: number format of its weights.
        record: keep the merge plan of every crop.
        packed: multiply by packed copies of the weights if the CPU supports it.
        reads: what a temporal decoder reads of the model; None if nothing does.
    """

    def __init__(
        self,
        program: ModelProgram,
        model: nn.Module,
        run: Run,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        record: bool = False,
        packed: bool = True,
        reads: FrameFeature | None = None,
    ) -> None:
        self.program = program
        self.reads = reads
        self.model = model.to(device=device)
        self.dtype = dtype
        self.dtype_error: VertexError | None = None
        self._is_converted = False
        self._packing: PackHandle | None = None
        self._handle: PatchHandle | None = None
        self._patched_for: Run | None = None
        self._layers = ExitStack()
        self.run = run
        self.device = device
        self.record = record
        self.packed = packed
        self.subject: DemoSubject = demo_subject(program.estimates)
        self.seconds = 0.0
        self.converting_s = 0.0
        self.crops = 0

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the model's crops, pixels."""
        return self.program.estimates.input_size(self.model)

    def warm_up(self, batch_size: int) -> None:
        """Run once before timing, so that kernels are selected and memory is allocated. On a CPU one crop is
        enough.
        """
        count = batch_size if self.device.type == "cuda" else 1
        with self.run.applied(self.program, self.model):
            self.forward(torch.zeros(count, 3, *self.input_size, device=self.device))
        synchronize(self.device)

    def predict(
        self,
        images: Sequence[NDArray[np.float32] | None],
        masks: Sequence[Mask | None] = (),
        run: Run | None = None,
        held: Holding | None = None,
    ) -> list[Prediction]:
        """Predict crops `[3, h, w]`; None stands for a crop whose result is not needed.

        `seconds` grows by the time of the model itself, from its crops being on the device until its output
        is there.

        Args:
            images: one batch.
            masks: pixels of each crop that show its subject, `[h, w]` bool, None if unknown; empty for a run
                without masks.
            run: a merging setting other than the predictor's own; its time is not counted.
            held: plans of earlier frames to use again, one name per crop.

        Raises:
            InputError: the device has too little memory for the batch.
            HoldError: the method's plans cannot be held.
        """
        how = run or self.run
        try:
            pixels, shown = self.stacked(images), self.stacked_masks(masks, how)
            there = [row for row, image in enumerate(images) if image is not None][:_COMPARED]
            self._convert(pixels[there], None if shown is None else shown[there])
            handle = self._patched(how)
            with self._features() as features:
                output, seconds = self._timed(pixels, handle, shown, how, held)
            groups = _groups(handle) if handle is not None and self.record else None
            kept = self.subject.arrays(output).items()
            arrays = {name: np.asarray(values.float().cpu().numpy()) for name, values in kept}
            if features:
                arrays[FEATURE] = features[-1].cpu().numpy()
        except torch.cuda.OutOfMemoryError as error:
            raise InputError(
                f"{self.device} has too little memory for {len(images)} {self.subject.many} at once: "
                "use a smaller --batch_size."
            ) from error
        if run is None:
            self.seconds += seconds
            self.crops += len(images)
        return [
            Prediction(
                {name: values[row] for name, values in arrays.items()},
                groups[row] if groups else (),
            )
            for row in range(len(images))
        ]

    def _features(self) -> AbstractContextManager[list[Tensor]]:
        """Keeps what the temporal decoder reads, if there is one."""
        return nullcontext([]) if self.reads is None else self.reads.captured(self.model)

    def check(self, run: Run, batch_size: int) -> None:
        """See that a merging setting fits the model, and batches of so many images.

        Raises:
            TMUError: it does not.
        """
        if run != self._patched_for:
            self.unpatch()
            with run.shortened(self.program, self.model):
                run.check(self.program, self.model, batch_size)

    def release(self) -> None:
        """Remove the patch and the packed weights from the model."""
        self.unpatch()
        if self._packing is not None:
            self._packing.remove()

    def unpatch(self) -> None:
        """Remove the patch. The patch is otherwise kept between batches, because patching checks every block,
        which takes time in large models.
        """
        if self._handle is not None:
            self._handle.remove()
        self._layers.close()
        self._handle = self._patched_for = None

    def _patched(self, run: Run) -> PatchHandle | None:
        """The model's patch for this merging setting; None for the unpatched model."""
        if self._patched_for != run:
            self.unpatch()
            self._layers.enter_context(run.shortened(self.program, self.model))
            if not run.schedule.is_off:
                self._handle = run.patched(self.program, self.model, record=self.record)
            self._patched_for = run
        return self._handle

    def stacked(self, images: Sequence[NDArray[np.float32] | None]) -> Tensor:
        """Crops as one batch `[B, 3, h, w]` on the device; zeros in place of None."""
        nothing = np.zeros((3, *self.input_size), np.float32)
        pixels = np.stack([nothing if image is None else image for image in images])
        return torch.from_numpy(pixels).to(self.device)

    def stacked_masks(self, masks: Sequence[Mask | None], run: Run) -> Tensor | None:
        """Masks as `[B, h, w]` bool on the device, all False if unknown; None for a run without masks."""
        if not run.masks.drawn or not masks:
            return None
        nothing = np.zeros(self.input_size, bool)
        pixels = np.stack([nothing if mask is None else mask for mask in masks])
        return torch.from_numpy(pixels).to(self.device)

    def prepare(self, images: Sequence[NDArray[np.float32] | None], masks: Sequence[Mask | None]) -> None:
        """Do the one-time work of the first `predict` in advance, with the same crops."""
        there = [row for row, image in enumerate(images) if image is not None][:_COMPARED]
        shown = self.stacked_masks([masks[row] for row in there], self.run)
        self._convert(self.stacked([images[row] for row in there]), shown)

    def _convert(self, pixels: Tensor, shown: Tensor | None) -> None:
        """Convert the model to `dtype`, and store in `dtype_error` how far this moves the vertices of these
        crops.

        The weights are then packed and stay packed. `converting_s` is the time of this one-time work.
        """
        if self._is_converted:
            return
        started = time.perf_counter()
        with self.run.applied(self.program, self.model, shown):
            vertices = self.program.estimates.vertices
            self.dtype_error = convert(self.model, self.dtype, lambda: vertices(self.forward(pixels)))
        if self.packed:
            self._packing = pack_if_possible(self.model)
        self._is_converted = True
        self.converting_s = time.perf_counter() - started

    @torch.inference_mode()
    def forward(self, pixels: Tensor) -> Output:
        """The model's own output for crops `[B, 3, h, w]` on its device."""
        output: Output = self.model({"img": pixels})
        return output

    def _timed(
        self,
        pixels: Tensor,
        handle: PatchHandle | None,
        shown: Tensor | None,
        run: Run,
        held: Holding | None,
    ) -> tuple[Output, float]:
        synchronize(self.device)
        started = time.perf_counter()
        if handle is None:
            output = self.forward(pixels)
        else:
            with masked(handle, self.program, self.model, shown, run.weight, held):
                output = self.forward(pixels)
        synchronize(self.device)
        return output, time.perf_counter() - started


def _groups(handle: PatchHandle) -> list[tuple[TokenGroups, ...]]:
    """For each image the groups after each block that merged; task tokens have no position in the picture.

    Methods that mix all tokens make no groups.
    """
    plans = [plan for plan in handle.plans if isinstance(plan, MergePlan)]
    maps = [
        [tokens[:, handle.num_prefix_tokens :].cpu().numpy() for tokens in (plan.source_map, plan.copy_map)]
        for plan in plans
    ]
    return [
        tuple(TokenGroups(slots[row], copies[row]) for slots, copies in maps)
        for row in range(len(maps[0][0]) if maps else 0)
    ]
