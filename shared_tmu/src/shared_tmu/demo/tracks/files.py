"""What is saved and counted for each track of a clip: a `.csv`, and an entry in the clip's `.json`."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.demo.frames import UNSMOOTHED
from shared_tmu.demo.tracks.jitter import Jitter

Rows = Mapping[str, NDArray[Any]]

PLACE = "_track_"
"""What the names of these files have between those of the clip and of the track."""

_COLUMNS = {
    "frame_index": ("frame_index",),
    "time_s": ("time_s",),
    "is_found": ("is_found",),
    "score": ("score",),
    "box_xyxy_px": ("left_px", "top_px", "right_px", "bottom_px"),
    "translation_m": ("x_m", "y_m", "z_m"),
}


@dataclass
class BothJitters:
    """The jitter of what is saved, and, if that was smoothed, of what was predicted."""

    saved: Jitter = field(default_factory=Jitter)
    predicted: Jitter = field(default_factory=Jitter)

    def add(self, track: int, row: Mapping[str, Any]) -> None:
        """Add a row of a track."""
        at = int(row["frame_index"]), float(row["time_s"])
        self.saved.add(track, *at, row["joints_3d_m"], row["translation_m"])
        if UNSMOOTHED["joints_3d_m"] in row:
            joints, translation = (row[name] for name in UNSMOOTHED.values())
            self.predicted.add(track, *at, joints, translation)

    def told(self) -> list[str]:
        """Of joints and of the camera, for people."""
        before = self.predicted
        pairs = ((self.saved.joints, before.joints), (self.saved.camera, before.camera))
        return [f"{now}, {old} before smoothing" if old.count else str(now) for now, old in pairs]

    def to_dict(self) -> dict[str, Any]:
        """For a `.json`."""
        before = {"before_smoothing": self.predicted.to_dict()} if self.predicted.joints.count else {}
        return self.saved.to_dict() | before


@dataclass
class _Summary:
    """One track, as the `.json` describes it; it has several `sides` only if boxes were given so."""

    first: dict[str, Any]
    frames: int = 0
    found: int = 0
    score: float = 0.0
    sides: set[bool] = field(default_factory=set)
    last: dict[str, Any] = field(default_factory=dict)
    shake: BothJitters = field(default_factory=BothJitters)


class TrackFiles:
    """Writes the rows of each track as they come, in the order of the frames.

    Args:
        folder: where the files are made, `track_3.csv` for track 3.
        saves: whether there are files; otherwise tracks are only counted.
    """

    def __init__(self, folder: Path, *, saves: bool) -> None:
        self.folder, self.saves = folder, saves
        self.shake = BothJitters()
        self._tracks: dict[int, _Summary] = {}

    def append(self, rows: Rows) -> None:
        """Add what was found in a frame, `[k, ...]` each.

        Raises:
            OSError: a file cannot be written.
        """
        for index, track in enumerate(rows.get("track_id", ())):
            row = {name: values[index] for name, values in rows.items()}
            self._count(int(track), row)
            if self.saves:
                self._write(int(track), row)

    def files(self, key: str) -> dict[str, bytes | Path]:
        """The files, by their names in the output folder."""
        if not self.saves:
            return {}
        return {f"{key}{PLACE}{track}.csv": self._path(track) for track in self._tracks}

    def closing_rows(self) -> list[tuple[str, str]]:
        """How much all tracks shake, for the closing table."""
        joints, camera = self.shake.told()
        return [("jitter of joints", joints), ("jitter of the camera", camera)]

    def facts(self) -> list[dict[str, Any]]:
        """The tracks one by one."""
        return [
            {
                "track_id": track,
                **({"is_right": next(iter(one.sides)) if len(one.sides) == 1 else None} if one.sides else {}),
                "first_frame": int(one.first["frame_index"]),
                "last_frame": int(one.last["frame_index"]),
                "first_s": float(one.first["time_s"]),
                "last_s": float(one.last["time_s"]),
                "frames": one.frames,
                "frames_found": one.found,
                "mean_score": one.score / one.frames,
                "jitter": one.shake.to_dict(),
            }
            for track, one in sorted(self._tracks.items())
        ]

    def _count(self, track: int, row: Mapping[str, Any]) -> None:
        kept = {name: row[name] for name in ("frame_index", "time_s")}
        one = self._tracks.setdefault(track, _Summary(kept))
        one.frames, one.found, one.last = one.frames + 1, one.found + bool(row["is_found"]), kept
        one.score += float(row["score"])
        one.sides |= {bool(row["is_right"])} if "is_right" in row else set()
        for shake in (self.shake, one.shake):
            shake.add(track, row)

    def _write(self, track: int, row: Mapping[str, Any]) -> None:
        joints = row["joints_2d_px"]
        is_new = self._tracks[track].frames == 1
        with self._path(track).open("w" if is_new else "a", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            if is_new:
                names = [name for group in _COLUMNS.values() for name in group]
                points = [f"joint{index}_{axis}_px" for index in range(len(joints)) for axis in "xy"]
                table.writerow([*names, *points])
            values = [np.ravel(row[name]) for name in _COLUMNS] + [joints.ravel()]
            table.writerow([_text(value) for part in values for value in part])

    def _path(self, track: int) -> Path:
        return self.folder / f"track_{track}.csv"


def _text(value: Any) -> str:
    """A number as short as it is exact to a thousandth of a pixel or a tenth of a millimetre."""
    return f"{value:.4f}" if isinstance(value, np.floating) else str(int(value))
