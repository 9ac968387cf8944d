"""SMPL-X body models: the contents of a file, and reading and checking it.

Works for the official `SMPLX_NEUTRAL.npz` / `.pkl` (no pickle code is executed), for any file with the same
arrays, and for the bundled person (SynthBody).

Source: Pavlakos et al. 2019, Expressive Body Capture: 3D Hands, Face, and Body from a Single Image,
    arXiv:1904.05866.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.arrays import expect_metres, read_arrays, take_array
from shared_tmu.errors import BodyModelError
from shared_tmu.files import is_file, is_folder, open_file

SYNTHBODY = Path(__file__).parent.parent / "assets" / "synthbody" / "SYNTHBODY_NEUTRAL.npz"
OFFICIAL_NAMES = ("SMPLX_NEUTRAL.npz", "SMPLX_NEUTRAL.pkl")

WHERE = (
    f"The official {OFFICIAL_NAMES[0]} is free for research after registration at "
    "https://smpl-x.is.tue.mpg.de (see scripts/assets.py explain smplx); without a path the bundled "
    "SynthBody is used."
)

NUM_VERTICES, NUM_FACES, NUM_JOINTS = 10475, 20908, 55
NUM_BODY_JOINTS, NUM_HAND_JOINTS = 21, 15
NUM_BETAS, NUM_EXPRESSIONS = 10, 10
NUM_LANDMARKS, NUM_CONTOUR, NUM_CONTOUR_TURNS = 51, 17, 79
OFFICIAL_COLUMNS, SHAPE_COLUMNS = 400, 300
"""Number of directions in the official files, and how many of them are shape directions; smaller files have
10 shape and 10 expression directions.
"""

PARENTS = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19,
    15, 15, 15,
    20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35, 20, 37, 38,
    21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53,
)  # fmt: skip
"""Pelvis and 21 body joints; jaw, left eye, right eye; three joints each of index, middle, pinky, ring and
thumb of the left hand, then of the right."""

NECK, LEFT_WRIST, RIGHT_WRIST = 12, 20, 21

EXTRA_VERTICES = (
    9120, 9929, 9448, 616, 6,
    5770, 5780, 8846, 8463, 8474, 8635,
    5361, 4933, 5058, 5169, 5286,
    8079, 7669, 7794, 7905, 8022,
)  # fmt: skip
"""Vertices that become joints 55..75: nose, right eye, left eye, right ear, left ear; big toe, small toe and
heel of the left foot, then of the right; thumb to pinky tip of the left hand, then of the right."""

NUM_ALL_JOINTS = NUM_JOINTS + len(EXTRA_VERTICES) + NUM_LANDMARKS + NUM_CONTOUR  # 144

_BODY = (0, 1, 2, 4, 5, 7, 8, 12, 16, 17, 18, 19, 20, 21, 60, 61, 62, 63, 64, 65, 59, 58, 57, 56, 55)
_LEFT_HAND = (37, 38, 39, 66, 25, 26, 27, 67, 28, 29, 30, 68, 34, 35, 36, 69, 31, 32, 33, 70)
_RIGHT_HAND = (52, 53, 54, 71, 40, 41, 42, 72, 43, 44, 45, 73, 49, 50, 51, 74, 46, 47, 48, 75)
_FACE = (22, 15, 57, 56, *range(76, NUM_ALL_JOINTS))
KEYPOINTS = _BODY + _LEFT_HAND + _RIGHT_HAND + _FACE
"""Indices among the 144 joints of SMPLest-X's 137 key points: 25 of the body, 20 of each hand, 72 of the
face.
"""

BODY_RANGE, LEFT_HAND_RANGE = slice(0, 25), slice(25, 45)
RIGHT_HAND_RANGE, FACE_RANGE = slice(45, 65), slice(65, 137)
KEYPOINT_PELVIS, KEYPOINT_NECK, KEYPOINT_LEFT_WRIST, KEYPOINT_RIGHT_WRIST = 0, 7, 12, 13

Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SmplxModel:
    """One body model as read-only arrays, in the precision of the file; lengths in metres, angles in radians.

    Attributes:
        v_template: vertices at rest, `[10475, 3]`.
        faces: vertex indices, counter-clockwise from outside, `[20908, 3]`.
        J_regressor: joints from vertices, `[55, 10475]`.
        weights: skinning weights, rows sum to one, `[10475, 55]`.
        shapedirs: offset per shape coefficient, `[10475, 3, 10]`.
        exprdirs: offset per expression coefficient, `[10475, 3, 10]`.
        posedirs: offset per entry of (R - I) of joints 1..54, row-major, `[10475, 3, 486]`.
        hands_componentsl, hands_componentsr: pose components in axis-angle, one per row, `[45, 45]`.
        hands_meanl, hands_meanr: mean pose of a hand in axis-angle, `[45]`.
        parents: kinematic tree, -1 for the pelvis, `[55]`.
        lmk_faces_idx, lmk_bary_coords: triangle, and barycentric coordinates in it, of each facial landmark,
            `[51]`, `[51, 3]`.
        dynamic_lmk_faces_idx, dynamic_lmk_bary_coords: the same for the face's contour as seen from the
            front, one row per degree of the head's rotation, `[79, 17]`, `[79, 17, 3]`.
    """

    v_template: Floats
    faces: NDArray[np.int64]
    J_regressor: Floats
    weights: Floats
    shapedirs: Floats
    exprdirs: Floats
    posedirs: Floats
    hands_componentsl: Floats
    hands_componentsr: Floats
    hands_meanl: Floats
    hands_meanr: Floats
    parents: NDArray[np.int64]
    lmk_faces_idx: NDArray[np.int64]
    lmk_bary_coords: Floats
    dynamic_lmk_faces_idx: NDArray[np.int64]
    dynamic_lmk_bary_coords: Floats

    def __post_init__(self) -> None:
        for item in fields(self):
            getattr(self, item.name).setflags(write=False)

    @property
    def kintree_table(self) -> NDArray[np.uint32]:
        """Parents and children as SMPL-X files store them, `[2, 55]`; the pelvis' parent is 2**32 - 1."""
        table: NDArray[np.uint32] = np.stack((self.parents, np.arange(NUM_JOINTS))).astype(np.uint32)
        return table

    def to_dict(self) -> dict[str, NDArray[Any]]:
        """Return the arrays under the names of SMPL-X's own files; `load_smplx` reads them from `.npz`."""
        return {
            "v_template": self.v_template,
            "f": self.faces.astype(np.uint32),
            "J_regressor": self.J_regressor,
            "weights": self.weights,
            "shapedirs": np.concatenate((self.shapedirs, self.exprdirs), axis=2),  # [V, 3, 20]
            "posedirs": self.posedirs,
            "hands_componentsl": self.hands_componentsl,
            "hands_componentsr": self.hands_componentsr,
            "hands_meanl": self.hands_meanl,
            "hands_meanr": self.hands_meanr,
            "kintree_table": self.kintree_table,
            "lmk_faces_idx": self.lmk_faces_idx,
            "lmk_bary_coords": self.lmk_bary_coords,
            "dynamic_lmk_faces_idx": self.dynamic_lmk_faces_idx,
            "dynamic_lmk_bary_coords": self.dynamic_lmk_bary_coords,
        }

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Any], source: str = "arrays") -> "SmplxModel":
        """Check and convert arrays under the names of SMPL-X's own files.

        Args:
            arrays: the keys of `to_dict`; others are ignored. `shapedirs` must have 20 columns (10 of shape,
                10 of expression) or at least the official 400 (shape from 0 on, expression from 300 on).
            source: where they come from, for messages.

        Raises:
            BodyModelError: an array is missing, has another shape, or holds NaN or infinity, or the kinematic
                tree or an index is not SMPL-X's.
        """

        def take(key: str, *shape: int, dtype: Any = None) -> NDArray[Any]:
            return take_array(arrays, key, shape, source, "an SMPL-X body model", dtype)

        faces = take("f", NUM_FACES, 3, dtype=np.int64)
        _expect_below(source, "f", faces, NUM_VERTICES)
        parents = take("kintree_table", 2, NUM_JOINTS, dtype=np.int64)[0].copy()
        parents[0] = -1
        if tuple(parents.tolist()) != PARENTS:
            raise BodyModelError(
                f"{source}: joint parents are {parents.tolist()}, but those of an SMPL-X body are "
                f"{list(PARENTS)}."
            )
        static = take("lmk_faces_idx", NUM_LANDMARKS, dtype=np.int64)
        contour = take("dynamic_lmk_faces_idx", NUM_CONTOUR_TURNS, NUM_CONTOUR, dtype=np.int64)
        _expect_below(source, "lmk_faces_idx", static, NUM_FACES)
        _expect_below(source, "dynamic_lmk_faces_idx", contour, NUM_FACES)
        shapes, expressions = _split_directions(arrays, source)
        vertices = take("v_template", NUM_VERTICES, 3)
        expect_metres(vertices, source, "an SMPL-X body model")
        return cls(
            v_template=vertices,
            faces=faces,
            J_regressor=take("J_regressor", NUM_JOINTS, NUM_VERTICES),
            weights=take("weights", NUM_VERTICES, NUM_JOINTS),
            shapedirs=shapes,
            exprdirs=expressions,
            posedirs=take("posedirs", NUM_VERTICES, 3, 9 * (NUM_JOINTS - 1)),
            hands_componentsl=take("hands_componentsl", 45, 45),
            hands_componentsr=take("hands_componentsr", 45, 45),
            hands_meanl=take("hands_meanl", 45),
            hands_meanr=take("hands_meanr", 45),
            parents=parents,
            lmk_faces_idx=static,
            lmk_bary_coords=take("lmk_bary_coords", NUM_LANDMARKS, 3),
            dynamic_lmk_faces_idx=contour,
            dynamic_lmk_bary_coords=take("dynamic_lmk_bary_coords", NUM_CONTOUR_TURNS, NUM_CONTOUR, 3),
        )


