"""Person detectors behind one interface, like the hand detectors in `shared_tmu.detect`.

| name | needs | finds |
|---|---|---|
| mediapipe | nothing to download | people, one in each view of a pyramid of tiles |
| yolo | `yolov8x.pt`, ultralytics | people, in one network |
| boxes | a JSON file (see `boxes`) | the boxes in the file |
| whole-image | nothing | one person who fills the picture |
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path

from shared_tmu.detect import segmenter, yolo
from shared_tmu.detect.base import Detector
from shared_tmu.errors import InputError, MissingAssetError

PEOPLE_DETECTORS = ("auto", "mediapipe", "yolo", "boxes", "whole-image")

_log = logging.getLogger(__name__)


def choose_people_detector(folder: Path, boxes: Path | None) -> str:
    """The detector that `auto` selects: boxes if a file was given; yolo if its file exists; else mediapipe.

    If the file exists and the package is missing, a warning names the package.
    """
    if boxes is not None:
        return "boxes"
    if not (folder / yolo.PEOPLE_FILE_NAME).is_file():
        return "mediapipe"
    if find_spec("ultralytics") is not None:
        return "yolo"
    _log.warning(
        "%s exists, but the yolo detector also needs ultralytics, which is not installed: using mediapipe.",
        folder / yolo.PEOPLE_FILE_NAME,
    )
    return "mediapipe"


def make_people_detector(
    name: str, folder: Path, boxes: Path | None = None, device: str = "cpu", *, segments: bool = False
) -> Detector:
    """Create a detector of people.

    Args:
        name: one of `PEOPLE_DETECTORS`.
        folder: where yolo's file is.
        boxes: the boxes file; needed by `boxes`, refused by the others.
        device: where yolo runs.
        segments: let a segmentation network in the folder say which pixels are whose, or mediapipe without
            one.

    Raises:
        InputError: an unknown name, a missing or unreadable boxes file, or one that would not be used.
        MissingAssetError: a file that the detector needs is not there.
        MissingDependencyError: a package that the detector needs is not installed.
        CheckpointError: a file of yolo has other classes than people first.
    """
    if name == "auto":
        name = choose_people_detector(folder, boxes)
    if segments and (network := folder / segmenter.FILE_NAME).is_file():
        found = make_people_detector(name, folder, boxes, device)
        return segmenter.Segmented(found, segmenter.YoloSegmenter(network, device))
    if segments and name != "mediapipe":
        raise MissingAssetError(
            f"--mask segmentation was asked for, and --detector {name} segments nobody: put ultralytics' "
            f"{segmenter.FILE_NAME} into {folder}, or use --detector mediapipe, which segments people itself."
        )
    if name == "boxes":
        from shared_tmu.detect.boxes import BoxesDetector

        if boxes is None:
            raise InputError("--detector boxes needs a boxes file: add --boxes FILE.json.")
        return BoxesDetector.from_file(boxes, of_people=True)
    if boxes is not None:
        raise InputError(f"--boxes {boxes} is not used by --detector {name}: leave one of the two out.")
    if name == "mediapipe":
        from shared_tmu.detect.mediapipe_people import MediaPipePeople

        return MediaPipePeople(segments)
    if name == "yolo":
        return yolo.YoloPeople(folder / yolo.PEOPLE_FILE_NAME, device)
    if name == "whole-image":
        from shared_tmu.detect.whole_image import WholeImageDetector

        return WholeImageDetector(of_people=True)
    raise InputError(f"unknown person detector {name!r}: use one of {', '.join(PEOPLE_DETECTORS)}.")
