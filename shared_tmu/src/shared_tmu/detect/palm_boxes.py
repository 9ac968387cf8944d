"""From the outputs of MediaPipe's palm model to palms: its anchors, and the mean of overlapping boxes.

The palm model sees a picture of 192 x 192 pixels, and says for each of 2016 anchors how likely a palm is
there, and where its box and seven points are. These are the numbers of MediaPipe's own graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PALM_INPUT_PX = 192
STRIDES = ((8, 2), (16, 6))
"""Distance of the anchors in pixels, and how many there are at one place."""

SAME_PLACE = 0.3
"""Palms whose boxes share more than this part of their union are one."""

MOST_RAW = 100.0
"""Raw scores are limited to this, so that no exponential overflows."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RawPalms:
    """Palms of one picture, best first.

    Attributes:
        scores: `[K]`, in [0, 1].
        boxes: `[K, 4]`, left, top, right, bottom.
        points: `[K, 7, 2]`; both as fractions of the model's input.
    """

    scores: Floats
    boxes: Floats
    points: Floats


def anchors() -> Floats:
    """Centres of the anchors as fractions of the input, `[2016, 2]`, in the order of the model's outputs."""
    found = []
    for stride, count in STRIDES:
        side = PALM_INPUT_PX // stride
        centres = (np.arange(side) + 0.5) / side
        y, x = np.meshgrid(centres, centres, indexing="ij")
        found.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), count, axis=0))
    return np.concatenate(found)


def decode(raw_boxes: NDArray[np.float32], raw_scores: NDArray[np.float32], min_score: float) -> RawPalms:
    """Palms with at least a score, before overlapping ones are joined.

    Args:
        raw_boxes: centre, size and seven points relative to the anchors, in pixels of the input,
            `[2016, 18]`.
        raw_scores: `[2016]`.
        min_score: palms with a lower score are left out.
    """
    limited = np.clip(raw_scores.astype(np.float64), -MOST_RAW, MOST_RAW)
    scores = 1.0 / (1.0 + np.exp(-limited))
    kept = np.flatnonzero(scores >= min_score)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    values = raw_boxes[kept].astype(np.float64).reshape(-1, 9, 2) / PALM_INPUT_PX
    places = anchors()[kept]
    centres, sizes, points = values[:, 0] + places, values[:, 1], values[:, 2:] + places[:, None]
    good = (sizes >= 0).all(axis=1) & np.isfinite(values).all(axis=(1, 2))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    return RawPalms(scores[kept][good], boxes[good], points[good])


def joined(palms: RawPalms) -> RawPalms:
    """Overlapping palms as one: the mean of their boxes and points, weighted by score; the best score."""
    left = np.arange(len(palms.scores))
    scores, boxes, points = [], [], []
    while len(left):
        best = left[0]
        together = _shared(palms.boxes[left], palms.boxes[best]) > SAME_PLACE
        group, left = left[together], left[~together]
        if not len(group):  # a box without an area overlaps not even itself
            group, left = np.array([best]), left[1:]
        scores.append(palms.scores[best])
        boxes.append(np.average(palms.boxes[group], axis=0, weights=palms.scores[group]))
        points.append(np.average(palms.points[group], axis=0, weights=palms.scores[group]))
    if not scores:
        return palms
    return RawPalms(np.array(scores), np.array(boxes), np.array(points))


def _shared(boxes: Floats, box: Floats) -> Floats:
    """Intersection over union of boxes `[K, 4]` with one."""
    inside = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    both = np.clip(inside, 0.0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray(both / np.maximum(areas + (box[2:] - box[:2]).prod() - both, 1e-12))
