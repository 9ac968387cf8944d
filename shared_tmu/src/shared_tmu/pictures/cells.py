"""How much two crops of the same subject differ: decides whether plans of the earlier one are used again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_CHANGE = 0.25
"""Plans are made anew when the cells of a crop have changed by more than this part of their contrast.

Chosen by a trial with HaMeR-Thin at 8x16 with masks: as a box moved, held plans were at least as close to
the unpatched model as new ones while the cells had changed by a fifth, and worse from two fifths on. No
command repeats it yet, so it is a choice, not a measured bound.
"""
CELLS = (16, 12)
"""Rows and columns of the means by which crops are compared."""


def cells_of(image: NDArray[np.float32], cells: Sequence[int] = CELLS) -> NDArray[np.float32]:
    """Means over the cells of a crop, `[C, H, W]` to `[C, rows, columns]`; pixels that are left over at the
    right and bottom are not counted."""
    (channels, height, width), (rows, columns) = image.shape, cells
    down, right = height // rows, width // columns
    cut = image[:, : down * rows, : right * columns]
    means: NDArray[np.float32] = cut.reshape(channels, rows, down, columns, right).mean(axis=(2, 4))
    return means


def change_between(old: NDArray[np.float32], new: NDArray[np.float32]) -> float:
    """Root mean square of the differences of two crops' cells, in units of the old one's contrast."""
    return float(np.sqrt(np.square(new - old).mean()) / max(float(old.std()), 1e-6))
