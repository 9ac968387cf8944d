"""Checks before any work: the output folder is not the input folder, and a boxes file names existing
images.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from shared_tmu.demo.options import DemoOptions
from shared_tmu.detect import Detector
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.detect.segmenter import finder
from shared_tmu.errors import InputError
from shared_tmu.pictures.listing import Source

_log = logging.getLogger(__name__)


def inside(folder: Path, outer: Path) -> Path | None:
    """`folder` as a path that begins with `outer`; None if it is not inside."""
    resolved, root = folder.resolve(), outer.resolve()
    return outer / resolved.relative_to(root) if resolved.is_relative_to(root) else None


def require_apart(options: DemoOptions) -> None:
    """Refuse an output folder that is the folder of the images.

    Raises:
        InputError: the two are the same.
    """
    folder = options.img_folder if options.img_folder.is_dir() else options.img_folder.parent
    if options.out_folder.exists() and options.out_folder.resolve() == folder.resolve():
        raise InputError(
            f"--out_folder {options.out_folder} is also the folder of the images, so the next run would "
            "read results as images: choose another folder."
        )


def warn_of_unused_boxes(detector: Detector, sources: Sequence[Source]) -> None:
    """Warn of images that a boxes file names and that do not exist.

    Raises:
        InputError: it does not tell which of several images it means.
    """
    detector = finder(detector)
    if isinstance(detector, BoxesDetector) and (unused := detector.assign([s.name for s in sources])):
        _log.warning("the boxes file has boxes for %s, but there are no such images.", ", ".join(unused[:10]))
