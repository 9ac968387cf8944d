"""Photographs that a user supplies, mixed into the training of hands; MediaPipe finds their key points.

Nothing else is known about these hands, so only their 2D key points are used as labels.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from shared_tmu.datasets.base import SetOptions
from shared_tmu.datasets.photos import PhotoHands, find_photos, open_photos
from shared_tmu.errors import MissingAssetError
from shared_tmu.files import replacing
from shared_tmu.pictures.hand_crops import MEAN, STD, hand_crop
from shared_tmu.pictures.images import read_image
from shared_tmu.synth.shards import CELL, is_there, jpeg
from shared_tmu.training.data import HEIGHT, WIDTH, cover, random_move, recolor, unpack_images
from shared_tmu.training.dense import heat_losses
from shared_tmu.training.module import HandTraining
from shared_tmu.training.npz_mmap import map_arrays
from shared_tmu.training.tasks import Task

VERSION = 1
ROOM = 1.5  # kept crops are this much larger than the demo's, so that rotated crops have no empty corners
PREFIX = "photo_"
_FINGERS = np.arange(1, 21).reshape(5, 4)  # key points of each finger, from the palm outwards
log = logging.getLogger(__name__)


def photo_file(folder: Path, cache: Path) -> Path:
    """The file in which the hands of a folder's photographs are kept; it has another name if the photographs
    change.

    Raises:
        MissingAssetError: the folder has no pictures.
    """
    try:
        stats = [(path, path.stat()) for path in find_photos(folder)]
    except MissingAssetError as error:
        raise MissingAssetError(
            f"photos={folder} was asked for, but neither it nor its folder 'photos' contains pictures: name "
            "a folder of photographs of hands, or leave photos out."
        ) from error
    told = [f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}" for path, stat in stats]
    return cache / f"photos-{hashlib.sha256(repr((VERSION, told)).encode()).hexdigest()[:8]}.npz"


def keep_hands(folder: Path, cache: Path) -> Path:
    """Find the hands in a folder's photographs, unless this was done before and the file is whole, and save
    their crops.

    Raises:
        MissingAssetError: the folder has no pictures.
        InputError: pictures cannot be read (the message names all of them), or none shows a hand.
        MissingDependencyError: MediaPipe is not installed.
    """
    path = photo_file(folder, cache)
    if not is_there(path):
        log.info("looking for hands in the photographs in %s", folder)
        found = open_photos(folder, SetOptions())
        with replacing(path) as beside:
            np.savez(beside, **_arrays(found))
    return path


def _arrays(found: PhotoHands) -> dict[str, NDArray[Any]]:
    """The crops of all hands as consecutive JPEG files, and their labels."""
    files, points, sure = [], [], []
    for picture, box, landmarks in zip(found.images, found.boxes, found.landmarks_px, strict=True):
        image = read_image(picture).bgr
        crop = hand_crop(image, box.box_xyxy, box.is_right, 2.0 * ROOM, round(HEIGHT * ROOM))
        rgb = 255.0 * (crop.img.transpose(1, 2, 0) * np.array(STD) + np.array(MEAN))
        files.append(jpeg(np.rint(rgb).clip(0, 255).astype(np.uint8)))
        inside = ((landmarks >= 0) & (landmarks < image.shape[1::-1])).all(-1)
        sure.append(box.score * inside)
        place = (landmarks - crop.box_center) * ROOM / crop.box_size
        points.append(place * (1.0 if box.is_right else -1.0, 1.0))
    return {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "end": np.cumsum([len(one) for one in files]),
        "keypoints_2d": np.array(points, np.float32),
        "confidence": np.array(sure, np.float32),
        "pictures": np.array(len(set(found.images))),
    }


class PhotoSet(Dataset[dict[str, Tensor]]):
    """Hands in photographs, in the demo's crops.

    Packed items: `photo_img` `[256, 192, 3]` BGR; `photo_part` `[64, 48]`, 1 along the bones;
    `photo_keypoints_2d` `[21, 2]` in crops, and their confidence, `photo_confidence` `[21]`, 0 outside the
    picture.

    Args:
    path: file that `keep_hands` wrote.
    """

    def __init__(self, path: Path) -> None:
        self.arrays = map_arrays(path)

    def __len__(self) -> int:
        return len(self.arrays["end"])

    @property
    def facts(self) -> dict[str, Any]:
        """The numbers of photographs and hands, and the detector that found them."""
        return {"pictures": int(self.arrays["pictures"]), "hands": len(self), "labels": "mediapipe"}

    def packed(self, index: int, chance: int | None) -> dict[str, Tensor]:
        """One hand; `chance` is the seed of the random changes, None makes no changes."""
        rng = np.random.default_rng(chance)
        end, center = self.arrays["end"], HEIGHT * (ROOM - 1) / 2
        start = int(end[index - 1]) if index else 0
        stored = cv2.imdecode(self.arrays["jpeg"][start : int(end[index])], cv2.IMREAD_COLOR)
        move = np.eye(2, 3) if chance is None else random_move(rng)[0]
        margin = np.array([(HEIGHT - WIDTH) / 2, 0.0])
        read = move @ np.array([[1.0, 0.0, -center - margin[0]], [0.0, 1.0, -center], [0.0, 0.0, 1.0]])
        image = np.asarray(cv2.warpAffine(stored, read, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR), np.uint8)
        if chance is not None:
            image = cover(rng, recolor(rng, image))
        points = (self.arrays["keypoints_2d"][index] + 0.5) * HEIGHT - margin
        points = points @ move[:, :2].T + move[:, 2]
        values = {
            "img": image,
            "part": bones(points),
            "keypoints_2d": ((points + margin) / HEIGHT - 0.5).astype(np.float32),
            "confidence": np.array(self.arrays["confidence"][index]),
        }
        return {PREFIX + key: torch.from_numpy(value) for key, value in values.items()}


def bones(points_px: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """The cells of a crop that the lines between a hand's key points `[21, 2]` cross, `[64, 48]` of 0 and
    1.
    """
    cells = np.zeros((HEIGHT // CELL, WIDTH // CELL), np.uint8)
    at = np.rint(points_px / CELL).astype(int).tolist()
    for finger in _FINGERS.tolist():
        for i, j in pairwise([0, *finger]):
            cv2.line(cells, at[i], at[j], (1,), 2)
    return cells


def collate(items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A batch of packed renders and photographs, in separate entries."""
    photos = [item for item in items if PREFIX + "img" in item]
    renders = [item for item in items if PREFIX + "img" not in item]
    batch: dict[str, Tensor] = default_collate(renders)
    if photos:
        batch |= default_collate(photos)
    return batch


