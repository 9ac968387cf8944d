"""Pictures that a program holds in memory: NumPy arrays and Pillow's images, as `read_image` gives files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError
from shared_tmu.pictures.opening import mode_note, orientation_of, to_bgr, upright_canvas
from shared_tmu.pictures.picture_file import Picture
from shared_tmu.pictures.values import find_scale

if TYPE_CHECKING:
    from PIL import Image as PilImage

WANTED = "expected an array [height, width, 3] of numpy.uint8 (0 to 255), RGB unless bgr=True"


def picture_of_array(array: NDArray[Any], name: str, *, bgr: bool = False) -> Picture:
    """A picture from its pixels; `name` is used in messages only.

    Args:
        array: `[H, W, 3]` uint8, upright; RGB, or BGR if `bgr` says so. It is not changed or kept.
        name: what to call it.
        bgr: the order of the channels.

    Raises:
        InputError: another shape or another type of numbers; the message says how to convert it.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array, whose mask has no meaning here: use array.filled(0).")
    if advice := _of_shape(array.shape) or _of_type(array.dtype):
        raise InputError(f"{name} has shape {list(array.shape)} and type {array.dtype}: {WANTED}; {advice}.")
    return Picture(np.ascontiguousarray(array if bgr else array[:, :, ::-1]))


def _of_shape(shape: tuple[int, ...]) -> str:
    """How to convert an array of this shape; empty if it needs no conversion."""
    if len(shape) == 3 and shape[2] == 3 and 0 not in shape:
        return ""
    if 0 in shape:
        return "it is empty"
    if len(shape) == 2 or (len(shape) == 3 and shape[2] == 1):
        return "for a grey picture repeat its channel: numpy.dstack([image] * 3)"
    if len(shape) == 3 and shape[2] == 4:
        return "leave the fourth channel out: image[:, :, :3]"
    if len(shape) == 3 and shape[0] in (1, 3, 4):
        return "channels come last: image.transpose(1, 2, 0)"
    if len(shape) == 4:
        return "several pictures are a list: list(images)"
    return "this is not one picture"


def _of_type(dtype: np.dtype[Any]) -> str:
    if dtype == np.uint8:
        return ""
    if dtype.kind == "f":
        return "for numbers from 0 to 1 use (255 * image).round().astype(numpy.uint8)"
    if dtype == np.uint16:
        return "for 16-bit numbers use (image // 256).astype(numpy.uint8)"
    return "convert it with image.astype(numpy.uint8) if its numbers are from 0 to 255"


def picture_of_image(image: PilImage.Image, name: str) -> Picture:
    """A picture from Pillow's, rotated upright as its EXIF data says, like a file; `image` stays as it is.

    Raises:
        InputError: it cannot be decoded.
    """
    try:
        image.load()
    except Exception as error:  # of almost any class, depending on the decoder
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(
            f"{name} cannot be decoded ({reason}): its file may be truncated or damaged."
        ) from error
    if 0 in image.size:
        raise InputError(f"{name} has {image.size[0]} x {image.size[1]} pixels: it is empty.")
    orientation, note = orientation_of(image)
    if not image.mode.startswith(("I", "F")):
        return Picture(to_bgr(image, orientation), note or mode_note(image.mode))
    values = np.asarray(image)
    scale = find_scale(values, name)
    upright, canvas = upright_canvas(*image.size, orientation)
    scale.fill(canvas, values)
    return Picture(upright, scale.note or note)
