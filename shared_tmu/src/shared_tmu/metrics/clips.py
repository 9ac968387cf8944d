"""Errors of joints in clips: of every frame, and of how joints move from frame to frame.

Joints are relative to the wrist, as in published evaluations of video. The acceleration of a joint is its
second difference over three frames that follow each other in one clip; a frame at the end of a clip has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.metrics.alignments import align_root, align_similarity
from shared_tmu.metrics.distances import MM_PER_M, point_distances
from shared_tmu.metrics.hand_table import checked_pair

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class ClipScores:
    """Scores of a set of clips.

    Args:
        per_sample: millimetres by name, `[N]`; NaN for frames without a value.
        true_jitter_mm: mean acceleration of the true joints, millimetres per frame squared.
        fps: frames per second.
    """

    per_sample: dict[str, Rows]
    true_jitter_mm: float
    fps: float

    @property
    def headline(self) -> dict[str, float]:
        """Means over the frames that have a value, and the acceleration error in m/s^2."""
        found = {name: _mean(rows) for name, rows in self.per_sample.items()}
        metres = found["accel_error_mm"] * self.fps**2 / MM_PER_M
        return {**found, "accel_error_m_per_s2": metres, "true_jitter_mm": self.true_jitter_mm}

    def official(self) -> dict[str, float]:
        """See `datasets.Scores`; there is no official file, so these are the same numbers."""
        return self.headline

    def as_dict(self) -> dict[str, Any]:
        """All numbers; None for those that are undefined."""
        values = {name: None if np.isnan(v) else float(v) for name, v in self.headline.items()}
        return {**values, "fps": self.fps, "n": len(next(iter(self.per_sample.values())))}

    def scores_txt(self) -> str:
        """One `name: value` per line."""
        return "".join(f"{name}: {value:f}\n" for name, value in self.headline.items())


def score_clips(pred_xyz: ArrayLike, gt_xyz: ArrayLike, clip_of: ArrayLike, fps: float) -> ClipScores:
    """Score joints of clips.

    Args:
        pred_xyz: `[N, J, 3]` metres, the wrist first; the frames of a clip in order, clips in turn.
        gt_xyz: `[N, J, 3]`.
        clip_of: the clip of every frame, `[N]`.
        fps: frames per second.

    Returns:
        `mpjpe_mm` relative to the wrist; `pa_mpjpe_mm` after a similarity without reflection;
        `accel_error_mm`, the distance between predicted and true accelerations, and `jitter_mm`, the size of
        predicted ones, both in millimetres per frame squared.

    Raises:
        InputError: shapes differ, there is no sample, or a number is not finite.
    """
    predicted, true = checked_pair("joints", pred_xyz, gt_xyz)
    moved, still = align_root(predicted, true), true
    clips = np.asarray(clip_of)
    root, true_root = predicted - predicted[:, :1], true - true[:, :1]
    fast, true_fast = accelerations(root, clips), accelerations(true_root, clips)
    per_sample = {
        "mpjpe_mm": point_distances(moved, still).mean(1) * MM_PER_M,
        "pa_mpjpe_mm": point_distances(align_similarity(predicted, true, reflection=False), true).mean(1)
        * MM_PER_M,
        "accel_error_mm": np.linalg.norm(fast - true_fast, axis=-1).mean(1) * MM_PER_M,
        "jitter_mm": np.linalg.norm(fast, axis=-1).mean(1) * MM_PER_M,
    }
    true_jitter = np.linalg.norm(true_fast, axis=-1).mean(1) * MM_PER_M
    return ClipScores(per_sample, _mean(true_jitter), fps)


def accelerations(points: Rows, clip_of: NDArray[Any]) -> Rows:
    """Second differences of points `[N, P, 3]` over frames, NaN at both ends of every clip `[N]`."""
    found = np.full(points.shape, np.nan)
    if len(points) > 2:
        inner = (clip_of[2:] == clip_of[1:-1]) & (clip_of[1:-1] == clip_of[:-2])
        second = points[2:] - 2.0 * points[1:-1] + points[:-2]
        found[1:-1][inner] = second[inner]
    return found


def _mean(rows: Rows) -> float:
    known = rows[np.isfinite(rows)]
    return float(known.mean()) if len(known) else float("nan")
