"""Plans of earlier frames used again in an evaluation of clips, by the rule of the demo for videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.datasets import EvalSet, HandClipSet
from shared_tmu.errors import InputError
from shared_tmu.evaluation.clip_masks import waits_for_frames
from shared_tmu.evaluation.store import chunk_bounds
from shared_tmu.method_parts.held import HeldPlans, Holding
from shared_tmu.pictures.cells import MAX_CHANGE, cells_of, change_between
from shared_tmu.programs.model_program import Run


@dataclass
class ClipPlans:
    """The held plans of one run; its frames come in order, and a clip begins with none."""

    plans: HeldPlans = field(default_factory=HeldPlans)
    _clip: int = -1
    _made: int = 0
    _cells: NDArray[np.float32] | None = None

    def of(self, img: Tensor, clips: Tensor) -> Holding:
        """The names of plans for the crops of a batch.

        Args:
            img: `[B, 3, H, W]`.
            clips: clip of each frame, `[B]`.
        """
        self.plans.keep_only({self._made})
        names = [
            self._name(int(clip), cells_of(crop.float().cpu().numpy()))
            for crop, clip in zip(img, clips, strict=True)
        ]
        return Holding(self.plans, names)

    def _name(self, clip: int, cells: NDArray[np.float32]) -> int:
        known = self._cells if clip == self._clip else None
        if known is None or change_between(known, cells) > MAX_CHANGE:
            self._clip, self._made, self._cells = clip, self._made + 1, cells
        return self._made


def bounds_of(data: EvalSet, batch_size: int, processes: int) -> list[tuple[int, int]]:
    """Ranges of a set that are predicted together: whole clips, so that each is predicted from its beginning
    by one process; see `chunk_bounds` for sets of pictures."""
    if isinstance(data, HandClipSet):
        return data.clip_bounds
    return chunk_bounds(len(data), batch_size, processes)


def check_runs(data: EvalSet, runs: Sequence[Run], stability: int = 0) -> None:
    """Refuse what only clips have, and what moved crops have not.

    Args:
        data: the set.
        runs: what is to be evaluated.
        stability: crops that are to be moved.

    Raises:
        InputError: plans are to be held, or clips decoded or smoothed, and the set has no clips; or a mask of
            the frame before is asked of moved crops.
    """
    waiting = next((run.label for run in runs if waits_for_frames(run)), None)
    if waiting is not None and stability:
        raise InputError(
            f"--stability moves single crops, which have no frame before, so {waiting} has no mask there: "
            "leave one of the two out."
        )
    if isinstance(data, HandClipSet):
        return
    if any(run.hold for run in runs):
        raise InputError(
            f"--plans held was asked for, but {data.name} has single pictures, which have no earlier frame: "
            "use --dataset synthhand-clips, or --stability N for boxes that move."
        )
    if any(run != run.per_frame for run in runs):
        raise InputError(
            f"--decoder or --smooth was asked for, but {data.name} has single pictures: use --dataset "
            "synthhand-clips."
        )
