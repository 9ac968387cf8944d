"""The sources of masks: the table behind `--mask`.

| name | needs |
|---|---|
| none | nothing: every token may merge, as in published TMU |
| landmarks | key points from a detector such as mediapipe; the demo's default if there are any |
| box | the subject's box |
| previous | a video: the mesh of the same subject in the frame before, moved with its box |
| probe | nothing but a probe for these weights, which reads the model's own tokens |
| attention | nothing: the model's own attention |
| segmentation | people, segmented by mediapipe or by yolo |
| keypoints | true key points: only data sets |
| truth | a true mesh: only data sets |

Most rows draw the subject's pixels in the model's input crop; `cover_tokens` converts them to tokens. The
masks of `probe` and `attention` are read inside the model's trunk, see `shared_tmu.method_parts.read_masks`.

Names joined by `+` are a choice: the first of them that is known of a crop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from shared_tmu.method_parts.read_masks import ReadMask

from .attention import AttentionMask
from .limbs import Mask, draw_box, draw_moved, draw_triangles
from .probe import TokenProbe
from .scene import MaskScene, Outline

NO_MASK = "none"
AUTO = "auto"


@dataclass(frozen=True)
class MaskPlace:
    """Where masks are asked for.

    Attributes:
        subject: what is to be masked, `"hand"` or `"body"`; None for any.
        has_truth: whether there is a data set's truth to draw from.
        is_video: whether there are frames in order.
    """

    subject: str | None = None
    has_truth: bool = True
    is_video: bool = True


ANYWHERE = MaskPlace()
"""Where everything can be had."""


@dataclass(frozen=True)
class MaskSource:
    """A row of the table.

    Attributes:
        name: what `--mask` calls it.
        lacks: what is missing where it draws nothing, as messages say it.
        draw: `[H, W]` bool of the crop; None if what it needs is not known.
        of_truth: whether only data sets have what it needs.
        of_video: whether only videos have it.
        reader: of masks that are read inside the model and never drawn: makes one, from the file of a probe
            if it needs one.
        subject: what it can show, `"hand"` or `"body"`; None for both.
    """

    name: str
    lacks: str
    draw: Callable[[MaskScene], Mask | None]
    of_truth: bool = False
    of_video: bool = False
    reader: Callable[[Path | None], ReadMask] | None = None
    subject: str | None = None

    @property
    def reads_tokens(self) -> bool:
        """Whether it is known of every crop, but only inside the model."""
        return self.reader is not None

    def lacks_in(self, place: MaskPlace) -> str | None:
        """Why it cannot be had there; None if it can."""
        if self.subject is not None and place.subject not in (None, self.subject):
            return f"cannot be had of a {place.subject}"
        if self.of_truth and not place.has_truth:
            return "is drawn from the truth of a data set, and pictures have none"
        if self.of_video and not place.is_video:
            return "is drawn from the frame before, which only videos have"
        return None


def _landmarks(scene: MaskScene) -> Mask | None:
    found = scene.landmarks_px
    return None if found is None else scene.skeleton.draw(scene.to_crop(found), scene.size)


def _previous(scene: MaskScene) -> Mask | None:
    return _drawn(scene, scene.previous)


def _nothing(scene: MaskScene) -> Mask | None:
    return None


def _read_probe(file: Path | None) -> TokenProbe:
    assert file is not None, "programs have found it"
    return TokenProbe.load(file)[0]


def _read_attention(file: Path | None) -> AttentionMask:
    return AttentionMask()


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
    return _drawn(scene, scene.true_outline)


def _drawn(scene: MaskScene, outline: Outline | None) -> Mask | None:
    if outline is None:
        return None
    return draw_triangles(scene.to_crop(outline.points_px), outline.faces, scene.size)


MASKS = MappingProxyType(
    {
        source.name: source
        for source in (
            MaskSource("landmarks", "the detector gave no landmarks", _landmarks),
            MaskSource("box", "there is no box", _box),
            MaskSource("previous", "the frame before shows no such subject", _previous, of_video=True),
            MaskSource("probe", "there is no probe", _nothing, reader=_read_probe),
            MaskSource("attention", "there is no attention", _nothing, reader=_read_attention),
            MaskSource("segmentation", "the detector gave no segmentation", _segmentation, subject="body"),
            MaskSource("keypoints", "there are no true key points", _keypoints, of_truth=True),
            MaskSource("truth", "there is no true mesh", _truth, of_truth=True),
        )
    }
)
"""All rows except `none`."""
