"""Pictures of the merged tokens, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo.predict import TokenGroups
from shared_tmu.demo.subjects import DemoSubject
from shared_tmu.pictures.panels import side_by_side, with_caption
from shared_tmu.viz import draw_groups

MAX_STAGES = 6
PATCH_PX = 24


def draw_stages(
    subject: DemoSubject,
    crop: Any,
    groups: Sequence[TokenGroups],
    grid: tuple[int, int],
    most: int = MAX_STAGES,
) -> NDArray[np.uint8]:
    """The model's input, then its groups of tokens after some of the blocks that merged, including the last.

    Args:
        subject: what the crop shows.
        crop: the network input; a left hand is drawn as in the photograph, not mirrored.
        groups: groups of patch tokens, after each block that merged.
        grid: rows and columns of patches.
        most: the largest number of these blocks.

    Returns:
        BGR, panels side by side with captions.
    """
    seen = _enlarged(subject.seen(crop, grid), grid)
    is_mirrored = subject.is_mirrored(crop)
    panels = [with_caption(_upright(seen, is_mirrored), f"{grid[0] * grid[1]} tokens")]
    count = len(groups)
    steps = {round(step) for step in np.linspace(count - 1, 0, min(count, most)).tolist()}
    for stage in sorted(steps):
        slots, copies = groups[stage].slots, groups[stage].copies
        kept = len(np.unique(slots[slots >= 0]))
        drawn = _upright(draw_groups(seen, slots, grid, copy_map=copies), is_mirrored)
        panels.append(with_caption(drawn, f"step {stage + 1} of {count}: {kept} tokens"))
    return side_by_side(panels)


def _upright(picture: NDArray[np.uint8], is_mirrored: bool) -> NDArray[np.uint8]:
    return np.ascontiguousarray(picture[:, ::-1]) if is_mirrored else picture


def _enlarged(picture: NDArray[np.uint8], grid: tuple[int, int]) -> NDArray[np.uint8]:
    """Enlarge a picture so that each patch has a side of `PATCH_PX` pixels."""
    import cv2

    size = (grid[1] * PATCH_PX, grid[0] * PATCH_PX)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)
