"""Shards of SynthBody as a torch dataset."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.body_models import load_smplx
from shared_tmu.synth.body.shards import BODY, CANONICAL_SCALE_M, DEPTH_SCALE_M
from shared_tmu.synth.shards import Kind
from shared_tmu.training.data import HEIGHT, WIDTH, Image, Labels, ShardSet, turn_picture, unpack_cells

TURN_DEG = 8.0  # people in pictures stand upright more often than hands do
MIDDLE_PX = np.array([WIDTH / 2, HEIGHT / 2])


class SynthBodySet(ShardSet):
    """Renders of SynthBody.

    Items: `img` `[3, 256, 192]` in 0..1; `part` `[64, 48]` int64 (0 background), `canonical` `[64, 48, 3]`
    and `depth` `[64, 48]` metres; `keypoints_2d` `[137, 2]` about the middle of the crop, in heights of it;
    `keypoints_3d` `[137, 3]` metres, camera frame; axis-angles as the body layer takes them, `root` `[3]`,
    `body` `[63]`, `left_hand` and `right_hand` `[45]` (without the mean pose), `jaw` `[3]`; `betas` `[10]`;
    `expression` `[10]`.
    """

    kind: Kind = BODY

    def turn(self, rng: np.random.Generator, image: Image, labels: Labels) -> tuple[Image, Labels]:
        """See `ShardSet`."""
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


def _shortest(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same rotation by at most half a turn."""
    matrix = cv2.Rodrigues(np.asarray(vector, np.float64))[0]
    return np.asarray(cv2.Rodrigues(matrix)[0][:, 0], np.float32)


@cache
def _mean_hands() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    body = load_smplx()
    return body.hands_meanl.astype(np.float32), body.hands_meanr.astype(np.float32)
