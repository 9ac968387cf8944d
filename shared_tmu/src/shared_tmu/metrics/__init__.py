"""The numbers of the published evaluations: alignments, distances, PCK, F-scores and official score tables.

Points are numpy arrays in metres, rows are points: `[..., P, 3]`. Everything is computed in float64; what is
reported is in millimetres (`_mm`), except where an official score file wants centimetres.
Legend: N samples, P points (J = 21 joints or V = 778 vertices).
"""

from shared_tmu.metrics.alignments import Similarity, align_root, align_similarity, fit_similarity
from shared_tmu.metrics.distances import mean_error_mm, mean_of_median_error_mm, point_distances
from shared_tmu.metrics.freihand import FamilyScores, FreiHandScores, score_freihand
from shared_tmu.metrics.fscore import FScores, f_scores
from shared_tmu.metrics.pck import area_under_pck, pck_curve

__all__ = [
    "FScores",
    "FamilyScores",
    "FreiHandScores",
    "Similarity",
    "align_root",
    "align_similarity",
    "area_under_pck",
    "f_scores",
    "fit_similarity",
    "mean_error_mm",
    "mean_of_median_error_mm",
    "pck_curve",
    "point_distances",
    "score_freihand",
]
