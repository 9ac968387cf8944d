"""Shards of renders as torch datasets, with the colour and geometry changes applied while reading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.utils.data import Dataset

from shared_tmu.crops import MEAN, STD
from shared_tmu.synth.scene import Difficulty
from shared_tmu.synth.shards import (
    CANONICAL_SCALE_M,
    CELL,
    DEPTH_SCALE_M,
    HAND,
    SHARD,
    Kind,
    make_shards,
    shard_folder,
)

Image = NDArray[np.uint8]  # [256, 192, 3] RGB
Labels = dict[str, NDArray[Any]]  # one sample's labels as a shard holds them
HEIGHT, WIDTH = 256, 192


class ShardSet(Dataset[dict[str, Tensor]], ABC):
    """Training samples of one kind, seed and difficulty; missing shards are drawn on first use.

    Args:
        cache: folder of the shards.
        seed: names the sequence of scenes.
        count: number of scenes.
        difficulty: how wild they are.
        augment: change colours, turn, shift, cover and cut; off for validation.
        processes: processes that draw what is missing.

    Raises:
        MissingDependencyError: shards are missing, and embreex, which draws them, is not installed.
    """

    kind: Kind = HAND

    def __init__(
        self, cache: Path, seed: int, count: int, difficulty: Difficulty, augment: bool, processes: int = 1
    ) -> None:
        for _ in make_shards(cache, seed, count, difficulty, processes, self.kind):
            pass
        self.folder = shard_folder(cache, seed, difficulty, self.kind)
        self.seed, self.count, self.augment = seed, count, augment
        self._shards: dict[int, Labels] = {}

    def __len__(self) -> int:
        return self.count

    def _shard(self, number: int) -> Labels:
        """All arrays of a shard, read once."""
        if number not in self._shards:
            with np.load(self.folder / f"{number:05d}.npz", allow_pickle=False) as data:
                self._shards[number] = {key: data[key] for key in data.files}
        return self._shards[number]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.count:
            raise IndexError(f"sample {index} was asked for, the set has 0 to {self.count - 1}.")
        shard, i = self._shard(index // SHARD), index % SHARD
        end = shard["end"]
        start = int(end[i - 1]) if i else 0
        decoded = cv2.imdecode(shard["jpeg"][start : int(end[i])], cv2.IMREAD_COLOR)
        image: Image = np.asarray(decoded, np.uint8)[..., ::-1]
        labels = {key: np.asarray(value[i]) for key, value in shard.items() if key not in ("jpeg", "end")}
        if self.augment:
            rng = np.random.default_rng(int(torch.randint(1 << 62, ()).item()))
            image, labels = self.turn(rng, image, labels)
            image = _recolor(rng, image)
            image = _cover(rng, image)
        return self.to_tensors(image, labels)

    @abstractmethod
    def turn(self, rng: np.random.Generator, image: Image, labels: Labels) -> tuple[Image, Labels]:
        """Turn, scale and shift picture and labels alike."""

    @abstractmethod
    def to_tensors(self, image: Image, labels: Labels) -> dict[str, Tensor]:
        """An item of the set."""


class SynthHandSet(ShardSet):
    """Renders of SynthHand.

    Items: `img` `[3, 256, 192]` normalised; `part` `[64, 48]` int64 (0 background); `canonical` `[64, 48, 3]`
    and `depth` `[64, 48]` metres; `keypoints_2d` `[21, 2]` in crops; `keypoints_3d` `[21, 3]` metres, camera
    frame; `global_orient` `[1, 3, 3]`, `hand_pose` `[15, 3, 3]`; `betas` `[10]`.
    """

    def turn(self, rng: np.random.Generator, image: Image, labels: Labels) -> tuple[Image, Labels]:
        """See `ShardSet`."""
        return _turn(rng, image, labels)

    def to_tensors(self, image: Image, labels: Labels) -> dict[str, Tensor]:
        """See `ShardSet`."""
        return _to_tensors(image, labels)


def _turn(rng: np.random.Generator, image: Image, labels: Labels) -> tuple[Image, Labels]:
    """Turn, scale and shift a hand's picture and labels; the hand turns about the ray through its middle."""
    margin = np.array([(HEIGHT - WIDTH) / 2, 0.0])  # of the square crop beside the picture, pixels
    image, labels, move = turn_picture(rng, image, labels)
    points = (labels["keypoints_2d"] + 0.5) * HEIGHT - margin
    points = points @ move[:, :2].T + move[:, 2]
    labels["keypoints_2d"] = ((points + margin) / HEIGHT - 0.5).astype(np.float32)
    return image, labels


