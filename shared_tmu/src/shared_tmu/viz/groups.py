"""Draws the groups of merged tokens over their image."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError

_TINT = 0.35
_OUTLINE = 0.9


def draw_groups(
    image: NDArray[np.uint8],
    source_map: Any,
    grid: tuple[int, int] = (16, 12),
    index: int = 0,
    copy_map: Any = None,
) -> NDArray[np.uint8]:
    """Fill each merged group of patches with its mean colour, with a tint and an outline in the group's own
    colour.

    Patches that did not merge stay unchanged. Pruned ones (-1 in the map) are darkened; if a copy map is
    given, they are tinted with the colour of the slot that they copy, and the patches of this slot are
    outlined in that colour.

    Args:
        image: the model's input, `[H, W, 3]` uint8, any channel order.
        source_map: the slot of every token, `[N]` or `[B, N]`, tensor or array. If it holds more tokens than
            the grid has patches, the first ones are prefix tokens and are not drawn.
        grid: rows and columns of patches.
        index: number of the image in the batch.
        copy_map: the slot from which every token gets its features back, in the same form as the source map;
            None to draw no copies.

    Returns:
        A new picture of the same size.

    Raises:
        InputError: the map, the grid and the image do not fit each other.
    """
    slots = _patch_slots(source_map, grid, index)
    copied = None if copy_map is None else _patch_slots(copy_map, grid, index)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"expected an image [H, W, 3] of uint8, found {list(image.shape)} of {image.dtype}.")
    height, width = image.shape[:2]
    if height < grid[0] or width < grid[1]:
        raise InputError(
            f"an image of {width} x {height} pixels is too small for {grid[1]} x {grid[0]} patches: use a "
            "larger image."
        )
    rows = np.arange(height) * grid[0] // height
    columns = np.arange(width) * grid[1] // width
    slot_of_pixel = slots[rows[:, None], columns[None, :]]  # [H, W]
    canvas = image.astype(np.float64)
    copied_slots = set() if copied is None else {int(slot) for slot in copied[slots < 0]}
    for slot in np.unique(slots):
        members = int((slots == slot).sum())
        here = slot_of_pixel == slot
        if slot < 0:
            canvas[here] *= 0.25
            if copied is not None:
                _tint_copies(canvas, here, copied[rows[:, None], columns[None, :]])
        elif members > 1:
            canvas[here] = (1 - _TINT) * canvas[here].mean(axis=0) + _TINT * _colour(int(slot))
    _outline(canvas, slot_of_pixel, _merged(slots) | copied_slots)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _tint_copies(canvas: NDArray[np.float64], here: NDArray[np.bool_], copied: NDArray[np.int64]) -> None:
    """Tint pruned patches with the colour of the slot that they copy, in place."""
    for slot in np.unique(copied[here]):
        canvas[here & (copied == slot)] += _TINT * _colour(int(slot))


def _patch_slots(source_map: Any, grid: tuple[int, int], index: int) -> NDArray[np.int64]:
    slots = np.asarray(source_map.detach().cpu() if hasattr(source_map, "detach") else source_map)
    if slots.ndim == 2:
        if not -len(slots) <= index < len(slots):
            raise InputError(
                f"image {index} was asked for, but the source map has {len(slots)} images, numbered from 0."
            )
        slots = slots[index]
    patches = grid[0] * grid[1]
    if slots.ndim != 1 or len(slots) < patches:
        raise InputError(
            f"a grid of {grid[0]} x {grid[1]} needs a source map of {patches} patch tokens, "
            f"found {list(slots.shape)}."
        )
    return slots[len(slots) - patches :].astype(np.int64).reshape(grid)


def _colour(slot: int) -> NDArray[np.float64]:
    """A bright colour for a slot; slots with neighbouring numbers differ strongly in hue."""
    return 255.0 * np.array(colorsys.hsv_to_rgb(slot * 0.61803398875 % 1.0, 0.75, 1.0))


def _merged(slots: NDArray[np.int64]) -> set[int]:
    """Slots that carry several patches."""
    found, sizes = np.unique(slots, return_counts=True)
    return {int(slot) for slot, size in zip(found, sizes, strict=True) if slot >= 0 and size > 1}


def _outline(canvas: NDArray[np.float64], slot_of_pixel: NDArray[np.int64], slots: Iterable[int]) -> None:
    """Draw the border of the patches of some slots in the slot's colour, in place."""
    padded = np.pad(slot_of_pixel, 1, mode="edge")
    core = padded[1:-1, 1:-1]
    is_edge = np.zeros(core.shape, bool)
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        is_edge |= padded[1 + dy : padded.shape[0] - 1 + dy, 1 + dx : padded.shape[1] - 1 + dx] != core
    for slot in slots:
        edge = is_edge & (slot_of_pixel == slot)
        canvas[edge] = (1 - _OUTLINE) * canvas[edge] + _OUTLINE * _colour(slot)
