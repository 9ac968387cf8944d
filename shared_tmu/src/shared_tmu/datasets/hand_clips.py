"""Clips of single hands: consecutive frames with true joints and meshes, scored with errors of motion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.datasets.base import Column, Placed
from shared_tmu.datasets.hand_meshes import HandMeshSet
from shared_tmu.metrics.clips import ClipScores, score_clips

COLUMNS: tuple[Column, ...] = (
    ("MPJPE mm", "mpjpe_mm", ".2f"),
    ("PA-MPJPE mm", "pa_mpjpe_mm", ".2f"),
    ("accel. error mm/frame2", "accel_error_mm", ".2f"),
    ("jitter mm/frame2", "jitter_mm", ".2f"),
)


@dataclass(frozen=True)
class HandClipSet(HandMeshSet):
    """An evaluation set of clips of right hands; `images` are the frames of all clips in turn.

    Args:
        clip_of: number of every frame's clip, `[N]`; a clip's frames follow each other.
        fps: frames per second.
    """

    clip_of: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    fps: float = 30.0

    @property
    def columns(self) -> tuple[Column, ...]:
        """See `EvalSet`."""
        return COLUMNS

    @property
    def facts(self) -> dict[str, Any]:
        """See `EvalSet`."""
        return {**super().facts, "fps": self.fps, "clips": len(self.clip_bounds)}

    @property
    def groups(self) -> tuple[str, ...]:
        """See `EvalSet`."""
        return tuple(map(str, self.clip_of))

    @property
    def clip_bounds(self) -> list[tuple[int, int]]:
        """First frame, and frame after the last, of every clip."""
        starts = np.flatnonzero(np.diff(self.clip_of, prepend=-1))
        return list(zip(starts.tolist(), [*starts[1:].tolist(), len(self)], strict=True))

    def part(self, rows: slice) -> Self:
        """Some of the frames."""
        return replace(super().part(rows), clip_of=self.clip_of[rows])

    def load(self, index: int, shift_px: tuple[float, float] = (0.0, 0.0)) -> dict[str, Tensor]:
        """See `HandMeshSet.load`; and the number of the frame's `clip` `[]`."""
        return {**super().load(index, shift_px), "clip": torch.tensor(int(self.clip_of[index]))}

    def score(self, placed: Placed) -> ClipScores:  # type: ignore[override]
        """See `EvalSet`."""
        return score_clips(placed["xyz_m"], self.xyz_m, self.clip_of, self.fps)
