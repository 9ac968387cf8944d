"""Masks from the frame before in an evaluation of clips, by the rule of the demo for videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.datasets import EvalSet, HandClipSet
from shared_tmu.evaluation.masking import key_of, uses_detector
from shared_tmu.evaluation.store import Arrays
from shared_tmu.masks import MaskScene, Outline
from shared_tmu.programs.model_program import Run


def waits_for_frames(run: Run) -> bool:
    """Whether masks of a run are drawn from what it predicted in the frame before."""
    return any(source.of_video for source in run.masks.sources)


@dataclass
class ClipMasks:
    """What one run predicted in the newest frame; frames come in order.

    Attributes:
        data: the clips.
        run: its masks are drawn.
    """

    data: HandClipSet
    run: Run
    _newest: int = -1
    _points_px: NDArray[np.float64] | None = None

    def add(self, index: int, frame: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A batch of one frame, with its mask."""
        crop = {name: values[0].cpu() for name, values in frame.items()}
        scene = self.data.scene(index, crop, with_detector=uses_detector([self.run.masks]))
        mask, _ = self.run.masks.draw(replace(scene, previous=self._before(index, scene)))
        like = frame["img"]
        pixels = torch.zeros(scene.size, dtype=torch.bool) if mask is None else torch.from_numpy(mask)
        return {**frame, key_of(self.run.mask): pixels[None].to(like.device)}

    def remember(self, index: int, found: Arrays) -> None:
        """Take the prediction of a frame."""
        one = self.data.part(slice(index, index + 1))
        self._newest, self._points_px = index, one.shown_px(one.place(found), 0)

    def _before(self, index: int, scene: MaskScene) -> Outline | None:
        """The mesh of the frame before, moved with the box that the hand is cut out by."""
        data, old, mesh = self.data, index - 1, scene.true_outline
        if self._points_px is None or self._newest != old or data.clip_of[old] != data.clip_of[index]:
            return None
        assert data.boxes_xyxy is not None, "frames of clips have boxes"
        assert mesh is not None, "and meshes"
        outline = replace(mesh, points_px=self._points_px)
        return outline.moved(data.boxes_xyxy[old].tolist(), data.boxes_xyxy[index].tolist())


def of_frames(data: EvalSet, run: Run) -> ClipMasks | None:
    """For a run with such masks; None for others."""
    return ClipMasks(data, run) if isinstance(data, HandClipSet) and waits_for_frames(run) else None
