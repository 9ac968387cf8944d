"""Our own prediction file of key points in pictures, `keypoints.npz`; no set defines one."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError
from shared_tmu.files import open_file, replacing

_UNREADABLE = (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, RuntimeError, TypeError)
NAME, POINTS = "keypoints.npz", "prediction_px"


def write_keypoints(folder: Path, points_px: NDArray[np.floating[Any]], **beside: NDArray[Any]) -> Path:
    """Write predictions `[N, 21, 2]`, picture pixels, and what they are judged by; returns the file."""
    with replacing(folder / NAME) as unfinished:
        np.savez(unfinished, **{POINTS: points_px}, **beside)
    return folder / NAME


def read_keypoints(path: Path, count: int) -> NDArray[np.float64]:
    """Predictions `[count, 21, 2]` of such a file.

    Raises:
        MissingAssetError: there is no such file.
        InputError: it is no such file, or of another number of samples.
    """
    points = read_npz(path, (POINTS,))[POINTS]
    if points.shape != (count, 21, 2):
        raise InputError(f"{path}: {POINTS} has shape {points.shape}; this set needs ({count}, 21, 2).")
    return points.astype(np.float64)


def read_npz(path: Path, names: tuple[str, ...], more: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
    """Numeric arrays of an `.npz` file, and `more` where it has them.

    Raises:
        MissingAssetError: there is no such file.
        InputError: it is damaged, or lacks one.
    """
    with open_file(path, InputError, "Name a prediction file.", "the prediction file") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                there = [*names, *(name for name in more if name in archive.files)]
                found = {name: np.asarray(archive[name]) for name in there}
        except _UNREADABLE as error:
            wanted = ", ".join(names)
            raise InputError(f"{path} cannot be read as predictions with {wanted}: {error}.") from error
    for name, array in found.items():
        if array.dtype.kind not in "fiu":
            raise InputError(f"{path}: {name} holds no numbers.")
    return found
