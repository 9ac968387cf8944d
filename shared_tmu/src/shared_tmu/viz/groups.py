"""Draws the groups of merged tokens over their image."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError

TINT = 0.35
"""Share of a group's own colour in its filling."""
_OUTLINE = 0.9
_PATCH_PX_PER_LINE = 12  # outlines of larger patches are wider


def draw_groups(
    image: NDArray[np.uint8],
    source_map: Any,
    grid: tuple[int, int] = (16, 12),
    index: int = 0,
    copy_map: Any = None,
    tint: float = TINT,
) -> NDArray[np.uint8]:
    """Fill each merged group of patches with its mean colour, with a tint and an outline in the group's own
    colour, which is that of its first patch: the same after every block, as long as this patch is the first.

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
        tint: share of the group's own colour in the filling; 0 for its mean colour as it is.

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
    colours = _colours(slots, copied_slots)
    for slot in np.unique(slots):
        members = int((slots == slot).sum())
        here = slot_of_pixel == slot
        if slot < 0:
            canvas[here] *= 0.25
            if copied is not None:
                _tint_copies(canvas, here, copied[rows[:, None], columns[None, :]], colours)
        elif members > 1:
            canvas[here] = (1 - tint) * canvas[here].mean(axis=0) + tint * colours[int(slot)]
    outlined = {slot: colours[slot] for slot in _merged(slots) | copied_slots}
    _outline(canvas, slot_of_pixel, outlined, max(1, height // grid[0] // _PATCH_PX_PER_LINE))
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _tint_copies(
    canvas: NDArray[np.float64],
    here: NDArray[np.bool_],
    copied: NDArray[np.int64],
    colours: Mapping[int, NDArray[np.float64]],
) -> None:
    """Tint pruned patches with the colour of the slot that they copy, in place."""
    for slot in np.unique(copied[here]):
        canvas[here & (copied == slot)] += TINT * colours[int(slot)]


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


def _colours(slots: NDArray[np.int64], others: Iterable[int]) -> dict[int, NDArray[np.float64]]:
    """A bright colour for every slot, by its first patch; of slots without a patch, by their number."""
    found, first = np.unique(slots, return_index=True)
    numbers = {slot: slot for slot in others} | dict(zip(found.tolist(), first.tolist(), strict=True))
    return {slot: _bright(number) for slot, number in numbers.items()}


def _bright(number: int) -> NDArray[np.float64]:
    """A bright colour; neighbouring numbers differ strongly in hue."""
    return 255.0 * np.array(colorsys.hsv_to_rgb(number * 0.61803398875 % 1.0, 0.75, 1.0))


def _merged(slots: NDArray[np.int64]) -> set[int]:
    """Slots that carry several patches."""
    found, sizes = np.unique(slots, return_counts=True)
    return {int(slot) for slot, size in zip(found, sizes, strict=True) if slot >= 0 and size > 1}


def _outline(
    canvas: NDArray[np.float64],
    slot_of_pixel: NDArray[np.int64],
    colours: Mapping[int, NDArray[np.float64]],
    width: int,
) -> None:
    """Draw the border of the patches of some slots, inside it, in the slot's colour, in place."""
    padded = np.pad(slot_of_pixel, width, mode="edge")
    height, across = slot_of_pixel.shape
    is_edge = np.zeros(slot_of_pixel.shape, bool)
    for dy in range(2 * width + 1):
        for dx in range(2 * width + 1):
            is_edge |= padded[dy : dy + height, dx : dx + across] != slot_of_pixel
    for slot, colour in colours.items():
        edge = is_edge & (slot_of_pixel == slot)
        canvas[edge] = (1 - _OUTLINE) * canvas[edge] + _OUTLINE * colour
