"""The sources of masks: the table behind `--mask`.

| name | needs |
|---|---|
| none | nothing: every token may merge, as in published TMU |
| landmarks | a detector that finds key points, as mediapipe does; the default of the demo where it does |
| box | the subject's box |
| keypoints | true key points: data sets only |
| truth | a true mesh: data sets only |

A row draws the subject's pixels in the model's input crop; `cover_tokens` converts them to tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from shared_tmu.errors import InputError

from .limbs import Mask, draw_box, draw_triangles
from .scene import MaskScene

NO_MASK = "none"
AUTO = "auto"


@dataclass(frozen=True)
class MaskSource:
    """A row of the table.

    Attributes:
        name: what `--mask` calls it.
        lacks: what is missing where it draws nothing, as messages say it.
        draw: `[H, W]` bool of the crop; None if what it needs is not known.
        of_truth: whether only data sets have what it needs.
    """

    name: str
    lacks: str
    draw: Callable[[MaskScene], Mask | None]
    of_truth: bool = False


def _landmarks(scene: MaskScene) -> Mask | None:
    found = scene.landmarks_px
    return None if found is None else scene.skeleton.draw(scene.to_crop(found), scene.size)


def _keypoints(scene: MaskScene) -> Mask | None:
    true = scene.true_keypoints_px
    return None if true is None else scene.skeleton.draw(scene.to_crop(true), scene.size)


def _box(scene: MaskScene) -> Mask | None:
    if scene.box_xyxy is None:
        return None
    x1, y1, x2, y2 = scene.box_xyxy
    corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
    return draw_box(scene.to_crop(corners), scene.size)


def _truth(scene: MaskScene) -> Mask | None:
    outline = scene.true_outline
    if outline is None:
        return None
    return draw_triangles(scene.to_crop(outline.points_px), outline.faces, scene.size)


MASKS = MappingProxyType(
    {
        source.name: source
        for source in (
            MaskSource("landmarks", "the detector gave no landmarks", _landmarks),
            MaskSource("box", "there is no box", _box),
            MaskSource("keypoints", "there are no true key points", _keypoints, of_truth=True),
            MaskSource("truth", "there is no true mesh", _truth, of_truth=True),
        )
    }
)
"""Rows but `none`."""


def find_mask(name: str, *, with_truth: bool = True) -> MaskSource | None:
    """The row of a name; None for `none`.

    Raises:
        InputError: no such row, or one that needs the truth where there is none.
    """
    if name == NO_MASK:
        return None
    found = MASKS.get(name)
    if found is None:
        known = ", ".join(mask_names(with_truth=with_truth))
        raise InputError(f"there is no mask {name!r}: use one of {known}.")
    if found.of_truth and not with_truth:
        raise InputError(
            f"mask {name!r} is drawn from the truth of a data set, and pictures have none: use one of "
            f"{', '.join(mask_names(with_truth=False))}."
        )
    return found


def mask_names(*, with_truth: bool = True) -> tuple[str, ...]:
    """All names, `none` first."""
    return NO_MASK, *(row.name for row in MASKS.values() if with_truth or not row.of_truth)
