"""Shards of renders as torch datasets, with the colour and geometry changes applied while reading.

The loader's processes do little work: they return small integers, and `unpack` converts a batch of these into
the inputs of the losses, on the device of the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from shared_tmu.pictures.geometry import axis_angle_to_rotmat
from shared_tmu.pictures.hand_crops import MEAN, STD
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
from shared_tmu.training.npz_mmap import map_arrays

Image = NDArray[np.uint8]  # [256, 192, 3], BGR until `unpack`
Labels = dict[str, NDArray[Any]]  # one sample's labels in the form of a shard
HEIGHT, WIDTH = 256, 192
TURN_DEG = 45.0  # hands have all orientations


class ShardSet(Dataset[dict[str, Tensor]], ABC):
    """Training samples of one kind, seed and difficulty.

    Args:
        cache: folder of the shards.
        seed: selects the sequence of scenes.
        count: number of scenes.
        difficulty: settings for the difficulty of the scenes.
        augment: change colours, rotate, shift, cover and cut; off for validation.
        processes: number of processes that draw missing shards first; 0 if another object draws them.

    Raises:
        MissingDependencyError: shards are missing, and embreex, which draws them, is not installed.
    """

    kind: Kind = HAND

    def __init__(
        self, cache: Path, seed: int, count: int, difficulty: Difficulty, augment: bool, processes: int = 1
    ) -> None:
        if processes:
            for _ in make_shards(cache, seed, count, difficulty, processes, self.kind):
                pass
        self.folder = shard_folder(cache, seed, difficulty, self.kind)
        self.seed, self.count, self.augment = seed, count, augment
        self._shards: dict[int, Labels] = {}

    def __len__(self) -> int:
        return self.count

    def _shard(self, number: int) -> Labels:
        """All arrays of a shard."""
        if number not in self._shards:
            self._shards[number] = map_arrays(self.folder / f"{number:05d}.npz")
        return self._shards[number]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One sample in the form that the losses need."""
        return self.sample(index, int(torch.randint(1 << 62, ()).item()) if self.augment else None)

    def sample(self, index: int, chance: int | None) -> dict[str, Tensor]:
        """One sample in the form that the losses need; for the arguments, see `packed`."""
        batch = self.unpack({key: value[None] for key, value in self.packed(index, chance).items()})
        return {key: value[0] for key, value in batch.items()}

    def packed(self, index: int, chance: int | None) -> dict[str, Tensor]:
        """One sample for a batch that `unpack` converts.

        Args:
            index: number of the scene.
            chance: seed of the random changes; None makes no changes.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"sample {index} was asked for, but the set has samples 0 to {self.count - 1}.")
        shard, i = self._shard(index // SHARD), index % SHARD
        end = shard["end"]
        start = int(end[i - 1]) if i else 0
        image: Image = np.asarray(
            cv2.imdecode(shard["jpeg"][start : int(end[i])], cv2.IMREAD_COLOR), np.uint8
        )
        labels = {key: np.array(value[i]) for key, value in shard.items() if key not in ("jpeg", "end")}
        if chance is not None:
            rng = np.random.default_rng(chance)
            image, labels = self.turn(rng, image, labels)
            image = cover(rng, recolor(rng, image))
        labels = {"img": image, **self.choose(labels)}
        return {key: torch.from_numpy(value) for key, value in labels.items()}

    @abstractmethod
    def turn(self, rng: np.random.Generator, image: Image, labels: Labels) -> tuple[Image, Labels]:
        """Rotate, scale and shift picture and labels in the same way."""

    @abstractmethod
    def choose(self, labels: Labels) -> Labels:
        """The labels that `unpack` needs."""

    @staticmethod
    @abstractmethod
    def unpack(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert a batch of `packed` samples for the losses, on the same device."""


