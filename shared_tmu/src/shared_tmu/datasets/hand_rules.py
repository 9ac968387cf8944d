"""What FreiHAND and HO3D do differently with the same predictions: joint order, frame, table, file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared_tmu.datasets.base import Column
from shared_tmu.metrics import HandScores, score_freihand, score_ho3d

Points = NDArray[np.float64]
OPENPOSE_TO_MANO = (0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20)
"""Row k of MANO's order is this row of OpenPose's."""

TIP_ROWS = (4, 8, 12, 16, 20)  # of the OpenPose order: thumb, index, middle, ring, pinky
TIP_VERTICES = {"freihand": (744, 320, 443, 555, 672), "ho3d": (744, 333, 444, 555, 672)}
"""Which vertices data sets take for fingertips."""
TIPS = ("model", *TIP_VERTICES)


@dataclass(frozen=True)
class HandRules:
    """The conventions of one benchmark.

    Args:
        score: its table of predicted joints and vertices, then true ones, in its own order and frame.
        order: row k of its joints is this row of the OpenPose order.
        signs: its camera axes over ours (x right, y down, z forward).
        file_name: file name of a submission.
        columns: what papers print.
    """

    score: Callable[[Points, Points, Points, Points], HandScores]
    order: tuple[int, ...]
    signs: tuple[float, float, float]
    file_name: str
    columns: tuple[Column, ...]

    def official(self, xyz: Points, verts: Points) -> tuple[Points, Points]:
        """Joints `[N, 21, 3]` and vertices `[N, 778, 3]` of our order and frame in the benchmark's."""
        return xyz[:, list(self.order)] * self.signs, verts * self.signs

    def common(self, xyz: Points, verts: Points) -> tuple[Points, Points]:
        """The inverse of `official`."""
        return xyz[:, np.argsort(self.order)] * self.signs, verts * self.signs


_ERRORS = (("PA-MPVPE mm", "pa_mpvpe_mm", ".3f"), ("PA-MPJPE mm", "pa_mpjpe_mm", ".3f"))
_SHARES = (("F@5", "f5", ".3f"), ("F@15", "f15", ".3f"))

FREIHAND = HandRules(
    score=score_freihand,
    order=tuple(range(21)),
    signs=(1.0, 1.0, 1.0),
    file_name="pred.json",
    columns=(*_ERRORS, *_SHARES, ("AUC", "pa_mpvpe_auc", ".3f")),
)
HO3D = HandRules(
    score=score_ho3d,
    order=OPENPOSE_TO_MANO,
    signs=(1.0, -1.0, -1.0),
    file_name="pred.zip",
    columns=(
        *_ERRORS,
        *_SHARES,
        ("AUC_J", "pa_mpjpe_auc", ".3f"),
        ("AUC_V", "pa_mpvpe_auc", ".3f"),
        ("root MPJPE mm", "mpjpe_mm", ".2f"),
        ("scale-trans. MPJPE mm", "scale_trans_mpjpe_mm", ".2f"),
    ),
)
"""Predictions are placed at the root that the set gives, so that unaligned errors are root-aligned ones."""
