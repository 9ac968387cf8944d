"""Crops that a result keeps where `load` was given `tokens=True`: pictures of merged tokens, and timing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo.batching import Job
from shared_tmu.demo.predict import TokenGroups
from shared_tmu.demo.subjects import DemoSubject
from shared_tmu.demo.tokens import draw_stages
from shared_tmu.errors import InputError
from shared_tmu.masks import Mask
from shared_tmu.programs.timing import Timing, compare_times

HOW_TO_KEEP = "pass tokens=True to load."


@dataclass(frozen=True, eq=False)
class KeptCrop:
    """What the network saw of one hand or person.

    Attributes:
        subject: which of the two.
        crop: the crop, see `DemoSubject.crop`.
        mask: its mask in pixels; None if there is none, or it is read in the model.
        groups: groups of its patch tokens, after each block that merged.
        grid: rows and columns of patches.
    """

    subject: DemoSubject
    crop: Any
    mask: Mask | None
    groups: tuple[TokenGroups, ...]
    grid: tuple[int, int]

    def draw(self, most: int) -> NDArray[np.uint8]:
        """The picture of `Item.draw_tokens`."""
        drawn = draw_stages(self.subject, self.crop, self.groups, self.grid, most)
        return np.ascontiguousarray(drawn[:, :, ::-1])


def kept_crops(job: Job, subject: DemoSubject, grid: tuple[int, int]) -> tuple[KeptCrop, ...]:
    """The crops of a picture whose crops are all predicted."""
    rows = zip(job.crops, job.masks, job.predictions, strict=True)
    return tuple(
        KeptCrop(subject, crop, None if mask is None else mask.mask, prediction.groups, grid)
        for crop, mask, prediction in rows
    )


@dataclass(frozen=True)
class Speed:
    """Times of the network alone, measured in turn.

    Attributes:
        setting: how tokens merged, as in `MeshModel.setting`.
        off_ms: median time per hand or person of the unpatched model.
        merged_ms: the same with this setting.
        speedup: median of the ratios within a round; above 1 is faster.
        quartiles: first and third quartile of these ratios.
        count: hands or people in the batch that was timed.
    """

    setting: str
    off_ms: float
    merged_ms: float
    speedup: float
    quartiles: tuple[float, float]
    count: int

    @classmethod
    def of(cls, setting: str, off: Timing, merged: Timing, count: int) -> Speed:
        """From the times of a batch."""
        found = compare_times(off, merged)
        off_ms, merged_ms = (1000.0 * timing.median_s / count for timing in (off, merged))
        return cls(setting, off_ms, merged_ms, found.speedup, found.quartiles, count)


def require_kept(crops: tuple[KeptCrop, ...], asked: str) -> None:
    """Refuse what needs crops where none were kept.

    Raises:
        InputError: there are none.
    """
    if not crops:
        raise InputError(f"{asked} needs the crops of a result, and this one keeps none: {HOW_TO_KEEP}")
