"""HInt's 2D measures: the share of labelled key points within a fraction of the hand's box, and a loss.

Source: Pavlakos et al. 2024, "Reconstructing Hands in 3D with Transformers", arXiv:2312.05251, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shared_tmu.metrics.hand_table import expect_finite

THRESHOLDS = (0.05, 0.10, 0.15)
"""Of the longer side of the hand's box."""
EXPAND = 2.0
"""Crops are so many times as large as that side."""


@dataclass(frozen=True)
class KeypointPck:
    """PCK at one threshold.

    Args:
        per_joint: `[J]` shares of labelled points that are near enough; NaN for a joint without labels.
    """

    per_joint: NDArray[np.float64]

    @property
    def average(self) -> float:
        """Unweighted mean over joints, as published; NaN (undefined) if a joint has no label."""
        return float(self.per_joint.mean())


def crop_to_picture(
    keypoints: ArrayLike, center: ArrayLike, box_size: ArrayLike, right: ArrayLike
) -> NDArray[np.float64]:
    """Convert the network's key points to picture pixels.

    Args:
        keypoints: `[N, J, 2]`, the crop spans -0.5..0.5; left hands are still mirrored.
        center: crop centres `[N, 2]`, pixels.
        box_size: sides of the square crops `[N]`, pixels.
        right: `[N]`, 1 or 0.

    Returns:
        `[N, J, 2]` pixels.
    """
    points = np.array(keypoints, dtype=np.float64)
    points[..., 0] *= (2 * np.asarray(right, dtype=np.float64) - 1)[:, None]
    pixels: NDArray[np.float64] = points * np.asarray(box_size)[:, None, None] + np.asarray(center)[:, None]
    return pixels


def keypoint_pck(
    prediction: ArrayLike,
    truth: ArrayLike,
    labelled: ArrayLike,
    unit_px: ArrayLike,
    thresholds: Sequence[float],
) -> dict[float, KeypointPck]:
    """Share of labelled key points within each threshold times the hand's size, including points exactly at
    it.

    Args:
        prediction: `[N, J, 2]` pixels.
        truth: `[N, J, 2]` pixels; any value for points without a label.
        labelled: `[N, J]`, whether the point has a label.
        unit_px: the longer side of each hand's unexpanded box, `[N]`.
        thresholds: fractions, such as 0.05, 0.10, 0.15.
    """
    flags = np.asarray(labelled, dtype=bool)
    gaps = np.linalg.norm(np.asarray(prediction, dtype=np.float64) - np.asarray(truth), axis=-1)
    relative = gaps / np.asarray(unit_px, dtype=np.float64)[:, None]
    counts = flags.sum(axis=0)
    result = {}
    for threshold in thresholds:
        near = ((relative <= threshold) & flags).sum(axis=0)
        shares = np.divide(near, counts, out=np.full(len(counts), np.nan), where=counts > 0)
        result[threshold] = KeypointPck(shares)
    return result


@dataclass(frozen=True)
class KeypointSubset:
    """Scores of the points that count in one of HInt's subsets.

    Args:
        relative: distances over the longer side of the box, `[N, J]`; NaN where a point does not count.
        pck: by threshold.
        kpl2: mean over hands and joints of the squared distance in crop units, 0 where a point does not
            count.
        kpl2_as_reported: what HaMeR's evaluation prints as `mode_kpl2`: left hands are compared with their
            mirror images, and everything counts eight times.
        kpl2_without_pck_pass: the same with left hands as they are.
    """

    relative: NDArray[np.float64]
    pck: Mapping[float, KeypointPck]
    kpl2: float
    kpl2_as_reported: float
    kpl2_without_pck_pass: float


