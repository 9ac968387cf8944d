"""Masks of an evaluation: drawn for each sample if a run needs them, or read inside the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shared_tmu.blocks.parts import Block
from shared_tmu.datasets import EvalSet, HandClipSet
from shared_tmu.masks import NO_MASK, MaskChoice, MaskSource, find_masks
from shared_tmu.method_parts.read_masks import ReadMask
from shared_tmu.programs.model_program import Run

TOKENS = "mask_tokens"
"""Saved with predictions: number of tokens that a mask protects in each sample, `[N]`."""

_DETECTED = {"landmarks", "segmentation"}


def uses_detector(masks: Iterable[MaskChoice]) -> bool:
    """Whether one of the masks is drawn from results of the demo's detector."""
    return any(_DETECTED.intersection(mask.names) for mask in masks)


def masks_of(runs: Iterable[Run]) -> tuple[str, ...]:
    """Masks that must be drawn for the runs, without repeats; masks that are read in the model are left
    out.
    """
    drawn = (str(run.masks.drawn) for run in runs)
    return tuple(dict.fromkeys(name for name in drawn if name != NO_MASK))


def key_of(mask: str) -> str:
    """The key of a mask's pixels `[B, H, W]` in a batch."""
    return f"mask_{find_masks(mask).drawn}"


def draw_masks(
    data: EvalSet, index: int, crop: Mapping[str, Tensor], names: Sequence[str]
) -> dict[str, Tensor]:
    """Masks of a sample, `[H, W]` bool each; without foreground if the inputs of a mask are unknown.

    Raises:
        InputError: the picture cannot be read.
    """
    if not names:
        return {}
    masks = {name: find_masks(name) for name in names}
    scene = data.scene(index, crop, with_detector=uses_detector(masks.values()))
    drawn = {name: mask.draw(scene)[0] for name, mask in masks.items()}
    return {
        key_of(name): torch.from_numpy(np.zeros(scene.size, bool) if mask is None else mask)
        for name, mask in drawn.items()
    }


class Counted(ReadMask):
    """A mask that remembers how many tokens of each image it protected, or more likely than not.

    Args:
        mask: what it does.
        weight: see `Run`.
    """

    def __init__(self, mask: ReadMask, weight: float | None) -> None:
        super().__init__(mask.block)
        self.mask, self.least = mask, 1.0 if weight is None else weight / 2
        self.found: Tensor | None = None

    @classmethod
    def of(cls, mask: Tensor | ReadMask | None, weight: float | None) -> Counted:
        """Of the mask of a batch."""
        assert mask is not None, "runs with a mask have one"
        return cls(Given(mask) if isinstance(mask, Tensor) else mask, weight)

    def begin(self) -> Tensor | None:
        """See `ReadMask`, also for the other methods."""
        return self.mask.begin()

    def forward(
        self, x: Tensor, block: Block, before: Tensor | None = None, live: Tensor | None = None
    ) -> Tensor:
        """Protect the tokens of the mask, and count them."""
        shown = self.mask.read(x, block, before, live)
        found = (shown >= self.least) & (shown > 0)
        self.found = (found if live is None else found & live).sum(dim=1)
        return shown


class Given(ReadMask):
    """A mask of tokens that is known in advance, `[B, P]` bool."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def forward(
        self, x: Tensor, block: Block, before: Tensor | None = None, live: Tensor | None = None
    ) -> Tensor:
        """See `ReadMask`."""
        return self.mask


def describe_masks(run: Run, found: np.ndarray[Any, Any] | None) -> dict[str, Any]:
    """The entries of a result line on a run's mask; a `mask_weight` of None is the rule `first`, or no mask.

    Args:
        run: says which mask.
        found: number of tokens that it protected, `[N]`.
    """
    if found is None:
        return {"mask": run.mask, "mask_weight": None, TOKENS: None, "mask_missing": None}
    missing = int((found == 0).sum())
    said = {"mask": run.mask, "mask_weight": run.weight}
    return {**said, TOKENS: float(found.mean()), "mask_missing": missing}


def _lacking(data: EvalSet, source: MaskSource) -> str | None:
    if source.of_video and not isinstance(data, HandClipSet):
        return f"{data.name} has single pictures, which have no frame before: use --dataset synthhand-clips"
    return data.lacking(source)


def without_masks_lacking(data: EvalSet, runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs whose masks can be drawn for a set, and one sentence for each of the other runs."""
    possible, refused = [], []
    for run in runs:
        reasons = [reason for source in run.masks.sources if (reason := _lacking(data, source)) is not None]
        if reasons:
            refused.append(f"{run.label} on {data.name}: {reasons[0]}.")
        else:
            possible.append(run)
    return possible, refused
