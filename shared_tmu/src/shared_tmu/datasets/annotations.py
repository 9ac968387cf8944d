"""Reads annotation files of data sets: JSON arrays, and the lists that HaMeR's evaluation comes with."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError
from shared_tmu.files import open_file, shortened

LARGEST = 1e6
"""More pixels or metres than any annotation has."""


def read_json_array(path: Path, shape: tuple[int, ...], digest: hashlib._Hash) -> NDArray[np.float64]:
    """Read a JSON file of numbers `[N, *shape]`, and add its bytes to `digest`.

    Raises:
        InputError: it is damaged, of another shape, or holds what no annotation is.
    """
    content = path.read_bytes()
    digest.update(content)
    try:
        array = np.asarray(json.loads(content), dtype=np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"cannot read {path} as a list of {_text(shape)} numbers ({error}): "
            "it is damaged or another file; unpack the dataset again."
        ) from error
    if array.ndim != 1 + len(shape) or array.shape[1:] != shape or not len(array):
        raise InputError(
            f"{path} holds an array of shape {array.shape}; expected (samples, {_text(shape, ', ')})."
        )
    bad = np.flatnonzero(~np.isfinite(array).all(axis=tuple(range(1, array.ndim))))
    if bad.size:
        raise InputError(f"{path} holds numbers that are not finite, first in sample {bad[0]}.")
    large = np.flatnonzero((np.abs(array) > LARGEST).any(axis=tuple(range(1, array.ndim))))
    if large.size:
        raise InputError(
            f"{path} holds numbers above {LARGEST:,.0f}, which are no pixels or metres, first in sample "
            f"{large[0]}: it is damaged or another file."
        )
    return array


def read_list(path: Path, names: Sequence[str], digest: hashlib._Hash) -> dict[str, NDArray[Any]]:
    """Entries of a `.npz` list with `imgname`, `center`, `scale` (width and height, pixels) and others.

    A `scale` of one column counts for both sides; `center` and `scale` are `[N, 2]` in float64.

    Raises:
        InputError: it is damaged, or lacks an entry.
    """
    with open_file(path, InputError) as file:
        digest.update(file.read())
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                found = {name: archive[name] for name in ("imgname", "center", "scale", *names)}
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, RuntimeError) as error:
            wanted = ", ".join(("imgname", "center", "scale", *names))
            raise InputError(f"{path} cannot be read as a list with {wanted}: {error}.") from error
    count = len(np.atleast_1d(found["imgname"]))
    for name in ("center", "scale"):
        array = np.asarray(found[name])
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all() or array.size == 0:
            raise InputError(f"{path}: {name} must hold finite numbers.")
        array = array.astype(np.float64).reshape(len(array), -1)
        found[name] = np.repeat(array, 2, axis=1) if array.shape[1] == 1 else array
        if found[name].shape != (count, 2):
            raise InputError(f"{path}: {name} has shape {found[name].shape}; expected ({count}, 2).")
    if (found["scale"] <= 0).any() or any(len(found[name]) != count for name in names):
        raise InputError(f"{path}: boxes need a size above 0, and all entries the same length.")
    return found


def read_box_list(path: Path, pictures: Sequence[str], digest: hashlib._Hash) -> NDArray[np.float64]:
    """Boxes `[N, 4]` of such a list for these pictures, in their order, whatever its own is.

    Raises:
        InputError: it is damaged, or a list of other pictures.
    """
    found = read_list(path, (), digest)
    rows = {str(name): row for row, name in enumerate(found["imgname"])}
    if len(rows) != len(found["imgname"]):
        named = Counter(map(str, found["imgname"]))
        twice = next(name for name, count in named.items() if count > 1)
        raise InputError(f"{path} names {shortened(twice)} more than once: give one box for each picture.")
    missing = [name for name in pictures if name not in rows]
    if missing or len(rows) != len(pictures):
        what = f"lacks {shortened(missing[0])}" if missing else f"has {len(rows)} pictures"
        raise InputError(f"{path} {what}, and the set has {len(pictures)}: it is a list of another set.")
    order = [rows[name] for name in pictures]
    return boxes_of(found["center"][order], found["scale"][order])


def boxes_of(centre: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners `[N, 4]` from middles and sizes `[N, 2]`."""
    return np.hstack((centre - size / 2, centre + size / 2))


def _text(shape: tuple[int, ...], joint: str = " x ") -> str:
    return joint.join(map(str, shape))
