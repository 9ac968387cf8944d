"""Boxes of hands or people that the user supplies.

The file is JSON with one entry for each image; names are paths inside the image folder::

    {
      "street.jpg": [
        {"box_xyxy": [412, 230, 520, 361], "is_right": true},
        {"box_xyxy": [100, 200, 180, 300], "is_right": false, "score": 0.8}
      ],
      "nobody.jpg": []
    }

`box_xyxy` is the tight box in pixels of the upright image: left, top, right, bottom. `is_right` says whether
a hand is the person's right hand (boxes of people do not have it); `score` (0 to 1) is optional. Images that
are not named have no hands or people; a file name alone is enough if no other image has it. Frame 12 of a
video is `clip.mp4:12`; boxes under `clip.mp4` are used for all frames that are not named themselves.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import Detection, HandBox, PersonBox, check_box
from shared_tmu.detect.boxes_file import read_boxes_file
from shared_tmu.errors import InputError

HAND_FORMAT = '{"photo.jpg": [{"box_xyxy": [x1, y1, x2, y2], "is_right": true}]}'
PERSON_FORMAT = '{"photo.jpg": [{"box_xyxy": [x1, y1, x2, y2]}]}'

_SMALLEST_PX = 2.0
_NORMALISED = 1.5
"""Largest number that is read as a fraction of the image's side: boxes may extend slightly beyond the
border.
"""

_PERCENT = 100
_LARGEST = sys.float_info.max
_log = logging.getLogger(__name__)


class BoxesDetector:
    """Looks each image up in a boxes file."""

    name = "boxes"

    def __init__(self, entries: Mapping[str, list[Any]], of_people: bool = False) -> None:
        self.entries, self.of_people = _by_frame(entries), of_people
        self._images: frozenset[str] = frozenset()
        boxes = [entry.get("box_xyxy") for those in entries.values() for entry in those if _is_object(entry)]
        numbers = [value for box in boxes if isinstance(box, list) for value in box]
        self._may_be_percent = bool(numbers) and all(
            _is_number(value) and 0 <= value <= _PERCENT for value in numbers
        )

    @classmethod
    def from_file(cls, path: Path, of_people: bool = False) -> BoxesDetector:
        """Read a boxes file with hands or people.

        Raises:
            InputError: see `read_boxes_file`.
        """
        return cls(read_boxes_file(path, PERSON_FORMAT if of_people else HAND_FORMAT), of_people)

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[Any]:
        """The boxes listed under `image_name` (or under its file name alone, if that is no other image), each
        checked against the image.
        """
        name, (height, width) = self._entry_name(image_name), image_bgr.shape[:2]
        self._warn_of_percent(width, height)
        found = read_entries(self.entries.get(name, []), (width, height), of_people=self.of_people)
        problems = (f"box {index} of the boxes file: {problem}" for index, problem in found.problems.items())
        return Detection(found.boxes, tuple(problems))

    def assign(self, image_names: Iterable[str]) -> list[str]:
        """Learn which images there are, so that an entry is only used for the image that it names.

        Returns:
            Names in the file that do not belong to any image.

        Raises:
            InputError: a file name alone, which several images have.
        """
        self._images = frozenset(image_names)
        users: dict[str, list[str]] = {}
        for name in sorted(self._images):
            users.setdefault(self._entry_name(name), []).append(name)
        for entry in self.entries:
            if len(same := users.get(entry, [])) > 1:
                told = " or ".join(map(repr, same[:3]))
                raise InputError(
                    f"the boxes file has boxes for {entry!r}, which may be {told}: name each image by its "
                    "path inside the image folder."
                )
        return [name for name in self.entries if name not in users]

    def frames_named(self, clip: str) -> list[int]:
        """The frames of a clip that the file names one by one."""
        parts = (entry.rpartition(":") for entry in self.entries)
        return [int(frame) for name, _, frame in parts if name == clip and frame.isdecimal()]

    def _warn_of_percent(self, width: int, height: int) -> None:
        """Warn once if all numbers are at most 100 in a larger image: they may be meant as per cent."""
        if self._may_be_percent and min(width, height) > 2 * _PERCENT:
            self._may_be_percent = False
            _log.warning(
                "all numbers in the boxes file are from 0 to 100 and are read as pixels. If they are per "
                "cent, multiply x by %g and y by %g (for %d x %d pixels).",
                width / _PERCENT, height / _PERCENT, width, height,
            )  # fmt: skip

    def _entry_name(self, image_name: str) -> str:
        bare = Path(image_name).name
        names = [image_name, *([] if bare in self._images else [bare])]
        clip, _, frame = image_name.rpartition(":")
        if frame.isdecimal():  # frame 12 of clip.mp4 is clip.mp4:12
            names.append(clip)
        return next((name for name in names if name in self.entries), image_name)


def _by_frame(entries: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """The entries, with numbers of frames as they are asked for: `clip.mp4:007` is frame 7.

    Raises:
        InputError: two entries are for the same frame.
    """
    found: dict[str, list[Any]] = {}
    for name, boxes in entries.items():
        clip, colon, frame = name.rpartition(":")
        plain = f"{clip}:{int(frame)}" if colon and frame.isdecimal() else name
        if plain in found:
            raise InputError(f"the boxes file names {plain!r} twice, once as {name!r}: keep one of the two.")
        found[plain] = boxes
    return found


@dataclass(frozen=True)
class ReadBoxes:
    """The boxes of one image as a user gave them.

    Attributes:
        boxes: those that can be used.
        problems: by number, why the others cannot.
    """

    boxes: tuple[HandBox | PersonBox, ...]
    problems: Mapping[int, str]


def read_entries(entries: Sequence[Any], size_px: tuple[int, int], *, of_people: bool) -> ReadBoxes:
    """Check the entries of one image of this width and height, each as in the file."""
    boxes: list[HandBox | PersonBox] = []
    problems: dict[int, str] = {}
    for index, entry in enumerate(entries):
        try:
            boxes.append((_parse_person if of_people else _parse_hand)(entry, *size_px))
        except InputError as error:
            problems[index] = str(error)
    return ReadBoxes(tuple(boxes), problems)


def _parse_hand(entry: Any, width: int, height: int) -> HandBox:
    _expect_keys(entry, "box_xyxy", "is_right")
    is_right = entry["is_right"]
    if is_right not in (True, False, 0, 1):
        raise InputError(f"'is_right' is {json.dumps(is_right)[:80]}, expected true or false.")
    return HandBox(_box(entry, width, height), bool(is_right), _score(entry))


def _parse_person(entry: Any, width: int, height: int) -> PersonBox:
    _expect_keys(entry, "box_xyxy")
    return PersonBox(_box(entry, width, height), _score(entry))


def _expect_keys(entry: Any, *keys: str) -> None:
    if not _is_object(entry) or not all(key in entry for key in keys):
        wanted = " and ".join(repr(key) for key in keys)
        raise InputError(f"found {json.dumps(entry)[:80]}, expected an object with {wanted}.")


def _box(entry: dict[str, Any], width: int, height: int) -> tuple[float, float, float, float]:
    box = entry["box_xyxy"]
    if not isinstance(box, list) or not all(_is_number(value) for value in box):
        raise InputError(
            f"'box_xyxy' is {json.dumps(box)[:80]}, expected four numbers x1, y1, x2, y2 in pixels."
        )
    if len(box) == 4 and 0 < max(map(abs, box)) <= _NORMALISED:
        raise InputError(
            f"box {json.dumps(box)} is not in pixels: numbers from 0 to 1 look like fractions of the image's "
            f"width and height; multiply x1 and x2 by {width}, y1 and y2 by {height}."
        )
    x1, y1, x2, y2 = check_box(box, width, height)
    if min(x2 - x1, y2 - y1) < _SMALLEST_PX:
        raise InputError(
            f"box {json.dumps(box)} is {x2 - x1:g} x {y2 - y1:g} pixels, less than {_SMALLEST_PX}: boxes are "
            f"x1, y1, x2, y2 in pixels of the upright image, here {width} x {height}."
        )
    return x1, y1, x2, y2


def _score(entry: dict[str, Any]) -> float:
    score = entry.get("score", 1.0)
    if not _is_number(score) or not 0 <= score <= 1:
        raise InputError(f"'score' is {json.dumps(score)[:80]}, expected a number from 0 to 1.")
    return float(score)


def _is_object(entry: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(entry, dict)


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether a number is not NaN and fits into a float (a whole number in JSON may have thousands of
    digits).
    """
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
