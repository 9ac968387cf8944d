"""MANO hand models: the contents of a file, reading and checking it, and its mirror image.

Works for the official `MANO_RIGHT.pkl` / `MANO_LEFT.pkl` (no pickle code is executed, chumpy is not needed),
for the same arrays in an `.npz`, and for the bundled hand (SynthHand).

Source: Romero, Tzionas and Black 2017, Embodied Hands, arXiv:2201.02610.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.arrays import expect_metres, read_arrays, take_array
from shared_tmu.body_models.mano_sides import Side, shapes_are_mirrored, side_of
from shared_tmu.errors import BodyModelError
from shared_tmu.files import is_folder, open_file

log = logging.getLogger(__name__)

ASSETS = Path(__file__).parent.parent / "assets" / "synthhand"
SYNTHHAND = ASSETS / "SYNTHHAND_RIGHT.npz"
SYNTHHAND_MEAN_PARAMS = ASSETS / "mano_mean_params.npz"
OFFICIAL_NAME = "MANO_RIGHT.pkl"
WHERE = (
    f"The official {OFFICIAL_NAME} is free for research after registration at https://mano.is.tue.mpg.de "
    "(see scripts/assets.py explain mano); without a path the bundled SynthHand is used."
)

NUM_VERTICES, NUM_FACES, NUM_JOINTS, NUM_BETAS = 778, 1538, 16, 10
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
"""Wrist, then three joints each of index, middle, pinky, ring and thumb."""

FILE_ARRAYS = (
    "v_template", "f", "J_regressor", "weights", "shapedirs", "posedirs", "hands_components", "hands_mean",
    "kintree_table",
)  # fmt: skip
"""Names in MANO's own files that are read; other names are ignored."""
# limit for these arrays; MANO's take 5 MB, SMPL-X's 233, and their shapes distinguish them
MAX_FILE_BYTES = 1 << 28

FINGERTIPS = (744, 320, 443, 554, 671)
"""Vertices that are appended as joints 16..20: thumb, index, middle, ring, pinky."""

OPENPOSE_JOINTS = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""Indices among the 16 joints and 5 tips of the 21 key points, in the order wrist, thumb, index, middle,
ring, pinky.
"""

MIRROR = np.array([-1.0, 1.0, 1.0])
"""Mirrors points in the plane x = 0; axis-angle vectors are axial and get the opposite signs."""


@dataclass(frozen=True, eq=False)
class ManoModel:
    """One hand model as read-only arrays: float64, indices int64, lengths in metres, angles in radians.

    Attributes:
        v_template: vertices at rest, `[778, 3]`.
        faces: vertex indices, counter-clockwise from outside, `[1538, 3]`.
        J_regressor: joints from vertices, `[16, 778]`.
        weights: skinning weights, rows sum to one, `[778, 16]`.
        shapedirs: offset per shape coefficient, `[778, 3, 10]`.
        posedirs: offset per entry of (R - I) of joints 1..15, row-major, `[778, 3, 135]`.
        hands_components: pose components in axis-angle, one per row, `[45, 45]`.
        hands_mean: mean pose in axis-angle, `[45]`.
        parents: kinematic tree, -1 for the wrist, `[16]`.
        side: `"right"` or `"left"`.
    """

    v_template: NDArray[np.float64]
    faces: NDArray[np.int64]
    J_regressor: NDArray[np.float64]
    weights: NDArray[np.float64]
    shapedirs: NDArray[np.float64]
    posedirs: NDArray[np.float64]
    hands_components: NDArray[np.float64]
    hands_mean: NDArray[np.float64]
    parents: NDArray[np.int64]
    side: Side = "right"

    def __post_init__(self) -> None:
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    @property
    def kintree_table(self) -> NDArray[np.uint32]:
        """Parents and children as MANO files store them, `[2, 16]`; the wrist's parent is 2**32 - 1."""
        table: NDArray[np.uint32] = np.stack((self.parents, np.arange(NUM_JOINTS))).astype(np.uint32)
        return table

    def mirrored(self) -> "ManoModel":
        """Return the other hand: mirrored parameters give exactly the mirrored vertices of this one.

        Convention: mirror in the plane x = 0. Axis-angle (x, y, z) becomes (x, -y, -z), a matrix R becomes M
        R M; shape and PCA coefficients do not change (`geometry.mirror_axis_angle`, `mirror_rotmat`).
        """
        axial = np.tile(-MIRROR, NUM_JOINTS - 1)
        matrix = np.tile(np.outer(MIRROR, MIRROR).ravel(), NUM_JOINTS - 1)
        return replace(
            self,
            v_template=self.v_template * MIRROR,
            faces=np.ascontiguousarray(self.faces[:, ::-1]),
            shapedirs=self.shapedirs * MIRROR[:, None],
            posedirs=self.posedirs * MIRROR[:, None] * matrix,
            hands_components=self.hands_components * axial,
            hands_mean=self.hands_mean * axial,
            side="left" if self.side == "right" else "right",
        )

    def to_dict(self) -> dict[str, NDArray[Any]]:
        """Return the arrays under the names of MANO's own files; `load_mano` reads them from `.npz`."""
        return {
            "v_template": self.v_template,
            "f": self.faces.astype(np.uint32),
            "J_regressor": self.J_regressor,
            "weights": self.weights,
            "shapedirs": self.shapedirs,
            "posedirs": self.posedirs,
            "hands_components": self.hands_components,
            "hands_mean": self.hands_mean,
            "kintree_table": self.kintree_table,
            "J": self.J_regressor @ self.v_template,
        }

    @classmethod
    def from_dict(
        cls, arrays: Mapping[str, Any], side: Side = "right", source: str = "arrays"
    ) -> "ManoModel":
        """Check and convert arrays under the names of MANO's own files.

        Args:
            arrays: at least the keys of `to_dict` except `J`; others are ignored.
            side: the hand that they describe.
            source: where they come from, for messages.

        Raises:
            BodyModelError: an array is missing, has another shape, or holds NaN or infinity, or the kinematic
                tree or a face index is not MANO's.
        """
        faces = _take(arrays, "f", (NUM_FACES, 3), source, np.int64)
        if faces.min() < 0 or faces.max() >= NUM_VERTICES:
            raise BodyModelError(f"{source}: faces refer to vertices outside 0..{NUM_VERTICES - 1}.")
        parents = _take(arrays, "kintree_table", (2, NUM_JOINTS), source, np.int64)[0].copy()
        parents[0] = -1
        if tuple(parents.tolist()) != PARENTS:
            raise BodyModelError(
                f"{source}: joint parents are {parents.tolist()}, but those of a MANO hand are "
                f"{list(PARENTS)}."
            )
        vertices = _take(arrays, "v_template", (NUM_VERTICES, 3), source)
        expect_metres(vertices, source, "a MANO hand model")
        return cls(
            v_template=vertices,
            faces=faces,
            J_regressor=_take(arrays, "J_regressor", (NUM_JOINTS, NUM_VERTICES), source),
            weights=_take(arrays, "weights", (NUM_VERTICES, NUM_JOINTS), source),
            shapedirs=_take(arrays, "shapedirs", (NUM_VERTICES, 3, NUM_BETAS), source),
            posedirs=_take(arrays, "posedirs", (NUM_VERTICES, 3, 9 * (NUM_JOINTS - 1)), source),
            hands_components=_take(arrays, "hands_components", (45, 45), source),
            hands_mean=_take(arrays, "hands_mean", (45,), source),
            parents=parents,
            side=side,
        )