class SynthHandSet(ShardSet):
    """Renders of SynthHand.

    Items: `img` `[3, 256, 192]` normalised; `part` `[64, 48]` int64 (0 background); `canonical` `[64, 48, 3]`
    and `depth` `[64, 48]` metres; `keypoints_2d` `[21, 2]` in crops; `keypoints_3d` `[21, 3]` metres, camera
    frame; `global_orient` `[1, 3, 3]`, `hand_pose` `[15, 3, 3]`; `betas` `[10]`.
    """

    def turn(self, rng: np.random.Generator, image: Image, labels: Labels) -> tuple[Image, Labels]:
        """See `ShardSet`."""
        return _turn(rng, image, labels)

    def choose(self, labels: Labels) -> Labels:
        """See `ShardSet`."""
        out = {key: labels[key] for key in ("part", "canonical", "depth")}
        out["turns"] = np.concatenate([labels["root"][None], labels["fingers"]]).astype(np.float32)
        for key in ("keypoints_2d", "keypoints_3d", "betas"):
            out[key] = labels[key].astype(np.float32)
        return out

    @staticmethod
    def unpack(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """See `ShardSet`."""
        rotmats = axis_angle_to_rotmat(batch["turns"])
        out = unpack_cells(batch, CANONICAL_SCALE_M, DEPTH_SCALE_M, MEAN, STD)
        del out["turns"]
        return {**out, "global_orient": rotmats[:, :1], "hand_pose": rotmats[:, 1:]}


def unpack_cells(
    batch: dict[str, Tensor],
    canonical_scale_m: float,
    depth_scale_m: float,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> dict[str, Tensor]:
    """A batch with `img` `[B, 3, 256, 192]` RGB, normalised from 0..1, parts as int64 and lengths in metres.

    Other entries are not changed.
    """
    return {
        **batch,
        "img": unpack_images(batch["img"], mean, std),
        "part": batch["part"].long(),
        "canonical": batch["canonical"].float() * (canonical_scale_m / 127),
        "depth": batch["depth"].float() * (depth_scale_m / 127),
    }


def unpack_images(packed: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Convert pictures `[B, H, W, 3]` BGR in whole numbers to `[B, 3, H, W]` RGB, normalised from 0..1."""
    planes = packed.flip(-1).permute(0, 3, 1, 2)
    img = planes.to(torch.float32, memory_format=torch.contiguous_format)
    shift, scale = (img.new_tensor(values)[:, None, None] for values in (mean, std))
    return img.div_(255.0 * scale).sub_(shift / scale)


def _turn(rng: np.random.Generator, image: Image, labels: Labels) -> tuple[Image, Labels]:
    """Rotate, scale and shift a hand's picture and labels; the hand rotates about the ray through its
    middle.
    """
    margin = np.array([(HEIGHT - WIDTH) / 2, 0.0])  # columns of the square crop beside the picture, pixels
    image, labels, move = turn_picture(rng, image, labels, TURN_DEG)
    points = (labels["keypoints_2d"] + 0.5) * HEIGHT - margin
    points = points @ move[:, :2].T + move[:, 2]
    labels["keypoints_2d"] = ((points + margin) / HEIGHT - 0.5).astype(np.float32)
    return image, labels


def random_move(rng: np.random.Generator, turn_deg: float = 20.0) -> tuple[NDArray[np.float64], float]:
    """The map `[2, 3]` that rotates, scales and shifts the pixels of a picture, and the angle of the
    rotation.
    """
    degrees = float(np.clip(rng.normal(0.0, turn_deg), -3 * turn_deg, 3 * turn_deg))
    scale, shift = float(np.exp(rng.normal(0.0, 0.10))), rng.normal(0.0, 5.0, 2)
    centre = np.array([WIDTH / 2, HEIGHT / 2])
    radians = float(np.radians(degrees))
    turn = scale * np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    return np.concatenate([turn, (centre + shift - turn @ centre)[:, None]], axis=1), radians


def turn_picture(
    rng: np.random.Generator, image: Image, labels: Labels, turn_deg: float = 20.0
) -> tuple[Image, Labels, NDArray[np.float64]]:
    """Rotate, scale and shift a picture and all its labels except the 2D key points.

    The subject rotates about the ray through the middle of `keypoints_3d`, by a random angle with standard
    deviation `turn_deg`.

    Returns:
        Picture, labels, and the map of the pixels, `[2, 3]`.
    """
    move, radians = random_move(rng, turn_deg)
    image = np.asarray(cv2.warpAffine(image, move, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR), np.uint8)
    cells = move * np.array([1.0, 1.0, 1.0 / CELL])
    size = (WIDTH // CELL, HEIGHT // CELL)
    out = dict(labels)
    for key in ("part", "canonical", "depth"):
        out[key] = cv2.warpAffine(labels[key], cells, size, flags=cv2.INTER_NEAREST)
    middle = labels["keypoints_3d"].mean(0).astype(np.float64)
    about = cv2.Rodrigues(radians * middle / np.linalg.norm(middle))[0]
    out["keypoints_3d"] = ((labels["keypoints_3d"] - middle) @ about.T + middle).astype(np.float32)
    root = about @ cv2.Rodrigues(labels["root"].astype(np.float64))[0]
    out["root"] = cv2.Rodrigues(root)[0][:, 0].astype(np.float32)  # at most 180 degrees
    return image, out, move


def recolor(rng: np.random.Generator, image: Image) -> Image:
    """Change gain per channel, contrast and gamma by a table; sometimes swap channels or convert to grey."""
    gamma, gain = np.exp(rng.normal(0.0, 0.15)), np.exp(rng.normal(0.0, 0.08, 3) + rng.normal(0.0, 0.15))
    ramp = np.arange(256) / 255.0
    table = np.clip(255.0 * gain * (ramp[:, None] ** gamma), 0, 255).astype(np.uint8)
    out: Image = np.asarray(cv2.LUT(image, table[:, None, :]), np.uint8)
    if rng.random() < 0.08:
        gray = np.asarray(cv2.cvtColor(out, cv2.COLOR_BGR2GRAY), np.uint8)
        out = np.repeat(gray[..., None], 3, axis=2)
    return out


def cover(rng: np.random.Generator, image: Image) -> Image:
    """Add black bars, as where a crop extends beyond its picture, and small boxes that cover parts."""
    out = image.copy()
    kind = rng.random()
    if kind < 0.15:  # a square picture extended to 3:4, as in FreiHAND's evaluation
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
