"""Finds hands and people with YOLO detectors in ultralytics' format, if their files exist.

ultralytics unpickles such a file, which can execute code from it: use only files that you trust. By default
that package contacts public hosts on import, sends usage statistics, downloads missing files and installs
packages. All of this is switched off here; the user's own settings of the package are neither read nor
changed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.detect.base import Detection, HandBox, PersonBox, valid_boxes
from shared_tmu.errors import CheckpointError, MissingAssetError, MissingDependencyError

FILE_NAME, MIN_SCORE = "detector.pt", 0.3
"""WiLoR's hand detector."""

PEOPLE_FILE_NAME, MIN_PERSON_SCORE, MAX_OVERLAP = "yolov8x.pt", 0.5, 0.5
"""The person detector of the published SMPLest-X demo; overlap is intersection over union."""

PERSON = 0  # class
_QUIET = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}


class YoloDetector:
    """Boxes with left or right from one network: class 1 is a right hand, class 0 a left hand.

    Raises:
        MissingAssetError: the file does not exist.
        MissingDependencyError: ultralytics is not installed.
        CheckpointError: the file has other classes.
    """

    name = "yolo"

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        self._model = load_yolo(weights, f"WiLoR's {FILE_NAME}")
        require_classes(self._model, weights, "two, left and right hands, left first", _are_sides)
        self._device = device

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[HandBox]:
        """Hands of one image `[H, W, 3]` with a score above `MIN_SCORE`, best first; `image_name` is not
        used.
        """
        found = self._model.predict(image_bgr, conf=MIN_SCORE, verbose=False, device=self._device)[0].boxes
        hands = [HandBox(box, kind > 0.5, score) for box, kind, score in _rows(found)]
        return valid_boxes(hands, image_bgr)


class YoloPeople:
    """Boxes of people from a detector trained on COCO, in which people are class 0.

    Raises: as `YoloDetector`.
    """

    name = "yolo"

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        self._model = load_yolo(weights, f"ultralytics' {PEOPLE_FILE_NAME}")
        require_people(self._model, weights)
        self._device = device

    def detect(self, image_bgr: NDArray[np.uint8], image_name: str) -> Detection[PersonBox]:
        """People of one image `[H, W, 3]` with a score above `MIN_PERSON_SCORE`, best first; `image_name` is
        not used.
        """
        found = self._model.predict(
            image_bgr,
            conf=MIN_PERSON_SCORE,
            iou=MAX_OVERLAP,
            classes=[PERSON],
            verbose=False,
            device=self._device,
        )[0].boxes
        people = [PersonBox(box, score) for box, kind, score in _rows(found) if round(kind) == PERSON]
        return valid_boxes(people, image_bgr)


def _are_sides(names: Sequence[str]) -> bool:
    """Two classes, whose names may say nothing (`0`, `1`), but not that a right hand comes first."""
    return len(names) == 2 and "right" not in names[0].lower() and "left" not in names[1].lower()


def load_yolo(weights: Path, what: str) -> Any:
    """The model in a file.

    Args:
        weights: the file.
        what: description of the file, for the message if it does not exist.

    Raises:
        MissingAssetError: the file does not exist.
        MissingDependencyError: ultralytics is not installed.
    """
    if not weights.is_file():
        raise MissingAssetError(
            f"the yolo detector was asked for, but {weights} does not exist: put {what} into that folder, "
            "name another folder with --detector_dir, or use --detector mediapipe, which needs no files."
        )
    try:
        _import_quietly()
        from ultralytics import YOLO
    except ImportError as error:
        raise MissingDependencyError(
            "the yolo detector was asked for, but the package ultralytics is not installed: pip install "
            "ultralytics, or use --detector mediapipe."
        ) from error
    return YOLO(str(weights))


def require_people(model: Any, weights: Path) -> None:
    """Refuse a network whose first class is not people.

    Raises:
        CheckpointError: it is something else.
    """
    require_classes(
        model, weights, "those of COCO, with 'person' first", lambda names: names[:1] == ["person"]
    )


def require_classes(model: Any, weights: Path, wanted: str, fits: Callable[[list[str]], bool]) -> None:
    """Refuse a network that was trained for other classes: their numbers would be misread.

    Args:
        model: what `load_yolo` gave.
        weights: its file.
        wanted: the classes that are needed, for the message.
        fits: tells whether names of classes, in order, are these.

    Raises:
        CheckpointError: they are others.
    """
    names = [str(model.names[number]) for number in range(len(model.names))]
    if not fits(names):
        shown = ", ".join([*names[:3], *(["..."] if len(names) > 3 else [])])
        raise CheckpointError(
            f"the yolo detector reads {weights}, whose classes should be {wanted}, but the file has "
            f"{len(names)} ({shown}): put the right file there, or use another --detector."
        )


def _import_quietly() -> None:
    """Import ultralytics so that it does not contact hosts, send reports, download or install anything.

    It reads its environment once, on import; here it gets the settings of an empty folder, with statistics
    off. If a program has imported it before, the values that were set then are changed.
    """
    os.environ.update(_QUIET)
    if "ultralytics" not in sys.modules:
        with tempfile.TemporaryDirectory(prefix="tmu-yolo-") as folder:
            before = os.environ.get("YOLO_CONFIG_DIR")
            os.environ["YOLO_CONFIG_DIR"] = folder
            try:
                import_module("ultralytics.utils")
            finally:
                del os.environ["YOLO_CONFIG_DIR"]
                if before is not None:
                    os.environ["YOLO_CONFIG_DIR"] = before
    for name, module in list(sys.modules.items()):
        if name.startswith("ultralytics."):
            for flag in ("ONLINE", "AUTOINSTALL"):
                if hasattr(module, flag):
                    setattr(module, flag, False)
            events: Any = getattr(module, "events", None)
            if hasattr(events, "enabled"):
                events.enabled = False


def _rows(found: Any) -> list[tuple[tuple[float, float, float, float], float, float]]:
    """Box, class and score of all detections."""
    boxes = np.asarray(found.xyxy.cpu(), dtype=np.float64).reshape(-1, 4)
    kinds = np.asarray(found.cls.cpu()).reshape(-1)
    scores = np.asarray(found.conf.cpu()).reshape(-1)
    return [
        ((float(x1), float(y1), float(x2), float(y2)), float(kind), float(score))
        for (x1, y1, x2, y2), kind, score in zip(boxes, kinds, scores, strict=True)
    ]