def unpack(
    batch: dict[str, Tensor], renders: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Make the inputs of the losses; `renders` unpacks everything except the photographs."""
    photos = {key: value for key, value in batch.items() if key.startswith(PREFIX)}
    out = renders({key: value for key, value in batch.items() if key not in photos})
    if photos:
        photos[PREFIX + "img"] = unpack_images(photos[PREFIX + "img"], MEAN, STD)
        photos[PREFIX + "part"] = photos[PREFIX + "part"].long()
    return out | photos


class PhotoHandTraining(HandTraining):
    """Trains a hand model on batches that may have photographs in addition to renders."""

    LOSSES: ClassVar[frozenset[str]] = HandTraining.LOSSES | {
        PREFIX + name for name in ("heat", "place", "keypoints_2d")
    }

    def losses(self, batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `RegressorTraining`; the output is for the renders only."""
        if PREFIX + "img" not in batch:
            return super().losses(batch)
        count = len(batch["img"])
        both = {key: torch.cat((batch[key], batch[PREFIX + key])) for key in ("img", "part")}
        tokens, read = self.encode(both)
        losses, output = self.compare(tokens[:count], _rows(read, slice(count)), batch)
        photos = slice(count, None)
        found = self.photo_losses(tokens[photos], _rows(read, photos), batch)
        weight = (len(tokens) - count) / count  # every hand has the same weight
        return losses | {PREFIX + key: weight * value for key, value in found.items()}, output

    def photo_losses(
        self, tokens: Tensor, read: dict[str, Any], batch: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Losses of the photographs' key points, for the head and for the patches."""
        truth, sure = batch[PREFIX + "keypoints_2d"], batch[PREFIX + "confidence"]
        distance = (self.model.predict(tokens)["pred_keypoints_2d"] - truth).abs().sum(-1)
        losses = heat_losses(self.dense, read, truth, sure)
        losses["keypoints_2d"] = 8.0 * (distance * sure).sum() / sure.sum().clamp(min=1e-6)
        return losses


def _rows(read: dict[str, Any], rows: slice) -> dict[str, Any]:
    return {key: None if value is None else value[rows] for key, value in read.items()}


def with_photos(task: Task) -> Task:
    """The same task, for batches with photographs."""
    return replace(task, training=PhotoHandTraining)
