"""Shards of SynthBody as a torch dataset."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.body_models import load_smplx
from shared_tmu.synth.body.anatomy import MIRROR, SWAP
from shared_tmu.synth.body.model import BodyPose, synth_body
from shared_tmu.synth.body.poses import MIRRORED_TURN
from shared_tmu.synth.body.shards import BODY, CANONICAL_SCALE_M, DEPTH_SCALE_M
from shared_tmu.synth.shards import CELL, Kind
from shared_tmu.training.data import HEIGHT, WIDTH, Image, Labels, ShardSet, turn_picture, unpack_cells

TURN_DEG = 8.0  # people in pictures are upright more often than hands
MIDDLE_PX = np.array([WIDTH / 2, HEIGHT / 2])
_MIRRORED = {
    "root": "root", "body": "body", "jaw": "jaw", "left_hand": "right_hand", "right_hand": "left_hand",
}  # fmt: skip


class SynthBodySet(ShardSet):
    """Renders of SynthBody.

    Items: `img` `[3, 256, 192]` in 0..1; `part` `[64, 48]` int64 (0 background), `canonical` `[64, 48, 3]`
    and `depth` `[64, 48]` metres; `keypoints_2d` `[137, 2]` relative to the middle of the crop, in units of
    its height; `keypoints_3d` `[137, 3]` metres, camera frame; axis-angle vectors for the body layer, `root`
    `[3]`, `body` `[63]`, `left_hand` and `right_hand` `[45]` (without the mean pose), `jaw` `[3]`; `betas`
    `[10]`; `expression` `[10]`.
    """

    kind: Kind = BODY

    def turn(self, rng: np.random.Generator, image: Image, labels: Labels) -> tuple[Image, Labels]:
        """See `ShardSet`."""
        if rng.random() < 0.5:
            image, labels = seen_in_mirror(image, labels)
        image, labels, move = turn_picture(rng, image, labels, TURN_DEG)
        points = labels["keypoints_2d"] * (WIDTH, HEIGHT)
        points = points @ move[:, :2].T + move[:, 2]
        labels["keypoints_2d"] = (points / (WIDTH, HEIGHT)).astype(np.float32)
        return image, labels

    def choose(self, labels: Labels) -> Labels:
        """See `ShardSet`."""
        points = (labels["keypoints_2d"] * (WIDTH, HEIGHT) - MIDDLE_PX) / HEIGHT
        left, right = _mean_hands()
        vectors = {
            "root": _shortest(labels["root"]),
            "body": labels["body"].reshape(-1),
            "left_hand": labels["left_hand"].reshape(-1) - left,
            "right_hand": labels["right_hand"].reshape(-1) - right,
            **{name: labels[name] for name in ("jaw", "betas", "expression", "keypoints_3d")},
            "keypoints_2d": points,
        }
        cells = {name: labels[name] for name in ("part", "canonical", "depth")}
        return cells | {name: np.asarray(value, np.float32) for name, value in vectors.items()}

    @staticmethod
    def unpack(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """See `ShardSet`."""
        return unpack_cells(batch, CANONICAL_SCALE_M, DEPTH_SCALE_M)


def seen_in_mirror(image: Image, labels: Labels) -> tuple[Image, Labels]:
    """The mirrored picture, with the labels of the person in it.

    A person and the mirror image are equally likely, so this doubles the number of people in training.
    """
    last = WIDTH - CELL  # the pixel that the last column of cells describes becomes that of the first
    image = np.pad(image[:, last::-1], ((0, 0), (0, WIDTH - 1 - last), (0, 0)), mode="edge")
    out = dict(labels)
    for key in ("part", "canonical", "depth"):
        out[key] = np.ascontiguousarray(labels[key][:, ::-1])
    part = out["part"]
    out["part"] = np.where(part > 0, 1 + SWAP[np.maximum(part, 1) - 1], 0).astype(part.dtype)
    out["canonical"][..., 0] *= -1
    for key, axis in (("keypoints_2d", last / WIDTH), ("keypoints_3d", 0.0)):
        points = labels[key][keypoint_mirror()].copy()
        points[:, 0] = axis - points[:, 0]
        out[key] = points
    for key, other in _MIRRORED.items():
        out[key] = (labels[other] * MIRRORED_TURN).astype(np.float32)
    out["body"] = out["body"][SWAP[1:22] - 1]
    return image, out


@cache
def keypoint_mirror() -> NDArray[np.int64]:
    """For each of the 137 key points the one on the other side: the nearest to its mirror image."""
    zero = [np.zeros(shape, np.float32) for shape in ((3,), (21, 3), (15, 3), (15, 3), (3,))]
    points = synth_body().pose(BodyPose(*zero), *np.zeros((2, 10), np.float32)).keypoints
    away = np.linalg.norm((points * MIRROR)[:, None] - points[None], axis=-1)
    return np.asarray(away.argmin(1))


def _shortest(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same rotation with an angle of at most 180 degrees."""
    matrix = cv2.Rodrigues(np.asarray(vector, np.float64))[0]
    return np.asarray(cv2.Rodrigues(matrix)[0][:, 0], np.float32)


@cache
def _mean_hands() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    body = load_smplx()
    return body.hands_meanl.astype(np.float32), body.hands_meanr.astype(np.float32)
