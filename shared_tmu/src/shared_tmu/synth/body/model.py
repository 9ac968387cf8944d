"""SynthBody posed in numpy: the part of the body model that the picture generator needs, one person at a
time.

smplx's own class is the reference; a test compares this one with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.spatial.transform import Rotation

from shared_tmu.body_models import load_smplx
from shared_tmu.body_models.smplx_model import EXTRA_VERTICES, KEYPOINTS, NECK, NUM_CONTOUR_TURNS, PARENTS

Array = NDArray[np.float32]
MAX_TURN_DEG = (NUM_CONTOUR_TURNS - 1) // 2  # beyond it the face's contour moves no further
_NECK_CHAIN = (NECK, 9, 6, 3, 0)  # and the joints below it


@dataclass(frozen=True)
class BodyPose:
    """The pose of a person: axis-angles in radians.

    Attributes:
        root: global orientation, `[3]`.
        body: joints 1..21, `[21, 3]`.
        left_hand, right_hand: finger joints with the mean pose included, `[15, 3]`.
        jaw: `[3]`.
    """

    root: Array
    body: Array
    left_hand: Array
    right_hand: Array
    jaw: Array

    def every(self) -> Array:
        """All 55 joints, `[55, 3]`; the eyes look straight ahead."""
        eyes = np.zeros((2, 3), np.float32)
        parts = (self.root[None], self.body, self.jaw[None], eyes, self.left_hand, self.right_hand)
        return np.asarray(np.concatenate(parts), np.float32)


@dataclass(frozen=True)
class PosedBody:
    """A person in space, metres.

    Attributes:
        vertices: `[10475, 3]`.
        joints: joints of the kinematic tree, `[55, 3]`.
        keypoints: SMPLest-X's, `[137, 3]`.
    """

    vertices: Array
    joints: Array
    keypoints: Array

    def moved(self, shift: Array) -> PosedBody:
        """The same person elsewhere, `shift` `[3]` metres."""
        return PosedBody(self.vertices + shift, self.joints + shift, self.keypoints + shift)


class BodyGeometry:
    """Arrays of the body-model file, sparse where they are, and linear blend skinning."""

    def __init__(self, path: Path | None = None) -> None:
        body = load_smplx(path)
        self.template: Array = body.v_template.astype(np.float32)
        self.faces: NDArray[np.int32] = body.faces.astype(np.int32)
        count = len(self.template)
        directions = np.concatenate([body.shapedirs, body.exprdirs], axis=2)
        self.directions: Array = directions.reshape(3 * count, -1).astype(np.float32)
        self.pose_directions = csr_matrix(body.posedirs.reshape(3 * count, -1).astype(np.float32))
        self.weights = csr_matrix(body.weights.astype(np.float32))
        self.regressor = csr_matrix(body.J_regressor.astype(np.float32))
        self.mean_hands: tuple[Array, Array] = (
            body.hands_meanl.reshape(15, 3).astype(np.float32),
            body.hands_meanr.reshape(15, 3).astype(np.float32),
        )
        self.part_of_vertex: NDArray[np.int64] = body.weights.argmax(1).astype(np.int64)
        self.landmarks = (self.faces[body.lmk_faces_idx], body.lmk_bary_coords.astype(np.float32))
        contour = self.faces[body.dynamic_lmk_faces_idx]
        self.contours = (contour, body.dynamic_lmk_bary_coords.astype(np.float32))

    def pose(self, pose: BodyPose, betas: Array, expression: Array) -> PosedBody:
        """Pose the person.

        Args:
            pose: pose of all joints.
            betas: shape, `[10]`.
            expression: `[10]`.
        """
        moved = self.directions @ np.concatenate([betas, expression]).astype(np.float32)
        shaped = self.template + moved.reshape(-1, 3)
        rest = self.regressor @ shaped
        rotmats = Rotation.from_rotvec(pose.every()).as_matrix().astype(np.float32)
        flat = (rotmats[1:] - np.eye(3, dtype=np.float32)).reshape(-1)
        shaped = shaped + (self.pose_directions @ flat).reshape(-1, 3)
        turn, place = np.empty_like(rotmats), np.empty_like(rest)
        turn[0], place[0] = rotmats[0], rest[0]
        for j, parent in enumerate(PARENTS[1:], start=1):
            turn[j] = turn[parent] @ rotmats[j]
            place[j] = place[parent] + turn[parent] @ (rest[j] - rest[parent])
        shift = place - np.einsum("jab,jb->ja", turn, rest)
        blended = self.weights @ np.concatenate([turn.reshape(-1, 9), shift], axis=1)  # [V, 12]
        vertices = np.einsum("vab,vb->va", blended[:, :9].reshape(-1, 3, 3), shaped) + blended[:, 9:]
        return PosedBody(vertices, place, self._keypoints(vertices, place, rotmats))

    def _keypoints(self, vertices: Array, joints: Array, rotmats: Array) -> Array:
        corners, bary = self.landmarks
        fixed = np.einsum("kvc,kv->kc", vertices[corners], bary)
        row = contour_row(rotmats)
        contour = np.einsum("kvc,kv->kc", vertices[self.contours[0][row]], self.contours[1][row])
        every = np.concatenate([joints, vertices[list(EXTRA_VERTICES)], fixed, contour])
        return np.asarray(every[list(KEYPOINTS)], np.float32)


def contour_row(rotmats: Array) -> int:
    """Row of the contour table for joint rotations `[55, 3, 3]`: degrees of the neck's turn, as in smplx."""
    total = np.eye(3)
    for joint in _NECK_CHAIN:
        total = rotmats[joint].astype(np.float64) @ total
    sine = np.hypot(total[0, 0], total[1, 0])
    degrees = round(-float(np.degrees(np.arctan2(-total[2, 0], sine))))
    degrees = max(-MAX_TURN_DEG, min(MAX_TURN_DEG, degrees))
    return degrees if degrees >= 0 else MAX_TURN_DEG - degrees


@lru_cache(maxsize=1)
def synth_body() -> BodyGeometry:
    """The bundled person, read once per process."""
    return BodyGeometry()
