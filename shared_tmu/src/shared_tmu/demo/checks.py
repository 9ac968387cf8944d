"""Checks before any work: the output folder is not the input folder, and a boxes file names existing
images.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from shared_tmu.demo.options import FILE_TYPES, DemoOptions
from shared_tmu.detect import Detector
from shared_tmu.detect.boxes import BoxesDetector
from shared_tmu.detect.segmenter import finder
from shared_tmu.errors import InputError
from shared_tmu.pictures.kinds import SUFFIXES
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


def tell_of_other_pictures(options: DemoOptions, sources: Sequence[Source]) -> None:
    """Say which pictures of the folder the default patterns leave out."""
    folder = options.img_folder
    if options.file_type != FILE_TYPES or not folder.is_dir():
        return
    known = {source.path for source in sources}
    others = [path for path in folder.iterdir() if path not in known and path.name[0] != "."]
    found = Counter(path.suffix.lower() for path in others if path.suffix.lower() in SUFFIXES)
    if found:
        told = ", ".join(f"{number} {suffix}" for suffix, number in found.most_common())
        _log.info(
            "%d other pictures in %s are not read (%s): --file_type chooses.", found.total(), folder, told
        )


def warn_of_unused_boxes(detector: Detector, sources: Sequence[Source]) -> None:
    """Warn of images that a boxes file names and that do not exist.

    Raises:
        InputError: it does not tell which of several images it means.
    """
    detector = finder(detector)
    if isinstance(detector, BoxesDetector) and (unused := detector.assign([s.name for s in sources])):
        _log.warning("the boxes file has boxes for %s, but there are no such images.", ", ".join(unused[:10]))
