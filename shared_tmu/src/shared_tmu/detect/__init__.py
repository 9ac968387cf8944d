"""Hand detectors behind one interface; each imports its packages only when it is created.

| name | needs | finds |
|---|---|---|
| mediapipe | nothing to download | hands of any size, over a pyramid of tiles |
| litert | MediaPipe's two model files, ai-edge-litert | the same, with any Python and NumPy |
| yolo | `detector.pt`, ultralytics | hands, in one network |
| vitdet | three files, detectron2, mmpose | people, then their hands, as in HaMeR's published demo |
| boxes | a JSON file (see `boxes`) | the boxes in the file |
| whole-image | nothing | one right hand that fills the picture |
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path

from shared_tmu.detect.base import Detection, Detector, HandBox, PersonBox
from shared_tmu.errors import InputError

__all__ = [
    "BODY_DETECTORS",
    "DETECTORS",
    "Detection",
    "Detector",
    "HandBox",
    "PersonBox",
    "choose_detector",
    "make_detector",
]

DETECTORS = ("auto", "mediapipe", "litert", "yolo", "vitdet", "boxes", "whole-image")
BODY_DETECTORS = ("vitdet", "regnety")

_log = logging.getLogger(__name__)


def choose_detector(folder: Path, boxes: Path | None, body_detector: str = "vitdet") -> str:
    """The detector that `auto` selects: boxes if a file was given; yolo or vitdet if their files exist; else
    mediapipe, or litert if MediaPipe is missing and LiteRT and its files are there.

    If the files exist and a package is missing, a warning names the package.
    """
    from shared_tmu.detect import vitdet, yolo
    from shared_tmu.detect.litert_files import find_files, has_mediapipe

    if boxes is not None:
        return "boxes"
    candidates = (
        ("yolo", (folder / yolo.FILE_NAME,), ("ultralytics",)),
        ("vitdet", vitdet.required_files(folder, body_detector), ("detectron2", "mmpose")),
    )
    for name, files, packages in candidates:
        if not all(path.is_file() for path in files):
            continue
        missing = [package for package in packages if find_spec(package) is None]
        if not missing:
            return name
        _log.warning(
            "%s exists, but the %s detector also needs %s, which is not installed: using mediapipe.",
            files[0],
            name,
            " and ".join(missing),
        )
    if not has_mediapipe() and find_spec("ai_edge_litert") is not None and find_files(folder) is not None:
        return "litert"
    return "mediapipe"


def make_detector(
    name: str, folder: Path, boxes: Path | None = None, body_detector: str = "vitdet", device: str = "cpu"
) -> Detector:
    """Create a detector.

    Args:
        name: one of `DETECTORS`.
        folder: folder of the files of litert, yolo and vitdet.
        boxes: the boxes file; needed by `boxes`, refused by the others.
        body_detector: network that finds people for `vitdet`, one of `BODY_DETECTORS`.
        device: device of yolo and vitdet.

    Raises:
        InputError: the name is unknown, or the boxes file is missing, unreadable or would not be used.
        MissingAssetError: a file that the detector needs does not exist.
        MissingDependencyError: a package that the detector needs is not installed.
        CheckpointError: yolo's file has other classes than the hands.
    """
    if name == "auto":
        name = choose_detector(folder, boxes, body_detector)
    if name == "boxes":
        from shared_tmu.detect.boxes import BoxesDetector

        if boxes is None:
            raise InputError("--detector boxes needs a boxes file: add --boxes FILE.json.")
        return BoxesDetector.from_file(boxes)
    if boxes is not None:
        raise InputError(f"--boxes {boxes} is not used by --detector {name}: leave one of the two out.")
    if name == "mediapipe":
        from shared_tmu.detect.mediapipe_hands import MediaPipeDetector

        return MediaPipeDetector()
    if name == "litert":
        from shared_tmu.detect.mediapipe_hands import LiteRTDetector

        return LiteRTDetector(folder)
    if name == "yolo":
        from shared_tmu.detect import yolo

        return yolo.YoloDetector(folder / yolo.FILE_NAME, device)
    if name == "vitdet":
        from shared_tmu.detect.vitdet import VitDetDetector

        return VitDetDetector(folder, body_detector, device)
    if name == "whole-image":
        from shared_tmu.detect.whole_image import WholeImageDetector

        return WholeImageDetector()
    raise InputError(f"unknown detector {name!r}: use one of {', '.join(DETECTORS)}.")
