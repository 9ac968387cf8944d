"""What the page computes for one picture and one setting; it knows nothing of the browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.api import Item, MeshModel, PictureResult, Speed
from shared_tmu.errors import InputError, MissingDependencyError
from shared_tmu.page.catalog import Entry
from shared_tmu.pictures.images import read_image
from shared_tmu.schedule import Schedule

FIND, RIGHT, LEFT, WHOLE = "find", "right", "left", "whole"
MOST_DRAWN = 3  # hands or people whose tokens are drawn
MOST_SIDE_PX = 1280  # of the overlay: more would only make the page slow
ROOM_PX = 90  # at the right of a row of many panels, for the button that the page draws over it
ROUNDS, BUDGET_S = 7, 3.0
SUFFIXES = ("npz", "json", "glb")

HOW_WITHOUT = "Without it, say under 'In the picture' that one fills the picture."

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Ask:
    """What a user asks for.

    Attributes:
        picture: a file.
        step: place of the slider.
        mask: which tokens merge last, as `--mask`.
        where: `find` for the detector; `right`, `left` (hands) or `whole` (people) for one that fills the
            picture.
    """

    picture: Path
    step: int
    mask: str
    where: str = FIND


@dataclass(frozen=True, eq=False)
class Display:
    """What the page shows.

    Attributes:
        schedule: how many tokens merged.
        left, tokens: patch tokens that are left, and of how many.
        overlay: the meshes over the picture, RGB.
        merged: for the first of them, the crop and its tokens after the last block; None if there are none.
        strips: the same block by block.
        items: hands or people.
        moved_mm: how far merging moved the vertices of each, on average.
        speed: times of the network; None if nothing was found.
        files: results by suffix.
    """

    schedule: Schedule
    left: int
    tokens: int
    overlay: Image
    merged: Image | None
    strips: Image | None
    items: tuple[Item, ...]
    moved_mm: tuple[float, ...]
    speed: Speed | None
    files: dict[str, Path]


def estimate(entry: Entry, ask: Ask, folder: Path) -> Display:
    """Estimate a picture, and write its result files into a folder.

    Raises:
        TMUError: the picture cannot be read, or the setting does not fit.
    """
    schedule, model = entry.schedule(ask.step), entry.model
    picture = read_image(ask.picture)
    boxes, sides = _boxes(ask.where, picture.size_px)
    changes = {} if schedule.is_off else {"mask": ask.mask}
    with model.at(str(schedule), **changes):
        result = _predict(model, ask.picture, boxes, sides)
        speed = model.measure(result, rounds=ROUNDS, budget_s=BUDGET_S) if len(result) else None
    overlay = fitted(result.draw(picture.bgr, bgr=True))[:, :, ::-1]
    files = {suffix: result.save(folder / f"{ask.picture.stem}.{suffix}") for suffix in SUFFIXES[:2]}
    if len(result):
        files["glb"] = result.save(folder / f"{ask.picture.stem}.glb")
    merged, strips = _tokens(result, 1), _tokens(result, 6)
    moved = _moved_mm(model, ask.picture, result, schedule)
    left = entry.left(schedule)
    return Display(
        schedule, left, entry.tokens, overlay, merged, strips, tuple(result), moved, speed, files
    )  # fmt: skip


def _boxes(where: str, size_px: tuple[int, int]) -> tuple[list[list[float]] | None, list[str] | None]:
    """Boxes and sides that stand for what the user says about the picture."""
    if where == FIND:
        return None, None
    if where not in (RIGHT, LEFT, WHOLE):
        raise InputError(f"there is no choice {where!r}: use {FIND}, {RIGHT}, {LEFT} or {WHOLE}.")
    width, height = size_px
    return [[0.0, 0.0, float(width), float(height)]], None if where == WHOLE else [where]


def _predict(
    model: MeshModel[Any], path: Path, boxes: list[list[float]] | None, sides: list[str] | None
) -> PictureResult[Any]:
    try:
        return model.predict(path, boxes, sides)
    except MissingDependencyError as error:
        raise InputError(f"{str(error).rstrip('.')}. {HOW_WITHOUT}") from error


def _moved_mm(
    model: MeshModel[Any], path: Path, result: PictureResult[Any], schedule: Schedule
) -> tuple[float, ...]:
    """How far merging moved the vertices of each hand or person, on average; empty if not known."""
    if schedule.is_off:
        return (0.0,) * len(result)
    boxes = [item.box_xyxy_px.tolist() for item in result]
    sides = [item.is_right for item in result] if hasattr(next(iter(result), None), "is_right") else None
    with model.at("off"):
        baseline = model.predict(path, boxes, sides, strict=False)
    if len(baseline) != len(result):
        return ()
    pairs = zip(result, baseline, strict=True)
    return tuple(
        1000.0 * float(np.linalg.norm(one.vertices_m - other.vertices_m, axis=1).mean())
        for one, other in pairs
    )


def _tokens(result: PictureResult[Any], most: int) -> Image | None:
    """The pictures of tokens of the first hands or people, below each other."""
    drawn = [item.draw_tokens(most) for item in result[:MOST_DRAWN]]
    return stacked(drawn, ROOM_PX if most > 1 else 0) if drawn else None


def stacked(pictures: Sequence[Image], room_px: int = 0) -> Image:
    """Pictures below each other, on white, with room at the right."""
    width = max(picture.shape[1] for picture in pictures) + room_px
    rows = [
        np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)), constant_values=255)
        for picture in pictures
    ]
    return np.concatenate(rows)


def fitted(picture: Image) -> Image:
    """A picture, made smaller if one of its sides is long."""
    import cv2

    scale = MOST_SIDE_PX / max(picture.shape[:2])
    if scale >= 1:
        return picture
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)
