"""What the demo's detector finds in a picture of an evaluation set, for masks like those of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from shared_tmu.detect.base import shared_part
from shared_tmu.pictures.images import read_image


def find_subject(picture: Path, box_xyxy: Sequence[float], subject: str, *, upright: bool = True) -> Any:
    """The `HandBox` or `PersonBox` that the detector finds at a box, with people segmented; None if it finds
    none.

    Args:
        picture: file with any number of subjects.
        box_xyxy: box of the subject; the detection that overlaps it most is returned.
        subject: `"hand"` or `"body"`.
        upright: whether the set turns pictures as their EXIF says, so that boxes are in the turned one.

    Raises:
        InputError: the picture cannot be read.
        MissingDependencyError: MediaPipe is not installed.
    """
    found = _find(picture, subject, upright)
    best = max(found, key=lambda box: shared_part(box.box_xyxy, box_xyxy), default=None)
    if best is None or shared_part(best.box_xyxy, box_xyxy) <= 0.0:
        return None
    return best


@lru_cache(maxsize=128)
def _find(picture: Path, subject: str, upright: bool) -> tuple[Any, ...]:
    return tuple(_detector(subject).detect(read_image(picture, upright=upright).bgr, picture.name).boxes)


@lru_cache(maxsize=2)
def _detector(subject: str) -> Any:
    """One per process, created on first use."""
    if subject == "body":
        from shared_tmu.detect.mediapipe_people import MediaPipePeople

        return MediaPipePeople(segments=True)
    from shared_tmu.detect.mediapipe_hands import MediaPipeDetector

    return MediaPipeDetector()
