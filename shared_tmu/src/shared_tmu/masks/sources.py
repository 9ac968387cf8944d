"""The sources of masks: the table behind `--mask`.

| name | needs |
|---|---|
| none | nothing: every token may merge, as in published TMU |
| landmarks | a detector that finds key points, as mediapipe does; the default of the demo where it does |
| box | the subject's box |
| segmentation | people, found by mediapipe, which segments them |
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

from .limbs import Mask, draw_box, draw_moved, draw_triangles
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
        subject: what it can show, `"hand"` or `"body"`; None for both.
    """

    name: str
    lacks: str
    draw: Callable[[MaskScene], Mask | None]
    of_truth: bool = False
    subject: str | None = None

    def is_for(self, subject: str | None, with_truth: bool) -> bool:
        """Whether it can be had of such a subject (None: of any), with or without a data set's truth."""
        return (with_truth or not self.of_truth) and (subject is None or self.subject in (None, subject))


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


def _segmentation(scene: MaskScene) -> Mask | None:
    found = scene.silhouette
    if found is None:
        return None
    turn, shift = found.to_picture[:, :2], found.to_picture[:, 2:]
    back = np.linalg.inv(turn)
    reads = np.hstack((back @ scene.to_picture[:, :2], back @ (scene.to_picture[:, 2:] - shift)))
    return draw_moved(found.mask, reads, scene.size)


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
            MaskSource("segmentation", "the detector gave no segmentation", _segmentation, subject="body"),
            MaskSource("keypoints", "there are no true key points", _keypoints, of_truth=True),
            MaskSource("truth", "there is no true mesh", _truth, of_truth=True),
        )
    }
)
"""Rows but `none`."""


def find_mask(name: str, *, subject: str | None = None, with_truth: bool = True) -> MaskSource | None:
    """The row of a name; None for `none`.

    Args:
        name: what `--mask` was given.
        subject: what is to be masked, `"hand"` or `"body"`; None for any.
        with_truth: whether there is a data set's truth to draw from.

    Raises:
        InputError: no such row, or one that cannot be had of such a subject or without truth.
    """
    if name == NO_MASK:
        return None
    found = MASKS.get(name)
    if found is not None and found.is_for(subject, with_truth):
        return found
    known = ", ".join(mask_names(subject=subject, with_truth=with_truth))
    if found is None:
        raise InputError(f"there is no mask {name!r}: use one of {known}.")
    if found.is_for(None, with_truth):
        raise InputError(f"mask {name!r} cannot be had of a {subject}: use one of {known}.")
    raise InputError(
        f"mask {name!r} is drawn from the truth of a data set, and pictures have none: use one of {known}."
    )


def mask_names(*, subject: str | None = None, with_truth: bool = True) -> tuple[str, ...]:
    """All names that can be had, `none` first; see `find_mask`."""
    return NO_MASK, *(row.name for row in MASKS.values() if row.is_for(subject, with_truth))
