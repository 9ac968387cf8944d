"""What masks cost, as a share of the forward pass; both are timed in turn in one run."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shared_tmu.blocks.parts import Block
from shared_tmu.datasets import EvalSet
from shared_tmu.evaluation.clip_masks import waits_for_frames
from shared_tmu.evaluation.masking import uses_detector
from shared_tmu.masks import NO_MASK, MaskChoice, MaskScene
from shared_tmu.method_parts.read_masks import ReadMask
from shared_tmu.programs.model_program import Run
from shared_tmu.programs.program import Program
from shared_tmu.programs.timing import compare_times, measure_in_turn

_TIMED = 16  # samples
_ROUNDS = 7
_FIELDS = ("mask_ms", "mask_share", "mask_share_quartiles")


class _Seen(ReadMask):
    """Keeps what a mask is given, to time it alone."""

    def __init__(self, mask: ReadMask) -> None:
        super().__init__(mask.block)
        self.mask = mask
        self.given: tuple[Tensor, Block] | None = None

    def forward(
        self, x: Tensor, block: Block, before: Tensor | None = None, live: Tensor | None = None
    ) -> Tensor:
        """As the mask."""
        self.given = x, block
        shown = self.mask.read(x, block, before, live)
        return shown


@torch.inference_mode()
def measure_masks(
    program: Program, model: nn.Module, data: EvalSet, runs: Sequence[Run], device: torch.device
) -> dict[Run, dict[str, Any]]:
    """For each run what its mask takes, from what is known of a crop to a mask of tokens on `device`.

    What a detector takes to find landmarks does not count: the demo has found them already.

    Returns:
        `mask_ms`, milliseconds per crop, median; `mask_share`, that over the time of the run's own forward
        pass with its merging, the median of the ratios of rounds in which both were timed in turn, and its
        quartiles. None without a mask.
    """
    masked = [run for run in runs if run.masks]
    if not masked:
        return {run: dict.fromkeys(_FIELDS) for run in runs}
    rows = range(min(len(data), _TIMED))
    crops = [data.load(index) for index in rows]
    batch = {"img": torch.stack([crop["img"] for crop in crops]).to(device)}
    detects = uses_detector(run.masks for run in masked)
    scenes = [data.scene(index, crop, with_detector=detects) for index, crop in zip(rows, crops, strict=True)]
    if any(map(waits_for_frames, masked)):  # the frame before's mesh takes as long to draw as the true one
        scenes = [replace(scene, previous=scene.true_outline) for scene in scenes]
    timed = _Timed(lambda: model(batch))
    contenders: dict[Any, Callable[[], AbstractContextManager[None]]] = {}
    for run in masked:
        mask, plain = _mask_key(run), replace(run, mask=NO_MASK, probe=None)
        if mask not in contenders:
            contenders[mask] = partial(timed.choose, _mask_call(program, model, run, scenes, batch, device))
        contenders.setdefault(plain, partial(plain.applied, program, model))
    times = measure_in_turn(timed, contenders, device, rounds=_ROUNDS, warmup=1)
    found: dict[Run, dict[str, Any]] = {run: dict.fromkeys(_FIELDS) for run in runs}
    for run in masked:
        taken = times[_mask_key(run)]
        share = compare_times(taken, times[replace(run, mask=NO_MASK, probe=None)])
        values = (1000.0 * taken.median_s / len(rows), share.speedup, list(share.quartiles))
        found[run] = dict(zip(_FIELDS, values, strict=True))
    return found


def _mask_key(run: Run) -> Hashable:
    """Tells masks apart that take different times; one that is read reads other tokens in other layers."""
    return run.mask, run.layers if run.masks.read else None


class _Timed:
    """What is timed: a forward pass, or what was chosen in its place.

    Args:
        forward: the pass.
    """

    def __init__(self, forward: Callable[[], object]) -> None:
        self.forward, self.current = forward, forward

    def __call__(self) -> object:
        return self.current()

    @contextmanager
    def choose(self, call: Callable[[], object]) -> Iterator[None]:
        """Time this instead, inside the `with` block."""
        self.current = call
        try:
            yield
        finally:
            self.current = self.forward


def _mask_call(
    program: Program,
    model: nn.Module,
    run: Run,
    scenes: Sequence[MaskScene],
    batch: Mapping[str, Tensor],
    device: torch.device,
) -> Callable[[], object]:
    """What a run's mask takes for these crops."""
    seen = _tokens_read(program, model, run, batch)
    drawn = run.masks.drawn

    def call() -> None:
        if drawn:
            _cover(program, model, drawn, scenes, device)
        if seen is not None and seen.given is not None:
            seen.mask(*seen.given)

    return call


def _cover(
    program: Program,
    model: nn.Module,
    masks: MaskChoice,
    scenes: Sequence[MaskScene],
    device: torch.device,
) -> None:
    drawn = [masks.draw(scene)[0] for scene in scenes]
    pixels = [np.zeros(s.size, bool) if m is None else m for s, m in zip(scenes, drawn, strict=True)]
    program.estimates.cover(model, torch.from_numpy(np.stack(pixels)).to(device))


def _tokens_read(program: Program, model: nn.Module, run: Run, batch: Mapping[str, Tensor]) -> _Seen | None:
    """The mask of a run that is read, with what it was given for a batch; None for others."""
    with run.shortened(program, model), run.patched(program, model) as handle:
        if not isinstance(handle.mask, ReadMask):
            return None
        seen = _Seen(handle.mask)
        with handle.masked(seen):
            model(batch)
    return seen
