"""What every hand detector takes and gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError


@dataclass(frozen=True)
class HandBox:
    """One hand in an image.

    Attributes:
        box_xyxy: tight box (x1, y1, x2, y2) in pixels, x1 < x2 and y1 < y2; it may reach over the image's
            border.
        is_right: whether it is the person's right hand.
        score: confidence in [0, 1]; 1 where a user gave the box.
    """

    box_xyxy: tuple[float, float, float, float]
    is_right: bool
    score: float = 1.0


@dataclass(frozen=True)
class Detection:
    """The hands of one image, and what was wrong with the ones left out.

    Attributes:
        hands: usable hands, in a fixed order.
        problems: one sentence for each box that could not be used.
    """

    hands: tuple[HandBox, ...]
    problems: tuple[str, ...] = field(default=())


class Detector(Protocol):
    """Finds hands; `name` is what `--detector` calls it."""

    name: str

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection:
        """Hands of one image `[H, W, 3]`; `image_name` is its path under the image folder."""
        ...


def check_box(box_xyxy: Sequence[float], width: int, height: int) -> tuple[float, float, float, float]:
    """A box that can be cropped: four finite numbers, not upside down, and some of it inside the image.

    Raises:
        InputError: it is not; the message names the numbers and the rule.
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


def valid_hands(hands: Sequence[HandBox], image_bgr: NDArray[np.uint8]) -> Detection:
    """Split hands into those whose boxes can be used and a sentence for each of the others."""
    height, width = image_bgr.shape[:2]
    good: list[HandBox] = []
    problems: list[str] = []
    for hand in hands:
        try:
            check_box(hand.box_xyxy, width, height)
        except InputError as error:
            problems.append(str(error))
        else:
            good.append(hand)
    return Detection(tuple(good), tuple(problems))
