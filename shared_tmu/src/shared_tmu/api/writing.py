"""Files and drawings of results."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared_tmu.api.inputs import OnePicture, Request
from shared_tmu.api.keywords import require_bool
from shared_tmu.demo.estimated import Estimated
from shared_tmu.errors import InputError
from shared_tmu.files import replacing
from shared_tmu.pictures.overlays import draw_meshes


def draw_over(estimated: Estimated, image: OnePicture, *, bgr: bool) -> NDArray[np.uint8]:
    """See `PictureResult.draw`."""
    require_bool("bgr", bgr)
    picture = Request(image, "the picture").open(bgr=bgr and isinstance(image, np.ndarray))
    camera = estimated.camera
    if picture.size_px != (camera.width, camera.height):
        raise InputError(
            f"the picture to draw over has {picture.size_px[0]} x {picture.size_px[1]} pixels, but the one "
            f"that was predicted had {camera.width} x {camera.height}: pass the same picture."
        )
    drawn = draw_meshes(picture.bgr, estimated.meshes, estimated.view)
    return drawn if bgr else np.ascontiguousarray(drawn[:, :, ::-1])


def write_result(given: os.PathLike[str] | str, make: Callable[[str], bytes | None], suffixes: str) -> Path:
    """Write what `make` gives for the suffix of a path, None if it does not know it; returns the path.

    Raises:
        InputError: it does not, or it is no path, or the file cannot be written.
    """
    if not isinstance(given, str | os.PathLike) or not isinstance(os.fspath(given), str):
        raise InputError(f"cannot save to {given!r}: expected a path that ends in {suffixes}.")
    path = Path(given)
    content = make(path.suffix.lower().removeprefix("."))
    if content is None:
        raise InputError(f"cannot save {path}: its suffix {path.suffix!r} is not one of {suffixes}.")
    try:
        with replacing(path) as beside:
            beside.write_bytes(content)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}.") from error
    return path