FILE_ARRAYS = (
    "v_template", "f", "J_regressor", "weights", "shapedirs", "posedirs", "hands_componentsl",
    "hands_componentsr", "hands_meanl", "hands_meanr", "kintree_table", "lmk_faces_idx", "lmk_bary_coords",
    "dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords",
)  # fmt: skip
"""Names in SMPL-X's own files; their other contents (dictionaries of names, texture) are not read."""
MAX_FILE_BYTES = 1 << 29  # limit for these arrays; SMPL-X's take 240 MB


def load_smplx(path: Path | str | None = None) -> SmplxModel:
    """Read an SMPL-X body model.

    Args:
        path: an `.npz` or `.pkl` in the official layout, or a folder that contains `SMPLX_NEUTRAL.npz` or
            `.pkl`, directly or in `smplx/`. None reads the bundled SynthBody.

        Raises:
        MissingAssetError: the file does not exist.
        BodyModelError: the file is not an SMPL-X model, or one of its entries is not an array.
    """
    path = SYNTHBODY if path is None else _find_file(Path(path))
    open_file(path, BodyModelError, WHERE).close()
    return SmplxModel.from_dict(read_arrays(path, FILE_ARRAYS, MAX_FILE_BYTES), str(path))


def _find_file(path: Path) -> Path:
    if not is_folder(path):
        return path
    places = [folder / name for folder in (path, path / "smplx") for name in OFFICIAL_NAMES]
    return next((place for place in places if is_file(place)), places[0])


