"""Compares the hands that MediaPipe finds with those that the same models find in LiteRT.

    python scripts/measure_litert.py --photos DIR      # our samples, and any photographs of hands

Writes `assets/litert.json`: for each set how many hands both found, and how far their boxes and landmarks lie
apart, in pixels and relative to the box's longer side. File names of photographs are not written.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from bundled import REPOSITORY

from shared_tmu.detect import Detector, HandBox, make_detector
from shared_tmu.detect.base import shared_part
from shared_tmu.files import replacing
from shared_tmu.pictures.images import read_image
from shared_tmu.pictures.listing import list_images
from shared_tmu.programs.console import run_program

PATTERNS = ("*.jpg", "*.jpeg", "*.png")
SAME = 0.5
"""Boxes of one hand share at least this part of their union."""


@dataclass(frozen=True)
class Pair:
    """One hand, found by both.

    Attributes:
        box_px, landmarks_px: largest difference of a coordinate.
        size_px: longer side of MediaPipe's box.
        same_side: whether both say left, or both right.
        score: difference of the scores.
    """

    box_px: float
    landmarks_px: float
    size_px: float
    same_side: bool
    score: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, metavar="DIR", help="photographs of hands")
    parser.add_argument("--detector_dir", type=Path, default=REPOSITORY / "data" / "detectors")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "assets" / "litert.json")
    given = parser.parse_args(arguments)
    return run_program(lambda: measure(given.photos, given.detector_dir, given.out))


def measure(photos: Path | None, detector_dir: Path, out: Path) -> None:
    """Compare on all sets, and write the file.

    Raises:
        TMUError: a detector cannot be made, or a folder has no pictures.
    """
    folders = {"samples": REPOSITORY / "assets" / "samples"}
    if photos is not None:
        folders["photos"] = photos
    detectors = make_detector("mediapipe", detector_dir), make_detector("litert", detector_dir)
    packages = ("mediapipe", "ai-edge-litert", "numpy", "opencv-contrib-python")
    sets: dict[str, Any] = {}
    for name, folder in folders.items():
        pictures = [source.path for source in list_images(folder, PATTERNS)]
        sets[name] = compared(detectors, pictures)
    found = {"versions": {name: version(name) for name in packages}, "sets": sets}
    with replacing(out) as beside:
        beside.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(sets, indent=1) + "\n")


def compared(detectors: tuple[Detector, Detector], pictures: Sequence[Path]) -> dict[str, Any]:
    """What both find in pictures."""
    counts, pairs = [0, 0], []
    for path in pictures:
        image = read_image(path).bgr
        hands, others = (detector.detect(image, path.name).boxes for detector in detectors)
        counts = [counts[0] + len(hands), counts[1] + len(others)]
        pairs += matched(hands, others)
    return {"pictures": len(pictures), "mediapipe": counts[0], "litert": counts[1], **summary(pairs)}


def matched(hands: Sequence[HandBox], others: Sequence[HandBox]) -> list[Pair]:
    """Each hand with the other's at its place."""
    pairs, left = [], list(others)
    for hand in hands:
        best = max(left, key=lambda one: shared_part(one.box_xyxy, hand.box_xyxy), default=None)
        if best is None or shared_part(best.box_xyxy, hand.box_xyxy) < SAME:
            continue
        left.remove(best)
        x1, y1, x2, y2 = hand.box_xyxy
        assert hand.landmarks_px is not None
        assert best.landmarks_px is not None
        pairs.append(
            Pair(
                box_px=float(np.abs(np.subtract(hand.box_xyxy, best.box_xyxy)).max()),
                landmarks_px=float(np.abs(hand.landmarks_px - best.landmarks_px).max()),
                size_px=max(x2 - x1, y2 - y1),
                same_side=hand.is_right == best.is_right,
                score=abs(hand.score - best.score),
            )
        )
    return pairs


def summary(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Numbers over hands that both found."""
    if not pairs:
        return {"both": 0}
    rows = {
        "box_px": [pair.box_px for pair in pairs],
        "box_pct_of_size": [100 * pair.box_px / pair.size_px for pair in pairs],
        "landmarks_px": [pair.landmarks_px for pair in pairs],
        "score": [pair.score for pair in pairs],
    }
    numbers = {
        name: {"median": round(float(np.median(values)), 4), "largest": round(float(max(values)), 4)}
        for name, values in rows.items()
    }
    return {"both": len(pairs), "same_side": sum(pair.same_side for pair in pairs), **numbers}


if __name__ == "__main__":
    sys.exit(main())
