"""The numbers of the published evaluations: alignments, distances, PCK, F-scores and official score tables.

Points are numpy arrays in metres, rows are points: `[..., P, 3]`. Everything is computed in float64;
results are in millimetres (`_mm`), except where an official score file needs centimetres.
Legend: N samples, P points (J = 21 joints or V = 778 vertices).
"""

from shared_tmu.metrics.alignments import Similarity, align_root, align_similarity, fit_similarity
from shared_tmu.metrics.bootstrap import bootstrap_interval
from shared_tmu.metrics.distances import mean_error_mm, mean_of_median_error_mm, point_distances
from shared_tmu.metrics.ehf import BodyParts, score_ehf
from shared_tmu.metrics.freihand import score_freihand
from shared_tmu.metrics.fscore import FScores, f_scores
from shared_tmu.metrics.hand_table import FamilyScores, HandScores
from shared_tmu.metrics.hint import KeypointPck, KeypointScores, crop_to_picture, keypoint_pck, score_hint
from shared_tmu.metrics.ho3d import score_ho3d
from shared_tmu.metrics.landmarks import LandmarkScores, score_landmarks
from shared_tmu.metrics.pck import area_under_pck, pck_curve
from shared_tmu.metrics.posture import hand_posture, orientation_error_deg, picture_errors

__all__ = [
    "BodyParts",
    "FScores",
    "FamilyScores",
    "HandScores",
    "KeypointPck",
    "KeypointScores",
    "LandmarkScores",
    "Similarity",
    "align_root",
    "align_similarity",
    "area_under_pck",
    "bootstrap_interval",
    "crop_to_picture",
    "f_scores",
    "fit_similarity",
    "hand_posture",
    "keypoint_pck",
    "mean_error_mm",
    "mean_of_median_error_mm",
    "orientation_error_deg",
    "pck_curve",
    "picture_errors",
    "point_distances",
    "score_ehf",
    "score_freihand",
    "score_hint",
    "score_ho3d",
    "score_landmarks",
]