def _split_directions(arrays: Mapping[str, Any], source: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Shape and expression directions, `[10475, 3, 10]` each, which files store in one array."""
    columns = np.shape(arrays.get("shapedirs", ()))[-1:]
    count = columns[0] if columns else 0
    start = SHAPE_COLUMNS if count >= OFFICIAL_COLUMNS else NUM_BETAS
    if "shapedirs" in arrays and count < OFFICIAL_COLUMNS and count != NUM_BETAS + NUM_EXPRESSIONS:
        raise BodyModelError(
            f"{source}: 'shapedirs' has {count} directions; an SMPL-X body model has 20 (10 of shape, 10 of "
            f"expression) or {OFFICIAL_COLUMNS} (expression from {SHAPE_COLUMNS} on)."
        )
    every = take_array(
        arrays, "shapedirs", (NUM_VERTICES, 3, count), source, "an SMPL-X body model", dtype=None
    )
    parts = every[..., :NUM_BETAS], every[..., start : start + NUM_EXPRESSIONS]
    return np.ascontiguousarray(parts[0]), np.ascontiguousarray(parts[1])


def _expect_below(source: str, key: str, indices: NDArray[np.int64], limit: int) -> None:
    if indices.min() < 0 or indices.max() >= limit:
        raise BodyModelError(f"{source}: '{key}' holds indices outside 0..{limit - 1}.")
