"""Which vertices are hands and face, and which points are joints, in a mesh of SMPL-X's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models import SmplxModel
from shared_tmu.body_models.array_pickle import read_array_pickle, read_pickled_array
from shared_tmu.body_models.arrays import take_array
from shared_tmu.body_models.smplx_model import EXTRA_VERTICES, LEFT_WRIST, NUM_VERTICES, RIGHT_WRIST
from shared_tmu.errors import BodyModelError
from shared_tmu.metrics import BodyParts

J14_FILE = "SMPLX_to_J14.pkl"
HANDS_FILE = "MANO_SMPLX_vertex_ids.pkl"
FACE_FILE = "SMPL-X__FLAME_vertex_ids.npy"
OFFICIAL_FILES = (J14_FILE, HANDS_FILE, FACE_FILE)
NUM_HAND_VERTICES = 778

BODY14_JOINTS = (8, 5, 2, 1, 4, 7, 21, 19, 17, 16, 18, 20, 12, 15)
"""Joints nearest to the 14 of the official regressor: right ankle, knee, hip, left hip, knee, ankle, right
wrist, elbow, shoulder, left shoulder, elbow, wrist, neck, head."""

_HEAD_JOINTS = (12, 15, 22, 23, 24)  # neck, head, jaw, eyes
_THUMB_TO_PINKY = (12, 0, 3, 9, 6)  # where each finger's three joints begin among a hand's 15
_TIPS = {"left": EXTRA_VERTICES[11:16], "right": EXTRA_VERTICES[16:21]}
_FIRST_FINGER_JOINT = {"left": 25, "right": 40}
_WRIST = {"left": LEFT_WRIST, "right": RIGHT_WRIST}


def read_official_parts(body: SmplxModel, files: Mapping[str, Path]) -> BodyParts:
    """The parts of the published EHF evaluation, from the files that come with SMPL-X.

    Args:
        body: the neutral SMPL-X model, for its joint regressor.
        files: paths of `OFFICIAL_FILES`.

        Raises:
        MissingAssetError: a file does not exist.
        BodyModelError: a file does not have the content that its name promises.
    """
    hands = read_array_pickle(files[HANDS_FILE])
    return BodyParts(
        joint_regressor=np.asarray(body.J_regressor, dtype=np.float64),
        body14_regressor=_take(read_pickled_array(files[J14_FILE]), (14, NUM_VERTICES), files[J14_FILE]),
        left_hand21_regressor=hand21_regressor(body, "left"),
        right_hand21_regressor=hand21_regressor(body, "right"),
        left_hand_vertex_ids=_ids(hands.get("left_hand"), files[HANDS_FILE], NUM_HAND_VERTICES),
        right_hand_vertex_ids=_ids(hands.get("right_hand"), files[HANDS_FILE], NUM_HAND_VERTICES),
        face_vertex_ids=_ids(_read_npy(files[FACE_FILE]), files[FACE_FILE], None),
    )


def parts_by_weight(body: SmplxModel) -> BodyParts:
    """Parts of any mesh of SMPL-X's layout: a vertex belongs to the joint that moves it most.

    Hands are wrist and fingers, the face is the whole head with the neck. Joints are those of the kinematic
    tree.
    """
    strongest = np.asarray(body.weights).argmax(axis=1)
    joints = np.asarray(body.J_regressor, dtype=np.float64)
    hands = {
        side: np.flatnonzero(np.isin(strongest, [_WRIST[side], *range(first, first + 15)]))
        for side, first in _FIRST_FINGER_JOINT.items()
    }
    return BodyParts(
        joint_regressor=joints,
        body14_regressor=joints[list(BODY14_JOINTS)],
        left_hand21_regressor=hand21_regressor(body, "left"),
        right_hand21_regressor=hand21_regressor(body, "right"),
        left_hand_vertex_ids=hands["left"],
        right_hand_vertex_ids=hands["right"],
        face_vertex_ids=np.flatnonzero(np.isin(strongest, _HEAD_JOINTS)),
    )


def hand21_regressor(body: SmplxModel, side: str) -> NDArray[np.float64]:
    """Wrist, then four points each of thumb, index, middle, ring and pinky, `[21, V]`; tips are vertices."""
    joints = np.asarray(body.J_regressor, dtype=np.float64)
    rows = [joints[_WRIST[side]]]
    for start, tip in zip(_THUMB_TO_PINKY, _TIPS[side], strict=True):
        first = _FIRST_FINGER_JOINT[side] + start
        rows += [*joints[first : first + 3], np.eye(1, joints.shape[1], tip)[0]]
    return np.stack(rows)


def _take(value: Any, shape: Sequence[int], path: Path) -> NDArray[Any]:
    return take_array({"array": value}, "array", tuple(shape), str(path), "this file", np.float64)


def _ids(value: Any, path: Path, count: int | None) -> NDArray[np.int64]:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu" or value.ndim != 1:
        raise BodyModelError(f"{path} holds no list of vertices: get this file again from SMPL-X's site.")
    if count is not None and len(value) != count:
        raise BodyModelError(f"{path} lists {len(value)} vertices of a hand, expected {count}.")
    if not len(value) or value.min() < 0 or value.max() >= NUM_VERTICES:
        raise BodyModelError(f"{path} lists no vertices, or vertices outside 0..{NUM_VERTICES - 1}.")
    return value.astype(np.int64)


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise BodyModelError(f"{path} cannot be read as an array: {error}.") from error
    return array
