"""Hand boxes that the user supplies.

The file is JSON, one entry for each image; names are paths under the image folder::

    {
      "street.jpg": [
        {"box_xyxy": [412, 230, 520, 361], "is_right": true},
        {"box_xyxy": [100, 200, 180, 300], "is_right": false, "score": 0.8}
      ],
      "nobody.jpg": []
    }

`box_xyxy` is the tight box of the hand in pixels of the upright image: left, top, right, bottom. `is_right`
says whether it is the person's right hand; `score` (0 to 1) may be left out. Images that are not named have
no hands.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import Detection, HandBox, check_box
from shared_tmu.errors import InputError

_FORMAT = '{"photo.jpg": [{"box_xyxy": [x1, y1, x2, y2], "is_right": true}]}'


class BoxesDetector:
    """Looks each image up in a boxes file."""

    name = "boxes"

    def __init__(self, entries: Mapping[str, list[Any]]) -> None:
        self.entries = entries

    @classmethod
    def from_file(cls, path: Path) -> BoxesDetector:
        """Read a boxes file.

        Raises:
            InputError: the file is missing, is not JSON, or is not a table of lists.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read the boxes file {path}: {error.strerror or error}.") from error
        except ValueError as error:
            raise InputError(f"the boxes file {path} is not JSON ({error}); expected {_FORMAT}.") from error
        if not isinstance(content, dict) or not all(isinstance(value, list) for value in content.values()):
            raise InputError(
                f"the boxes file {path} must map image names to lists of boxes: expected {_FORMAT}."
            )
        return cls(content)

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[HandBox]:
        """The boxes listed under `image_name` (or under its last part), each checked against the image."""
        name = self._entry_name(image_name)
        hands: list[HandBox] = []
        problems: list[str] = []
        height, width = image_bgr.shape[:2]
        for index, entry in enumerate(self.entries.get(name, [])):
            try:
                hands.append(_parse_entry(entry, width, height))
            except InputError as error:
                problems.append(f"box {index} of the boxes file: {error}")
        return Detection(tuple(hands), tuple(problems))

    def unused(self, image_names: Iterable[str]) -> list[str]:
        """Names in the file that belong to none of the images."""
        used = {self._entry_name(name) for name in image_names}
        return [name for name in self.entries if name not in used]

    def _entry_name(self, image_name: str) -> str:
        return image_name if image_name in self.entries else Path(image_name).name


def _parse_entry(entry: Any, width: int, height: int) -> HandBox:
    if not isinstance(entry, dict) or "box_xyxy" not in entry or "is_right" not in entry:
        raise InputError(
            f"found {json.dumps(entry)[:80]}, expected an object with 'box_xyxy' and 'is_right'."
        )
    box, is_right, score = entry["box_xyxy"], entry["is_right"], entry.get("score", 1.0)
    if not isinstance(box, list) or not all(_is_number(value) for value in box):
        raise InputError(
            f"'box_xyxy' is {json.dumps(box)[:80]}, expected four numbers x1, y1, x2, y2 in pixels."
        )
    if is_right not in (True, False, 0, 1):
        raise InputError(f"'is_right' is {json.dumps(is_right)[:80]}, expected true or false.")
    if not _is_number(score) or not 0 <= score <= 1:
        raise InputError(f"'score' is {json.dumps(score)[:80]}, expected a number from 0 to 1.")
    return HandBox(check_box(box, width, height), bool(is_right), float(score))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
