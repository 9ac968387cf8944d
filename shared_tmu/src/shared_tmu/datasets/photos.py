"""Hands in any photographs, compared with landmarks of MediaPipe's bundled model; no labels are needed.

The demo's detector finds the hands; its landmark model, which was not used to train any model here, gives
their 21 key points. The metric is `shared_tmu.metrics.landmarks`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.body_models import load_mano, load_mean_params
from shared_tmu.body_models.mano_layer import ManoLayer
from shared_tmu.datasets.base import Column, Outputs, Placed, SetOptions
from shared_tmu.datasets.hand_input import hand_input
from shared_tmu.datasets.keypoint_files import read_keypoints, write_keypoints
from shared_tmu.detect.base import HandBox
from shared_tmu.errors import InputError, MissingAssetError
from shared_tmu.files import printable
from shared_tmu.masks import SKELETONS, MaskScene, MaskSource
from shared_tmu.metrics import picture_errors
from shared_tmu.metrics.hint import crop_to_picture
from shared_tmu.metrics.landmarks import MEAN_HAND, LandmarkScores, score_landmarks
from shared_tmu.models.hand import mano_params
from shared_tmu.pictures.hand_crops import hand_crop
from shared_tmu.pictures.images import read_image

PATTERNS = ("*.jpg", "*.png", "*.webp", "*.bmp", "*.tif", "*.tiff")
_log = logging.getLogger(__name__)
_read = lru_cache(maxsize=1)(read_image)  # hands of one picture are consecutive


@dataclass(frozen=True)
class PhotoHands:
    """Hands that were found in photographs.

    Args:
        images: the picture of each hand.
        boxes: boxes of the hands, left or right, with landmarks.
        mean_hand: key points of the mean right hand, seen from the front, `[21, 2]` in any unit.
        num_pictures: those with and without hands.
        image_size: side of the model's input, pixels.
    """

    images: tuple[Path, ...]
    boxes: tuple[HandBox, ...]
    mean_hand: NDArray[np.float64]
    num_pictures: int
    image_size: int = 256

    name: ClassVar[str] = "photos"
    is_upright: ClassVar[bool] = True
    official_count: ClassVar[None] = None
    kept: ClassVar[tuple[str, ...]] = ("pred_keypoints_2d", "box_center", "box_size", "right")
    columns: ClassVar[tuple[Column, ...]] = (
        ("error/box", "error_box", ".4f"),
        ("PCK@0.1", "pck_10", ".3f"),
        ("PCK@0.15", "pck_15", ".3f"),
        ("PCK@0.2", "pck_20", ".3f"),
        ("PCK@0.2 of the mean hand", "mean_hand_pck_20", ".3f"),
    )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def fingerprint(self) -> str:
        """A digest of the hands that were found; see `picture_signature` for the pictures."""
        told = "\n".join(f"{path.name} {box}" for path, box in zip(self.images, self.boxes, strict=True))
        return hashlib.sha256(told.encode() + self.landmarks_px.tobytes()).hexdigest()

    @property
    def landmarks_px(self) -> NDArray[np.float64]:
        """Landmarks of all hands, `[N, 21, 2]` picture pixels, OpenPose order."""
        return np.stack([box.landmarks_px for box in self.boxes if box.landmarks_px is not None])

    @property
    def facts(self) -> dict[str, Any]:
        """How many pictures there are and have hands, and which detector found them."""
        found = {"pictures": self.num_pictures, "pictures_with_hands": len(set(self.images))}
        return {**found, "landmarks": "mediapipe"}

    @property
    def groups(self) -> tuple[str, ...]:
        """See `EvalSet`: hands of a picture are alike."""
        return tuple(map(str, self.images))

    @property
    def unit_px(self) -> NDArray[np.float64]:
        """Longer sides of the boxes, `[N]`."""
        corners = np.array([box.box_xyxy for box in self.boxes])
        sides: NDArray[np.float64] = (corners[:, 2:] - corners[:, :2]).max(axis=1)
        return sides

    def head(self, count: int) -> PhotoHands:
        """The first `count` hands, or all if there are fewer."""
        return self.part(slice(count))

    def part(self, rows: slice) -> PhotoHands:
        """Some of the hands."""
        return replace(
            self,
            images=self.images[rows],
            boxes=self.boxes[rows],
        )

    def load(self, index: int, shift_px: tuple[float, float] = (0.0, 0.0)) -> dict[str, Tensor]:
        """One model input, cropped as the demo does.

        Returns:
            `img` `[3, S, S]` normalised RGB; `box_center` `[2]` and `box_size` `[]` in picture pixels;
            `right` `[]`, 0 for a left hand, whose crop is mirrored; `to_picture` `[2, 3]`.

        Raises:
            InputError: the picture cannot be read.
        """
        box = self.boxes[index]
        image = _read(self.images[index]).bgr
        corners = np.add(box.box_xyxy, np.tile(shift_px, 2))
        return hand_input(hand_crop(image, corners, box.is_right, image_size=self.image_size))

    def scene(self, index: int, crop: Mapping[str, Tensor], *, with_detector: bool) -> MaskScene:
        """See `EvalSet`. The landmarks are the same that score the predictions; results record this."""
        del with_detector  # they are there
        box = self.boxes[index]
        size = (crop["img"].shape[-2], crop["img"].shape[-1])
        return MaskScene(
            size, crop["to_picture"].numpy(), SKELETONS["hand"], box.box_xyxy, landmarks_px=box.landmarks_px
        )

    def lacking(self, source: MaskSource) -> str | None:
        """See `EvalSet`."""
        return f"photographs have no ground truth: {source.lacks}" if source.of_truth else None

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """The picture of each hand, and which of its hands it is."""
        seen: dict[str, int] = {}
        names = []
        for path in self.images:
            seen[path.name] = seen.get(path.name, 0) + 1
            names.append(f"{printable(path.name)}#{seen[path.name]}")
        return tuple(names)

    def posture(self, placed: Placed) -> dict[str, NDArray[np.float64]]:
        """See `EvalSet`; scale from the key points and the landmarks; orientations are unknown."""
        return picture_errors(placed["keypoints_px"], self.landmarks_px)

    def place(self, outputs: Outputs) -> Placed:
        """`keypoints_px` `[N, 21, 2]` in the pictures."""
        names = ("pred_keypoints_2d", "box_center", "box_size", "right")
        return {"keypoints_px": crop_to_picture(*(outputs[name] for name in names))}

    def shown_px(self, placed: Placed, index: int) -> NDArray[np.float64]:
        """See `EvalSet`: the key points."""
        return np.asarray(placed["keypoints_px"][index], np.float64)

    def true_px(self, index: int) -> NDArray[np.float64]:
        """See `EvalSet`: the landmarks."""
        points: NDArray[np.float64] = self.landmarks_px[index]
        return points

    def mean_hands(self) -> NDArray[np.float64]:
        """The control that uses only the boxes: the mean hand, mirrored for left hands, placed in each
        box."""
        placed = []
        for box, unit in zip(self.boxes, self.unit_px, strict=True):
            points = self.mean_hand * np.array([1.0 if box.is_right else -1.0, 1.0])
            low, high = points.min(axis=0), points.max(axis=0)
            corners = np.array(box.box_xyxy)
            middle = (corners[:2] + corners[2:]) / 2
            placed.append((points - (low + high) / 2) * unit / (high - low).max() + middle)
        return np.stack(placed)

    def score(self, placed: Placed) -> LandmarkScores:
        """Agreement with the landmarks."""
        controls = {MEAN_HAND: self.mean_hands()}
        return score_landmarks(placed["keypoints_px"], self.landmarks_px, self.unit_px, controls)

    def write_predictions(self, placed: Placed, folder: Path) -> Path:
        """Write `keypoints.npz`: predictions and landmarks in picture pixels, boxes, left or right."""
        return write_keypoints(
            folder,
            placed["keypoints_px"],
            landmarks_px=self.landmarks_px,
            boxes_xyxy=np.array([box.box_xyxy for box in self.boxes]),
            is_right=np.array([box.is_right for box in self.boxes]),
        )

    def read_predictions(self, path: Path) -> Placed:
        """See `EvalSet`."""
        return {"keypoints_px": read_keypoints(path, len(self))}


def find_photos(data_dir: Path) -> list[Path]:
    """Pictures directly in `data_dir`, or in its folder `photos`, sorted by name.

    Raises:
        MissingAssetError: there are none.
    """
    from shared_tmu.pictures.listing import list_images

    for folder in (data_dir.expanduser(), data_dir.expanduser() / "photos"):
        try:
            return [source.path for source in list_images(folder, PATTERNS)]
        except InputError:
            continue
    raise MissingAssetError(
        f"dataset 'photos' was asked for, but neither {data_dir} nor {data_dir / 'photos'} contains pictures "
        f"({' '.join(PATTERNS)}): name a folder of photographs of hands with --data_dir."
    )


def open_photos(data_dir: Path, options: SetOptions) -> PhotoHands:
    """Find the hands of all pictures under `data_dir`.

    Raises:
        MissingAssetError: there are no pictures.
        InputError: pictures cannot be read (the message names all of them), or none shows a hand.
        MissingDependencyError: MediaPipe is not installed.
    """
    from shared_tmu.detect.mediapipe_hands import MediaPipeDetector

    detector = MediaPipeDetector()
    paths, problems = find_photos(data_dir), []
    images: list[Path] = []
    boxes: list[HandBox] = []
    for path in paths:
        try:
            hands = detector.detect(_read(path).bgr, path.name).boxes
        except InputError as error:
            problems.append(str(error))
            continue
        images += [path] * len(hands)
        boxes += hands
    if problems:
        listed = "".join(f"\n  {problem}" for problem in problems)
        raise InputError(f"{len(problems)} of {len(paths)} pictures cannot be read; remove them.{listed}")
    if not images:
        raise InputError(
            f"no hand was found in the {len(paths)} pictures in {paths[0].parent}: name another folder with "
            "--data_dir."
        )
    size = int(getattr(options.config, "image_size", PhotoHands.image_size))
    if without := [printable(path.name) for path in paths if path not in set(images)]:
        told = len(without), len(paths), ", ".join(without)
        _log.warning("photos: no hand was found in %d of %d pictures: %s.", *told)
    return PhotoHands(tuple(images), tuple(boxes), mean_hand(options.body_path), len(paths), size)


def mean_hand(body_path: Path | None = None) -> NDArray[np.float64]:
    """Key points of the mean hand, which an untrained model predicts, seen along its z axis, `[21, 2]`
    metres.
    """
    mean, layer = load_mean_params(), ManoLayer(load_mano(body_path))
    pose, betas = (torch.tensor(values)[None] for values in (mean.pose, mean.shape))
    keypoints = layer(**mano_params(pose, betas)).keypoints
    return np.asarray(keypoints[0, :, :2].double().numpy())