def turn_picture(
    rng: np.random.Generator, image: Image, labels: Labels
) -> tuple[Image, Labels, NDArray[np.float64]]:
    """Turn, scale and shift a picture and all labels but the key points in it.

    What is shown turns about the ray through the middle of `keypoints_3d`.

    Returns:
        Picture, labels, and where pixels went, `[2, 3]`.
    """
    degrees = float(np.clip(rng.normal(0.0, 20.0), -60, 60))
    scale, shift = float(np.exp(rng.normal(0.0, 0.10))), rng.normal(0.0, 5.0, 2)
    centre = np.array([WIDTH / 2, HEIGHT / 2])
    radians = np.radians(degrees)
    turn = scale * np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    move = np.concatenate([turn, (centre + shift - turn @ centre)[:, None]], axis=1)
    image = np.asarray(cv2.warpAffine(image, move, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR), np.uint8)
    cells = move * np.array([1.0, 1.0, 1.0 / CELL])
    size = (WIDTH // CELL, HEIGHT // CELL)
    out = dict(labels)
    for key in ("part", "canonical", "depth"):
        out[key] = cv2.warpAffine(labels[key], cells, size, flags=cv2.INTER_NEAREST)
    middle = labels["keypoints_3d"].mean(0)
    about = Rotation.from_rotvec(radians * middle / np.linalg.norm(middle))
    out["keypoints_3d"] = (about.apply(labels["keypoints_3d"] - middle) + middle).astype(np.float32)
    out["root"] = (about * Rotation.from_rotvec(labels["root"])).as_rotvec().astype(np.float32)
    return image, out, move


def _recolor(rng: np.random.Generator, image: Image) -> Image:
    """Gain per channel, contrast and gamma by table; now and then swapped channels or gray."""
    gamma, gain = np.exp(rng.normal(0.0, 0.15)), np.exp(rng.normal(0.0, 0.08, 3) + rng.normal(0.0, 0.15))
    ramp = np.arange(256) / 255.0
    table = np.clip(255.0 * gain * (ramp[:, None] ** gamma), 0, 255).astype(np.uint8)
    out: Image = np.asarray(cv2.LUT(np.ascontiguousarray(image), table[:, None, :]), np.uint8)
    if rng.random() < 0.08:
        gray = np.asarray(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), np.uint8)
        out = np.repeat(gray[..., None], 3, axis=2)
    return out


def _cover(rng: np.random.Generator, image: Image) -> Image:
    """Black bars where a crop leaves its picture, and small covering boxes."""
    out = image.copy()
    kind = rng.random()
    if kind < 0.15:  # a square picture widened to 3:4, as in FreiHAND's evaluation
        out[:32], out[-32:] = 0, 0
    elif kind < 0.30:
        share = int(rng.integers(1, 60))
        side = rng.integers(4)
        rows = slice(0, share) if side == 0 else slice(HEIGHT - share, HEIGHT) if side == 1 else slice(None)
        columns = slice(0, share) if side == 2 else slice(WIDTH - share, WIDTH) if side == 3 else slice(None)
        out[rows, columns] = 0
    if rng.random() < 0.25:
        h, w = rng.integers(10, 50, 2)
        top, left = rng.integers(30, HEIGHT - 30 - h), rng.integers(20, WIDTH - 20 - w)
        out[top : top + h, left : left + w] = rng.integers(0, 256, 3)
    return out


def _to_tensors(image: Image, labels: Labels) -> dict[str, Tensor]:
    """An item of the set; whole numbers of labels become metres, axis-angles rotation matrices."""
    mean, std = (np.array(values, np.float32) * 255.0 for values in (MEAN, STD))
    img = ((image.astype(np.float32) - mean) / std).transpose(2, 0, 1)
    turns = np.concatenate([labels["root"][None], labels["fingers"]])
    rotmats = Rotation.from_rotvec(turns).as_matrix().astype(np.float32)
    keypoints = labels["keypoints_3d"].astype(np.float32)
    return {
        "img": torch.from_numpy(np.ascontiguousarray(img)),
        "part": torch.from_numpy(labels["part"].astype(np.int64)),
        "canonical": torch.from_numpy(labels["canonical"].astype(np.float32) * (CANONICAL_SCALE_M / 127)),
        "depth": torch.from_numpy(labels["depth"].astype(np.float32) * (DEPTH_SCALE_M / 127)),
        "keypoints_2d": torch.from_numpy(np.asarray(labels["keypoints_2d"], np.float32)),
        "keypoints_3d": torch.from_numpy(keypoints),
        "global_orient": torch.from_numpy(rotmats[:1]),
        "hand_pose": torch.from_numpy(rotmats[1:]),
        "betas": torch.from_numpy(np.asarray(labels["betas"], np.float32)),
    }
