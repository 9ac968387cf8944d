"""The score table that the FreiHAND and HO3D evaluations share: families of errors, PCK, F-scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.errors import InputError
from shared_tmu.metrics.distances import MM_PER_M, mean_error_mm, mean_of_median_error_mm, point_distances
from shared_tmu.metrics.fscore import FScores, f_scores
from shared_tmu.metrics.pck import area_under_pck, pck_curve

THRESHOLDS_M = np.linspace(0.0, 0.05, 100)
SCALE_TRANSLATION = "xyz_scale_translation_aligned"
"""A family that only HO3D has."""
F_THRESHOLDS_M = MappingProxyType({5: 0.005, 15: 0.015})


@dataclass(frozen=True)
class FamilyScores:
    """Errors of one kind of point (joints or vertices), aligned or not.

    Args:
        mean_error_mm: mean over samples, then points.
        mean_of_median_error_mm: median over samples, then mean over points.
        auc: area under the PCK curve from 0 to 50 mm, a share.
        pck_curve: `[100]`, share of points within each threshold.
        thresholds_mm: `[100]`, 0 to 50.
        per_sample_mean_error_mm: `[N]`.
    """

    mean_error_mm: float
    mean_of_median_error_mm: float
    auc: float
    pck_curve: NDArray[np.float64]
    thresholds_mm: NDArray[np.float64]
    per_sample_mean_error_mm: NDArray[np.float64]

    @classmethod
    def of(cls, prediction: ArrayLike, truth: ArrayLike) -> FamilyScores:
        """Errors of `prediction` against `truth`, both `[N, P, 3]` metres, without further alignment."""
        distances = point_distances(prediction, truth)
        curve = pck_curve(distances, THRESHOLDS_M)
        return cls(
            mean_error_mm=mean_error_mm(distances),
            mean_of_median_error_mm=mean_of_median_error_mm(distances),
            auc=area_under_pck(curve, THRESHOLDS_M),
            pck_curve=curve,
            thresholds_mm=THRESHOLDS_M * MM_PER_M,
            per_sample_mean_error_mm=distances.mean(axis=1) * MM_PER_M,
        )

    def undefined(self) -> FamilyScores:
        """NaN instead of all errors."""
        nan, rows = float("nan"), np.full_like(self.per_sample_mean_error_mm, np.nan)
        curve = np.full_like(self.pck_curve, np.nan)
        return FamilyScores(nan, nan, nan, curve, self.thresholds_mm, rows)


@dataclass(frozen=True)
class HandScores:
    """All results of the official evaluation of one set, with the per-sample values.

    Args:
        families: families of errors by name, in the order of the official score file.
        labels: the names of the families in that file.
        pa_joints: the family that papers call PA-MPJPE.
        f: F-scores of the vertices: `f["raw"][5]`, `f["aligned"][15]`, by threshold in millimetres.
    """

    families: Mapping[str, FamilyScores]
    labels: Mapping[str, str]
    pa_joints: str
    f: Mapping[str, Mapping[int, FScores]]

    def without_vertices(self) -> HandScores:
        """The same with NaN for what compares vertex with vertex or is measured after an alignment that does,
        for meshes whose vertices are numbered otherwise than the true ones.
        """
        families = {
            name: family.undefined() if name in ("mesh", "mesh_aligned") else family
            for name, family in self.families.items()
        }
        aligned = {mm: scores.undefined() for mm, scores in self.f["aligned"].items()}
        return replace(self, families=families, f={**self.f, "aligned": aligned})

    @property
    def headline(self) -> dict[str, float]:
        """The numbers that papers print, under the names of our result lines."""
        scaled = self.families.get(SCALE_TRANSLATION)
        return {
            **({} if scaled is None else {"scale_trans_mpjpe_mm": scaled.mean_error_mm}),
            "pa_mpvpe_mm": self.families["mesh_aligned"].mean_error_mm,
            "pa_mpjpe_mm": self.families[self.pa_joints].mean_error_mm,
            "pa_mpvpe_auc": self.families["mesh_aligned"].auc,
            "pa_mpjpe_auc": self.families[self.pa_joints].auc,
            "f5": self.f["aligned"][5].mean,
            "f15": self.f["aligned"][15].mean,
            "mpvpe_mm": self.families["mesh"].mean_error_mm,
            "mpjpe_mm": self.families["xyz"].mean_error_mm,
        }

    @property
    def per_sample(self) -> dict[str, NDArray[np.float64]]:
        """One array `[N]` per headline number that exists per sample, for paired comparisons of runs."""
        scaled = self.families.get(SCALE_TRANSLATION)
        return {
            **({} if scaled is None else {"scale_trans_mpjpe_mm": scaled.per_sample_mean_error_mm}),
            "pa_mpvpe_mm": self.families["mesh_aligned"].per_sample_mean_error_mm,
            "pa_mpjpe_mm": self.families[self.pa_joints].per_sample_mean_error_mm,
            "f5": self.f["aligned"][5].per_sample,
            "f15": self.f["aligned"][15].per_sample,
            "mpvpe_mm": self.families["mesh"].per_sample_mean_error_mm,
            "mpjpe_mm": self.families["xyz"].per_sample_mean_error_mm,
        }

    def official(self) -> dict[str, float]:
        """The lines of the official score file, by name: mean errors in **centimetres**, other values are
        shares.
        """
        lines: dict[str, float] = {}
        for family, label in self.labels.items():
            lines[f"{label}_mean3d"] = self.families[family].mean_error_mm / 10
            lines[f"{label}_auc3d"] = self.families[family].auc
        for mm in F_THRESHOLDS_M:
            lines[f"f_score_{mm}"] = self.f["raw"][mm].mean
            lines[f"f_al_score_{mm}"] = self.f["aligned"][mm].mean
        return lines

    def scores_txt(self) -> str:
        """The official score file: one `name: value` per line, six decimals."""
        return "".join(f"{name}: {value:f}\n" for name, value in self.official().items())

    def as_dict(self) -> dict[str, Any]:
        """The whole table in plain types, ready for JSON."""
        table: dict[str, Any] = {
            name: {
                "mean_error_mm": family.mean_error_mm,
                "mean_of_median_error_mm": family.mean_of_median_error_mm,
                "auc_0_50mm": family.auc,
                "pck_curve": family.pck_curve.tolist(),
                "thresholds_mm": family.thresholds_mm.tolist(),
                "per_sample_mean_error_mm": family.per_sample_mean_error_mm.tolist(),
            }
            for name, family in self.families.items()
        }
        for kind, by_threshold in self.f.items():
            for mm, scores in by_threshold.items():
                table[f"f_{kind}_at_{mm}mm"] = {
                    "mean": scores.mean,
                    "per_sample": scores.per_sample.tolist(),
                    "share_of_gt_near_prediction": scores.truth_share.tolist(),
                    "share_of_prediction_near_gt": scores.prediction_share.tolist(),
                }
        table["scores_txt"] = {name: round(value, 6) for name, value in self.official().items()}
        return table


def f_by_mm(prediction: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[int, FScores]:
    """F-scores of vertices `[N, V, 3]` metres at 5 and 15 mm."""
    by_metres = f_scores(prediction, truth, tuple(F_THRESHOLDS_M.values()))
    return {mm: by_metres[metres] for mm, metres in F_THRESHOLDS_M.items()}


def checked_pair(
    what: str, prediction: ArrayLike, truth: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both arrays as float64 `[N, P, 3]`; values that would make a mean invalid are refused.

    Raises:
        InputError: the shapes differ, there is no sample, or a number is not finite (the samples are named).
    """
    predicted, true = np.asarray(prediction, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if predicted.shape != true.shape or true.ndim != 3 or true.shape[-1] != 3 or true.size == 0:
        raise InputError(
            f"cannot score {what} of shape {predicted.shape} against {true.shape}: "
            "both must be [N, P, 3], N > 0."
        )
    for name, points in (("predicted", predicted), ("true", true)):
        expect_finite(f"{name} {what}", points)
    return predicted, true


def expect_finite(what: str, points: NDArray[np.floating[Any]]) -> None:
    """Refuse samples `[N, P, 3]` with NaN or infinity.

    Raises:
        InputError: there are such samples; the message names them.
    """
    bad = np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))
    if bad.size:
        shown = ", ".join(map(str, bad[:10])) + (", ..." if bad.size > 10 else "")
        raise InputError(f"{bad.size} of {len(points)} samples have {what} that are not finite: {shown}.")
