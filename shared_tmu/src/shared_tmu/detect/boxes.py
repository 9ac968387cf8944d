"""Boxes of hands or people that the user supplies.

The file is JSON, one entry for each image; names are paths under the image folder::

    {
      "street.jpg": [
        {"box_xyxy": [412, 230, 520, 361], "is_right": true},
        {"box_xyxy": [100, 200, 180, 300], "is_right": false, "score": 0.8}
      ],
      "nobody.jpg": []
    }

`box_xyxy` is the tight box in pixels of the upright image: left, top, right, bottom. `is_right` says whether
a hand is the person's right one (people have none); `score` (0 to 1) may be left out. Images that are not
named have no hands or people. Frame 12 of a video is `clip.mp4:12`; boxes under `clip.mp4` are those of all
frames that are not named themselves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import Detection, HandBox, PersonBox, check_box
from shared_tmu.errors import InputError

HAND_FORMAT = '{"photo.jpg": [{"box_xyxy": [x1, y1, x2, y2], "is_right": true}]}'
PERSON_FORMAT = '{"photo.jpg": [{"box_xyxy": [x1, y1, x2, y2]}]}'


class BoxesDetector:
    """Looks each image up in a boxes file."""

    name = "boxes"

    def __init__(self, entries: Mapping[str, list[Any]], of_people: bool = False) -> None:
        self.entries, self.of_people = entries, of_people

    @classmethod
    def from_file(cls, path: Path, of_people: bool = False) -> BoxesDetector:
        """Read a boxes file, of hands or of people.

        Raises:
            InputError: the file is missing, is not JSON, or is not a table of lists.
        """
        expected = PERSON_FORMAT if of_people else HAND_FORMAT
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin with a mark
        except OSError as error:
            raise InputError(f"cannot read the boxes file {path}: {error.strerror or error}.") from error
        except ValueError as error:
            raise InputError(f"the boxes file {path} is not JSON ({error}); expected {expected}.") from error
        if not isinstance(content, dict) or not all(isinstance(value, list) for value in content.values()):
            raise InputError(
                f"the boxes file {path} must map image names to lists of boxes: expected {expected}."
            )
        return cls(content, of_people)

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[Any]:
        """The boxes listed under `image_name` (or under its last part), each checked against the image."""
        name = self._entry_name(image_name)
        boxes: list[HandBox | PersonBox] = []
        problems: list[str] = []
        height, width = image_bgr.shape[:2]
        for index, entry in enumerate(self.entries.get(name, [])):
            try:
                boxes.append((_parse_person if self.of_people else _parse_hand)(entry, width, height))
            except InputError as error:
                problems.append(f"box {index} of the boxes file: {error}")
        return Detection(tuple(boxes), tuple(problems))

    def unused(self, image_names: Iterable[str]) -> list[str]:
        """Names in the file that belong to none of the images."""
        used = {self._entry_name(name) for name in image_names}
        return [name for name in self.entries if name not in used]

    def _entry_name(self, image_name: str) -> str:
        names = [image_name, Path(image_name).name]
        clip, _, frame = image_name.rpartition(":")
        if frame.isdecimal():  # frame 12 of clip.mp4 is clip.mp4:12
            names.append(clip)
        return next((name for name in names if name in self.entries), names[1])


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
    if not isinstance(entry, dict) or not all(key in entry for key in keys):
        wanted = " and ".join(repr(key) for key in keys)
        raise InputError(f"found {json.dumps(entry)[:80]}, expected an object with {wanted}.")


def _box(entry: dict[str, Any], width: int, height: int) -> tuple[float, float, float, float]:
    box = entry["box_xyxy"]
    if not isinstance(box, list) or not all(_is_number(value) for value in box):
        raise InputError(
            f"'box_xyxy' is {json.dumps(box)[:80]}, expected four numbers x1, y1, x2, y2 in pixels."
        )
    return check_box(box, width, height)


def _score(entry: dict[str, Any]) -> float:
    score = entry.get("score", 1.0)
    if not _is_number(score) or not 0 <= score <= 1:
        raise InputError(f"'score' is {json.dumps(score)[:80]}, expected a number from 0 to 1.")
    return float(score)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
