"""The interface of every detector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError
from shared_tmu.masks import Silhouette

B = TypeVar("B", "HandBox", "PersonBox")


@dataclass(frozen=True)
class HandBox:
    """One hand in an image.

    Attributes:
        box_xyxy: tight box (x1, y1, x2, y2) in pixels, x1 < x2 and y1 < y2; it may extend beyond the image.
        is_right: whether it is the person's right hand.
        score: confidence in [0, 1]; 1 if a user gave the box.
        landmarks_px: its 21 key points (x, y) in OpenPose's order, `[21, 2]`, NaN if unknown; None from
            detectors that find only boxes.
        track: number of its track in a clip; None for pictures.
        is_found: whether it was found in this frame; False if it was concluded from other frames.
    """

    box_xyxy: tuple[float, float, float, float]
    is_right: bool
    score: float = 1.0
    landmarks_px: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    track: int | None = None
    is_found: bool = True


@dataclass(frozen=True)
class PersonBox:
    """One person in an image; see `HandBox` for the attributes.

    Landmarks are MediaPipe's 33; `silhouette` is the detector's segmentation, None if it made none.
    """

    box_xyxy: tuple[float, float, float, float]
    score: float = 1.0
    landmarks_px: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    silhouette: Silhouette | None = field(default=None, repr=False, compare=False)
    track: int | None = None
    is_found: bool = True


@dataclass(frozen=True)
class Detection(Generic[B]):
    """What was found in one image, and why boxes were left out.

    Attributes:
        boxes: usable boxes, in a fixed order.
        problems: one sentence for each box that could not be used.
        strays: number of boxes that were left out because hardly any other frame had them.
    """

    boxes: tuple[B, ...]
    problems: tuple[str, ...] = field(default=())
    strays: int = 0


class Detector(Protocol):
    """Finds hands or people; `name` is what `--detector` calls it."""

    name: str

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[Any]:
        """Hands or people in one image `[H, W, 3]`; `image_name` is its path inside the image folder."""
        ...


def check_box(box_xyxy: Sequence[float], width: int, height: int) -> tuple[float, float, float, float]:
    """A box that can be cropped: four finite numbers, x1 < x2 and y1 < y2, and partly inside the image.

    Raises:
        InputError: it cannot be cropped; the message names the numbers and the rule.
    """
    if len(box_xyxy) != 4 or not all(math.isfinite(value) for value in box_xyxy):
        raise InputError(f"box {_text(box_xyxy)}: expected four finite numbers x1, y1, x2, y2 in pixels.")
    x1, y1, x2, y2 = (float(value) for value in box_xyxy)
    if x2 <= x1 or y2 <= y1:
        raise InputError(
            f"box {_text(box_xyxy)} is empty or upside down: expected x1 < x2 and y1 < y2 "
            "(top left corner first, then bottom right)."
        )
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        raise InputError(f"box {_text(box_xyxy)} lies outside the image of {width} x {height} pixels.")
    return x1, y1, x2, y2


def _text(box: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"


def valid_boxes(boxes: Sequence[B], image_bgr: NDArray[np.uint8]) -> Detection[B]:
    """The usable boxes, with one sentence for each of the others."""
    height, width = image_bgr.shape[:2]
    good: list[B] = []
    problems: list[str] = []
    for box in boxes:
        try:
            check_box(box.box_xyxy, width, height)
        except InputError as error:
            problems.append(str(error))
        else:
            good.append(box)
    return Detection(tuple(good), tuple(problems))


def shared_part(a: Sequence[float] | NDArray[np.float64], b: Sequence[float] | NDArray[np.float64]) -> float:
    """Intersection of two boxes over their union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return float(both / max(areas - both, 1e-9))
