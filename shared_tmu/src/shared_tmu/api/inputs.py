"""What `predict` accepts: pictures in several forms, with boxes and sides or without."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect import Detection
from shared_tmu.detect.boxes import read_entries
from shared_tmu.errors import InputError
from shared_tmu.pictures.held_pictures import WANTED, picture_of_array, picture_of_image
from shared_tmu.pictures.images import Picture, read_image
from shared_tmu.programs.places import require_places

if TYPE_CHECKING:
    from PIL import Image as PilImage

OnePicture: TypeAlias = "str | os.PathLike[str] | PilImage.Image | NDArray[np.uint8]"
Boxes: TypeAlias = "Sequence[Sequence[float]] | NDArray[Any]"
Sides: TypeAlias = "Sequence[str | bool] | NDArray[Any]"

_SIDES = {"right": True, "left": False}
_MISSING = object()


@dataclass(frozen=True)
class Request:
    """One picture to predict, as it was given.

    Attributes:
        picture: the picture.
        name: its name in messages and results: that of its file, or its place.
        boxes: boxes in it; None for what the detector finds.
        sides: for hands, which hand each box holds.
    """

    picture: OnePicture
    name: str
    boxes: Boxes | None = None
    sides: Sides | None = None

    def open(self, *, bgr: bool) -> Picture:
        """Its pixels.

        Raises:
            InputError: it cannot be read, or is not a picture.
        """
        if isinstance(self.picture, str | os.PathLike):
            path = Path(self.picture)
            require_places({"the picture": path})
            return read_image(path)
        return open_held(self.picture, self.name, bgr=bgr)

    def require_no_sides(self) -> None:
        """Refuse sides of a picture in which the detector searches.

        Raises:
            InputError: there are some; an empty list is none.
        """
        if self.sides is not None and not (is_list(self.sides) and len(self.sides) == 0):
            raise InputError("sides were given without boxes: they belong to boxes, give both or none.")

    def given(self, size_px: tuple[int, int], *, of_people: bool) -> Detection[Any]:
        """The boxes that were given, checked against a picture of this width and height.

        Raises:
            InputError: boxes or sides of another form, or not as many sides as boxes.
        """
        entries: list[dict[str, Any]] = [{"box_xyxy": box} for box in _rows(self.boxes)]
        if not of_people:
            for entry, side in zip(entries, _sides(self.sides, len(entries)), strict=True):
                entry["is_right"] = side
        found = read_entries(entries, size_px, of_people=of_people)
        return Detection(found.boxes, tuple(f"box {at}: {problem}" for at, problem in found.problems.items()))


def open_held(picture: Any, name: str, *, bgr: bool) -> Picture:
    """The pixels of a picture in memory.

    Raises:
        InputError: it is not a picture.
    """
    if isinstance(picture, np.ndarray):
        return picture_of_array(picture, name, bgr=bgr)
    if is_pillow(picture):
        if bgr:
            raise InputError(f"{name} is an image of Pillow, which knows its colours: leave bgr out.")
        return picture_of_image(picture, name)
    advice = "; image.numpy() makes one of a tensor on the CPU" if hasattr(picture, "numpy") else ""
    raise InputError(
        f"{name} is of type {type(picture).__name__}: {WANTED}, a path, or an image of Pillow{advice}."
    )


def is_pillow(picture: object) -> TypeGuard[PilImage.Image]:
    """Whether it is an image of Pillow."""
    from PIL import Image

    return isinstance(picture, Image.Image)


def is_one(given: Any) -> TypeGuard[OnePicture]:
    """Whether it is one picture, or something else that several pictures cannot come from."""
    single = (str, bytes, os.PathLike, np.ndarray, Mapping, set, frozenset, io.IOBase)
    is_single = isinstance(given, single) or hasattr(given, "numpy") or is_pillow(given)
    return is_single or not isinstance(given, Iterable)


def one(picture: OnePicture, boxes: Boxes | None, sides: Sides | None) -> Request:
    """The request for one picture."""
    name = Path(picture).name if isinstance(picture, str | os.PathLike) else "the picture"
    return Request(picture, name, boxes, sides)


def several(pictures: Iterable[Any], boxes: Any, sides: Any) -> Iterator[Request]:
    """The requests for pictures, as they come; boxes and sides are in the same order.

    Raises:
        InputError: not as many boxes or sides as pictures.
    """
    others = [("boxes", _entries("boxes", boxes)), ("sides", _entries("sides", sides))]
    count = 0
    for count, picture in enumerate(pictures, 1):
        told: list[Any] = [next(rest, _MISSING) for _, rest in others]
        for (what, _), value in zip(others, told, strict=True):
            if value is _MISSING:
                raise InputError(f"{what} end after {count - 1} pictures: give one entry for each, or None.")
        request = one(picture, *told)
        is_file = isinstance(picture, str | os.PathLike)
        yield request if is_file else Request(picture, f"picture {count - 1}", *told)
    for what, given in (("boxes", boxes), ("sides", sides)):
        if isinstance(given, Sized) and len(given) > count:  # an iterator may be endless
            raise InputError(f"{what} has more entries than the {count} pictures: give one entry for each.")


def require_as_many(what: str, given: Any, count: int) -> None:
    """Refuse boxes or sides of a list of pictures that are not one entry for each.

    Raises:
        InputError: they are not.
    """
    if given is None:
        return
    if not is_list(given):
        raise InputError(f"{what} is {_shown(given)}: for {count} pictures give a list.")
    if len(given) != count:
        raise InputError(
            f"{what} has {len(given)} entries for {count} pictures: give one entry for each picture, None "
            "for those to search."
        )


def is_list(given: Any) -> TypeGuard[Sequence[Any] | NDArray[Any]]:
    """Whether it is a list, a tuple or an array of at least one dimension; texts and bytes are none."""
    if isinstance(given, np.ndarray):
        return given.ndim > 0
    return isinstance(given, Sequence) and not isinstance(given, str | bytes | bytearray)


def _entries(what: str, given: Any) -> Iterator[Any]:
    """Boxes or sides of pictures from an iterator, in order; endless Nones for None.

    Raises:
        InputError: they have no order, or there is only one.
    """
    if given is None:
        return repeat(None)
    try:
        if isinstance(given, str | bytes | bytearray | Mapping | Set):
            raise TypeError("no entries in an order")
        return iter(given)
    except TypeError as error:  # of a number, or an array without dimensions
        raise InputError(
            f"{what} is {_shown(given)}: give a list with one entry for each picture."
        ) from error


def _shown(given: Any) -> str:
    """What a value is, in a message."""
    size = " without dimensions" if getattr(given, "ndim", None) == 0 else ""
    return f"of type {type(given).__name__}{size}"


def _rows(boxes: Any) -> list[list[float]]:
    """Boxes `[K, 4]` as lists of numbers.

    Raises:
        InputError: they have another form.
    """
    try:
        array = np.asarray(boxes)
        if array.dtype.kind not in "iuf" and array.size:
            raise TypeError("no numbers")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"boxes cannot be read ({error}): expected [[x1, y1, x2, y2], ...] in pixels of the picture."
        ) from error
    if array.shape in ((0,), (0, 4)):
        return []
    if array.ndim != 2 or array.shape[1] != 4:
        advice = ": put a single box into a list, [box]" if array.shape == (4,) else ""
        raise InputError(f"boxes have shape {list(array.shape)}: expected [K, 4], x1, y1, x2, y2{advice}.")
    rows: list[list[float]] = array.tolist()
    return rows


def _sides(sides: Any, count: int) -> list[Any]:
    """Whether each of so many boxes holds a right hand.

    Raises:
        InputError: something else, or not as many.
    """
    if sides is None and count == 0:
        return []
    if sides is None:
        raise InputError(
            f"{count} boxes of hands were given without sides: add sides, 'left' or 'right' for each box."
        )
    if not is_list(sides):
        raise InputError(f"sides is {sides!r}: give a list with 'left' or 'right' for each of {count} boxes.")
    if len(sides) != count:
        raise InputError(f"{len(sides)} sides were given for {count} boxes: give one side for each box.")
    return [_side(side) for side in sides]


def _side(side: Any) -> bool:
    found = _SIDES.get(side.lower()) if isinstance(side, str) else side
    if not isinstance(found, bool | np.bool_):
        raise InputError(f"side {side!r} is not known: use 'left' or 'right', or True for right hands.")
    return bool(found)