@dataclass(frozen=True)
class KeypointScores:
    """HInt's table.

    Args:
        subsets: by name: `all`, `vis`, `occ`.
    """

    subsets: Mapping[str, KeypointSubset]

    @property
    def headline(self) -> dict[str, float]:
        """`pck_05_all` and so on, as published: fractions, unweighted means over joints, NaN if undefined;
        and the means over hands of `per_sample`."""
        published = {
            f"pck_{_percent(t)}_{name}": pck.average
            for name, subset in self.subsets.items()
            for t, pck in subset.pck.items()
        }
        return published | {name: _mean(values) for name, values in self.per_sample.items()}

    @property
    def per_sample(self) -> dict[str, NDArray[np.float64]]:
        """Means over each hand's labelled points, `[N]`, NaN for a hand without one: `error_box_all`, the
        distance over the longer side of the box, `hand_pck_05_all`, and so on."""
        rows: dict[str, NDArray[np.float64]] = {}
        for name, subset in self.subsets.items():
            counted = np.isfinite(subset.relative)
            rows[f"error_box_{name}"] = _row_means(subset.relative, counted)
            for t in subset.pck:
                near = (subset.relative <= t).astype(np.float64)
                rows[f"hand_pck_{_percent(t)}_{name}"] = _row_means(near, counted)
        return rows

    def official(self) -> dict[str, float]:
        """What HaMeR's evaluation writes, with the subset in front: `all/kpAvg_pck_0.05`, `all/kp0_pck_0.05`,
        `all/mode_kpl2` (see `KeypointSubset`); joints without a label are left out."""
        lines: dict[str, float] = {}
        for name, subset in self.subsets.items():
            lines[f"{name}/mode_kpl2"] = subset.kpl2_as_reported
            for t, pck in subset.pck.items():
                lines[f"{name}/kpAvg_pck_{t}"] = pck.average
                joints = np.flatnonzero(np.isfinite(pck.per_joint))
                lines |= {f"{name}/kp{j}_pck_{t}": float(pck.per_joint[j]) for j in joints}
        return lines

    def scores_txt(self) -> str:
        """One `name: value` per line, six decimals, `undefined` where a joint has no label."""
        return "".join(
            f"{name}: {'undefined' if np.isnan(value) else format(value, 'f')}\n"
            for name, value in self.official().items()
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain types; None for what is undefined."""
        return {
            name: {
                "pck": {f"{t:.2f}": _plain_pck(pck) for t, pck in subset.pck.items()},
                "kpl2": subset.kpl2,
                "kpl2_as_reported": subset.kpl2_as_reported,
                "kpl2_without_pck_pass": subset.kpl2_without_pck_pass,
            }
            for name, subset in self.subsets.items()
        }


def score_hint(
    prediction_px: ArrayLike,
    truth_px: ArrayLike,
    labelled: Mapping[str, NDArray[np.bool_]],
    center: NDArray[np.float64],
    unit_px: NDArray[np.float64],
    right: NDArray[np.bool_],
) -> KeypointScores:
    """All of HInt's measures.

    Args:
        prediction_px: `[N, 21, 2]` picture pixels.
        truth_px: `[N, 21, 2]`.
        labelled: which points count, `[N, 21]` for each subset.
        center: centres of the boxes, `[N, 2]`.
        unit_px: their longer sides, `[N]`.
        right: sides of the hands, `[N]`.

    Raises:
        InputError: predictions that are not finite.
    """
    predicted, true = np.asarray(prediction_px, np.float64), np.asarray(truth_px, np.float64)
    expect_finite("predicted key points", predicted)
    crop = (EXPAND * unit_px)[:, None, None]
    ours, theirs = ((points - center[:, None]) / crop for points in (predicted, true))
    mirrored = theirs * np.where(right, 1.0, -1.0)[:, None, None] ** np.array([1, 0])
    distances = np.linalg.norm(predicted - true, axis=-1) / unit_px[:, None]
    subsets = {}
    for name, flags in labelled.items():
        plain, odd = (float((flags * ((ours - t) ** 2).sum(-1)).mean()) for t in (theirs, mirrored))
        subsets[name] = KeypointSubset(
            relative=np.where(flags, distances, np.nan),
            pck=keypoint_pck(predicted, true, flags, unit_px, THRESHOLDS),
            kpl2=plain,
            kpl2_as_reported=EXPAND**3 * odd,
            kpl2_without_pck_pass=EXPAND**3 * plain,
        )
    return KeypointScores(subsets)


def _percent(threshold: float) -> str:
    return f"{round(100 * threshold):02d}"


def _plain_pck(pck: KeypointPck) -> dict[str, Any]:
    return {"average": _plain(pck.average), "per_joint": [_plain(share) for share in pck.per_joint]}


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _mean(values: NDArray[np.float64]) -> float:
    """Over the hands that have a value; NaN if none has."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _row_means(values: NDArray[np.float64], counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    counts = counted.sum(axis=1)
    totals = np.where(counted, values, 0.0).sum(axis=1)
    means: NDArray[np.float64] = np.divide(totals, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return means
