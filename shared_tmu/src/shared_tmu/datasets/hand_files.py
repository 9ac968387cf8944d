"""Prediction files of hand evaluations: `[xyz_list, verts_list]` in JSON, plain or alone in a .zip."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError, TMUError
from shared_tmu.files import open_file, replacing

Points = NDArray[np.float64]
MEMBER = "pred.json"
_SHAPES = {"joints": (21, 3), "vertices": (778, 3)}


def write_hand_file(path: Path, xyz: Points, verts: Points) -> None:
    """Write joints `[N, 21, 3]` and vertices `[N, 778, 3]`, metres, sample by sample.

    Args:
        path: `.json`, or `.zip` for an archive that holds `pred.json` without a folder, as servers want it.
        xyz: in the order and frame of the set.
        verts: in the same frame.
    """
    with replacing(path) as beside, _text_of(beside) as file:
        file.write("[")
        for i, points in enumerate((xyz, verts)):
            file.write(", [" if i else "[")
            for n, sample in enumerate(points):
                file.write((",\n" if n else "\n") + json.dumps(sample.tolist(), allow_nan=False))
            file.write("]")
        file.write("]\n")


@contextmanager
def _text_of(path: Path) -> Iterator[IO[str]]:
    if path.suffix != ".zip":
        with path.open("w", encoding="ascii") as file:
            yield file
        return
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(MEMBER, "w", force_zip64=True) as member,
    ):
        yield (text := TextIOWrapper(member, encoding="ascii"))
        text.detach()  # flushes, and leaves closing to the archive


def read_hand_file(path: Path, count: int) -> tuple[Points, Points]:
    """Joints and vertices of such a file.

    Args:
        path: `.json`, or a `.zip` with one `.json`.
        count: how many samples it must have.

    Raises:
        MissingAssetError: there is no such file.
        InputError: it is no such file, or of another number of samples.
    """
    try:
        content = json.loads(_content_of(path))
        pair = [np.asarray(part, dtype=np.float64) for part in content]
    except (ValueError, TypeError, OverflowError, RecursionError, KeyError, RuntimeError, OSError) as error:
        if isinstance(error, TMUError):
            raise
        raise InputError(f"{path} cannot be read as predictions [joints, vertices]: {error}.") from error
    found = [array.shape for array in pair]
    if found != [(count, *shape) for shape in _SHAPES.values()]:
        raise InputError(
            f"{path} holds arrays of shape {found}; this set needs joints ({count}, 21, 3) and vertices "
            f"({count}, 778, 3), in its own order."
        )
    return pair[0], pair[1]


def _content_of(path: Path) -> bytes:
    with open_file(path, InputError, "Name a prediction file.", "the prediction file") as file:
        if path.suffix.lower() != ".zip":
            return file.read()
        try:
            with zipfile.ZipFile(file) as archive:
                members = [name for name in archive.namelist() if name.endswith(".json")]
                if len(members) != 1:
                    raise InputError(f"{path} holds {len(members)} .json files; expected one, {MEMBER}.")
                return archive.read(members[0])
        except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise InputError(f"{path} cannot be read as a .zip: {error}.") from error