@dataclass(frozen=True, eq=False)
class MeanParams:
    """Initial predictions of the models: pose `[96]` (16 x 6D), shape `[10]`, weak camera `[3]` (s, tx, ty).

    In HaMeR's own file the wrist entry of the pose is not a rotation until the network's offset is added.
    """

    pose: NDArray[np.float32]
    shape: NDArray[np.float32]
    cam: NDArray[np.float32]


def load_mano(path: Path | str | None = None, side: Side | None = None) -> ManoModel:
    """Read a MANO hand model.

    Args:
        path: a `.pkl` in the official layout, an `.npz` with the same keys, or a folder with
            `MANO_RIGHT.pkl`. None reads the bundled SynthHand.
        side: the hand that is needed; a file of the other hand is mirrored. None takes the file's hand. MANO
            files do not say which hand they hold: the thumb of the template says it. The official
            `MANO_LEFT.pkl` has the right hand's `shapedirs`; their x is negated, so that the same shape
            coefficients give the mirrored hand.

    Raises:
        MissingAssetError: the file does not exist.
        BodyModelError: the file is not a MANO model, holds something other than arrays, or is named as the
            other hand ("left" or "right" in its name).
    """
    path = SYNTHHAND if path is None else Path(path)
    if is_folder(path):
        path = path / OFFICIAL_NAME
    model = _load_file(path)
    return model if side in (None, model.side) else model.mirrored()


def load_mean_params(path: Path | str | None = None) -> MeanParams:
    """Read `mano_mean_params.npz`; None reads the bundled one.

    Raises:
        MissingAssetError: the file does not exist.
        BodyModelError: the file lacks `pose` (96), `shape` (10) or `cam` (3).
    """
    path = SYNTHHAND_MEAN_PARAMS if path is None else Path(path)
    arrays = read_arrays(path)
    return MeanParams(
        *(
            _take(arrays, key, (length,), str(path), np.float32)
            for key, length in (("pose", 96), ("shape", 10), ("cam", 3))
        )
    )


def _load_file(path: Path) -> ManoModel:
    open_file(path, BodyModelError, WHERE).close()
    model = ManoModel.from_dict(read_arrays(path, FILE_ARRAYS, MAX_FILE_BYTES), source=str(path))
    sides: tuple[Side, Side] = ("left", "right")
    named = next((side for side in sides if side in path.stem.lower()), None)
    shown = side_of(model.J_regressor @ model.v_template, model.v_template[FINGERTIPS[0]])
    if named and shown and named != shown:
        raise BodyModelError(
            f"{path} is named as a {named} hand, but its thumb is where a {shown} hand has it: rename the "
            f"file, or name that of a {named} hand."
        )
    return _with_own_shapes(replace(model, side=shown or named or "right"), path)


def _with_own_shapes(model: ManoModel, path: Path) -> ManoModel:
    """A left hand whose shape directions are a left hand's, see `mano_sides`; a right hand as it is."""
    shifts = np.einsum("jv,vck->jck", model.J_regressor, model.shapedirs)
    if model.side == "right" or not shapes_are_mirrored(model.J_regressor @ model.v_template, shifts):
        return model
    log.warning(
        "%s has a right hand's shapedirs, as the official MANO_LEFT.pkl has: their x is negated, so that "
        "shape coefficients mean the same for both hands.", path,
    )  # fmt: skip
    return replace(model, shapedirs=model.shapedirs * MIRROR[:, None])


def _take(
    arrays: Mapping[str, Any], key: str, shape: tuple[int, ...], source: str, dtype: Any = np.float64
) -> NDArray[Any]:
    value = arrays.get(key)
    if key == "shapedirs" and isinstance(value, np.ndarray) and value.shape[:2] == shape[:2]:
        arrays = {key: value[..., : shape[2]]}  # some releases keep more directions than are used
    return take_array(arrays, key, shape, source, "a MANO hand model", dtype)
