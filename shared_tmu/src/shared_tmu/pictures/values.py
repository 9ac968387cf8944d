"""Converts the numbers in a file to 8 bits: 10 bits stored in 16, floats in 0..1 or 0..255, signs, NaN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError

BAND_VALUES = 1 << 20
"""Number of values that are converted at a time; only their copies take additional memory."""

UNIT_LIMIT = 1.5
"""Floats up to this value are taken as 0..1 (some may be slightly above 1); larger floats, up to 255, are
taken as 8-bit values.
"""

SMALL_NEGATIVE = 0.1
"""Negative values with a magnitude below this fraction of the largest value are noise, and become black."""

Numbers = NDArray[np.generic]


@dataclass(frozen=True)
class Scale:
    """How numbers become 8 bits: `low` becomes black and `high` white.

    Attributes:
        low: numbers below are black.
        high: numbers above are white.
        is_inverted: whether large numbers are dark.
        note: what was assumed, for the user.
    """

    low: float
    high: float
    is_inverted: bool = False
    note: str = ""

    def apply(self, values: Numbers) -> NDArray[np.uint8]:
        """Convert values; the shape stays the same."""
        numbers = np.nan_to_num(values.astype(np.float64), nan=self.low, posinf=self.high, neginf=self.low)
        numbers -= self.low
        if np.issubdtype(values.dtype, np.integer) and self.low == 0:  # the high byte of 2**n values
            numbers = np.floor(numbers * (256.0 / (self.high + 1.0)))
        else:
            numbers = np.rint(numbers * (255.0 / (self.high - self.low)))
        shades = np.clip(numbers, 0, 255)
        done: NDArray[np.uint8] = (255 - shades if self.is_inverted else shades).astype(np.uint8)
        return done

    def fill(self, canvas: NDArray[np.uint8], values: Numbers) -> None:
        """Write values `[H, W]` (grey) or `[H, W, 3]` into `canvas` `[H, W, 3]`."""
        for band in bands(values):
            shades = self.apply(values[band])
            canvas[band] = shades if shades.ndim == 3 else shades[:, :, None]


def find_scale(
    values: Numbers, name: str, bits: int | None = None, white: float | None = None, is_inverted: bool = False
) -> Scale:
    """How the numbers of a picture `[H, W]` or `[H, W, C]` become 8 bits.

    Args:
        values: numbers of more than 8 bits, or signed, or floating point.
        name: name of the file, for messages.
        bits: number of bits that are used, as stated in the file.
        white: the largest possible number, as stated in the file.
        is_inverted: whether large numbers are dark.

        Raises:
        InputError: no number is finite.
    """
    low, high, lost = _range(values)
    if not low <= high:
        raise InputError(f"cannot read {name}: its {values.size} numbers are all NaN or infinite.")
    is_integer = np.issubdtype(values.dtype, np.integer)
    notes = [f"{lost} numbers are NaN or infinite"] if lost else []
    if low < 0 and -low > SMALL_NEGATIVE * max(high, 0.0):
        notes.append(f"numbers from {low:g} to {high:g} shown from black to white")
        return Scale(low, max(high, low + 1e-9), is_inverted, ", ".join(notes))
    if low < 0:
        notes.append(f"negative numbers (down to {low:g}) are black")
    if white is not None and max(high, 1e-9) <= white < np.inf:
        top = white
    elif is_integer:
        top, told = _integer_top(values.dtype, high, bits)
        notes += told
    else:
        top, told = _float_top(high)
        notes += told
    return Scale(0.0, float(top), is_inverted, ", ".join(notes))


def _integer_top(dtype: np.dtype[Any], high: float, bits: int | None) -> tuple[float, list[str]]:
    width = 8 * dtype.itemsize
    if bits is not None and 8 <= bits < width and high < 2**bits:
        return 2.0**bits - 1, [f"{bits} of {width} bits are used"]
    found = max(min(8, width - (dtype.kind == "i")), int(high).bit_length())
    note = [f"no number is larger than {high:g}, so {found} of {width} bits are taken as used"]
    return 2.0**found - 1, note if found < width - (dtype.kind == "i") else []


def _float_top(high: float) -> tuple[float, list[str]]:
    if high <= UNIT_LIMIT:
        return 1.0, [f"numbers up to {high:g} taken as 0 to 1"]
    if high <= 255:
        return 255.0, [f"numbers up to {high:g} taken as 0 to 255"]
    return high, [f"the largest number, {high:g}, taken as white"]


def _range(values: Numbers) -> tuple[float, float, int]:
    """The smallest and largest finite number, and the number of values that are not finite."""
    low, high, lost = np.inf, -np.inf, 0
    for band in bands(values):
        part = values[band]
        if np.issubdtype(part.dtype, np.floating):
            part = part[np.isfinite(part)]
            lost += values[band].size - part.size
        if part.size:
            low, high = min(low, float(part.min())), max(high, float(part.max()))
    return low, high, lost


def bands(values: Numbers) -> Iterator[slice]:
    """Number of rows that together hold about `BAND_VALUES` values."""
    rows = max(1, BAND_VALUES // max(1, values[:1].size))
    for start in range(0, len(values), rows):
        yield slice(start, start + rows)
