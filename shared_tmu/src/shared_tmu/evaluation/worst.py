"""A sheet of the samples that one run predicts worse than another, with the truth and both predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared_tmu.datasets import EvalSet
from shared_tmu.datasets.base import Placed
from shared_tmu.pictures.images import read_image
from shared_tmu.pictures.panels import side_by_side, with_caption

TRUTH, FIRST, SECOND = (235, 235, 235), (178, 114, 0), (0, 94, 213)
"""Colours in BGR: light grey, blue and vermilion, which the colour-blind can tell apart."""
_SIDE_PX = 280
_ROOM = 1.6  # sides of what is shown over those of the true points
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """One run's side of the sheet.

    Args:
        label: label of the run.
        placed: its predictions; None if they are not there.
        values: its errors, `[N]`.
        colour: colour of its points, BGR.
    """

    label: str
    placed: Placed | None
    values: NDArray[np.float64]
    colour: tuple[int, int, int]


def draw_worst(data: EvalSet, rows: Sequence[int], runs: Sequence[Shown]) -> NDArray[np.uint8]:
    """A row for each sample, a panel for each run.

    Args:
        data: the set.
        rows: numbers of the samples.
        runs: both sides.

    Raises:
        InputError: a picture cannot be read.
    """
    sheet = []
    for index in rows:
        true = _finite(data.true_px(index))
        panels = []
        for run in runs:
            found = None if run.placed is None else _finite(data.shown_px(run.placed, index))
            panel = _panel(data, index, true, found, run.colour)
            panels.append(
                with_caption(panel, f"{data.sample_ids[index]}  {run.label}: {run.values[index]:.3g}")
            )
        sheet.append(side_by_side(panels))
    return np.concatenate(sheet)


def _panel(
    data: EvalSet, index: int, true: Points | None, found: Points | None, colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    import cv2

    image = read_image(data.images[index], upright=data.is_upright).bgr
    middle, side = _window(image.shape[1], image.shape[0], true)
    scale = _SIDE_PX / side
    move = np.column_stack((scale * np.eye(2), _SIDE_PX / 2 - scale * middle))
    canvas = np.asarray(cv2.warpAffine(image, move, (_SIDE_PX, _SIDE_PX)), np.uint8)
    for points, shade in ((true, TRUTH), (found, colour)):
        if points is None:
            continue
        radius = 1 if len(points) > 100 else 3
        for x, y in np.clip(scale * points + move[:, 2], -1e4, 1e4):
            cv2.circle(canvas, (round(x), round(y)), radius, shade, -1, cv2.LINE_AA)
    return canvas


def _window(width: int, height: int, points: Points | None) -> tuple[Points, float]:
    """Middle and side of the square that is shown: around the points, or the whole picture."""
    if points is None or not len(points):
        return np.array((width / 2, height / 2)), float(max(width, height))
    low, high = points.min(axis=0), points.max(axis=0)
    return (low + high) / 2, max(float(_ROOM * (high - low).max()), 8.0)


def _finite(points: Points | None) -> Points | None:
    return None if points is None else points[np.isfinite(points).all(axis=1)]
