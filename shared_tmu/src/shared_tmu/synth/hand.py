"""SynthHand posed in numpy: the part of the body model that the picture generator needs, one hand at a time.

The torch layer of `shared_tmu.body_models` is the reference; a test compares this one with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from shared_tmu.body_models.mano import FINGERTIPS, OPENPOSE_JOINTS, SYNTHHAND, load_mano

Array = NDArray[np.float32]


@dataclass(frozen=True)
class PosedHand:
    """A hand in space, metres.

    Attributes:
        vertices: `[778, 3]`.
        keypoints: in OpenPose order, `[21, 3]`.
        bone_rotmats: how each joint's bone is turned from rest, `[16, 3, 3]`.
    """

    vertices: Array
    keypoints: Array
    bone_rotmats: Array


class HandGeometry:
    """Arrays of the body-model file and linear blend skinning."""

    def __init__(self, path: Path = SYNTHHAND) -> None:
        mano = load_mano(path)
        self.template: Array = mano.v_template.astype(np.float32)
        self.faces: NDArray[np.int32] = mano.faces.astype(np.int32)
        self.regressor: Array = mano.J_regressor.astype(np.float32)
        self.weights: Array = mano.weights.astype(np.float32)
        self.shape_directions: Array = mano.shapedirs.astype(np.float32)
        self.pose_directions: Array = mano.posedirs.astype(np.float32)
        self.mean_pose: Array = mano.hands_mean.astype(np.float32)
        self.parents: list[int] = [int(p) for p in mano.parents]
        self.part_of_vertex: NDArray[np.int64] = self.weights.argmax(1)
        self.rim: NDArray[np.int64] = self._ordered_rim()

    def _ordered_rim(self) -> NDArray[np.int64]:
        """Vertices around the open wrist, in walking order."""
        half = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]])
        edges = {(int(a), int(b)) for a, b in half}
        following = {a: b for a, b in edges if (b, a) not in edges}
        walk = [min(following)]
        while len(walk) < len(following):
            walk.append(following[walk[-1]])
        return np.array(walk)

    def pose(self, root: Array, fingers: Array, betas: Array) -> PosedHand:
        """Pose the hand.

        Args:
            root: global orientation, axis-angle `[3]` radians.
            fingers: rotations of the finger joints, axis-angle `[15, 3]` radians.
            betas: shape, `[10]`.
        """
        shaped = self.template + self.shape_directions @ betas
        joints = self.regressor @ shaped
        turns = np.concatenate([root[None], fingers])
        rotmats = Rotation.from_rotvec(turns).as_matrix().astype(np.float32)
        flat = (rotmats[1:] - np.eye(3, dtype=np.float32)).reshape(-1)
        posed = shaped + self.pose_directions @ flat
        turn = np.empty((16, 3, 3), np.float32)
        place = np.empty((16, 3), np.float32)
        turn[0], place[0] = rotmats[0], joints[0]
        for j in range(1, 16):
            p = self.parents[j]
            turn[j] = turn[p] @ rotmats[j]
            place[j] = place[p] + turn[p] @ (joints[j] - joints[p])
        shift = place - np.einsum("jab,jb->ja", turn, joints)
        blended = (self.weights @ turn.reshape(16, 9)).reshape(-1, 3, 3)
        vertices = np.einsum("vab,vb->va", blended, posed) + self.weights @ shift
        points = np.concatenate([place, vertices[list(FINGERTIPS)]])[list(OPENPOSE_JOINTS)]
        return PosedHand(vertices.astype(np.float32), points.astype(np.float32), turn)


@lru_cache(maxsize=1)
def synth_hand() -> HandGeometry:
    """The bundled hand, read once per process."""
    return HandGeometry()


def vertex_normals(vertices: Array, faces: NDArray[np.int32]) -> Array:
    """Area-weighted unit normals of vertices `[V, 3]` under faces `[F, 3]`, `[V, 3]`."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    per_face = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for i in range(3):
        for axis in range(3):
            out[:, axis] += np.bincount(faces[:, i], per_face[:, axis], minlength=len(vertices))
    return np.asarray(out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12))
