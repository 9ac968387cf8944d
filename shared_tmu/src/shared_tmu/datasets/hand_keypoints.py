"""A set of hands with labelled key points in pictures, right and left, cropped and scored as HInt is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.datasets.annotations import boxes_of
from shared_tmu.datasets.base import Column, Outputs, Placed, SetOptions
from shared_tmu.datasets.found import find_subject
from shared_tmu.datasets.hand_input import hand_input
from shared_tmu.datasets.keypoint_files import read_keypoints, write_keypoints
from shared_tmu.masks import SKELETONS, MaskScene, MaskSource
from shared_tmu.metrics import KeypointScores, crop_to_picture, picture_errors, score_hint
from shared_tmu.metrics.hint import EXPAND
from shared_tmu.pictures.hand_crops import hand_crop
from shared_tmu.pictures.images import read_image

SUBSETS = ("all", "vis", "occ")
_FEWEST = 3  # points from which a size is taken


@dataclass(frozen=True)
class HandKeypointSet:
    """An evaluation set of hands, one per sample.

    Args:
        name: canonical name.
        images: one picture per sample, read as stored, whatever its EXIF says.
        center: centres of the boxes, `[N, 2]` pixels.
        size: width and height of the boxes, `[N, 2]` pixels.
        right: whether it is the person's right hand, `[N]`.
        keypoints_px: `[N, 21, 2]`, OpenPose order.
        labelled: which of them count, `[N, 21]` for each of `SUBSETS`.
        fingerprint: digest of the name and all annotations.
        sample_ids: names of the samples.
        official_count: samples of the complete set.
        image_size: side of the model's input, pixels.
        how: where boxes and labels come from, in plain values.
    """

    name: str
    images: tuple[Path, ...]
    center: NDArray[np.float64]
    size: NDArray[np.float64]
    right: NDArray[np.bool_]
    keypoints_px: NDArray[np.float64]
    labelled: Mapping[str, NDArray[np.bool_]]
    fingerprint: str
    sample_ids: tuple[str, ...]
    official_count: int | None = None
    image_size: int = 256
    how: Mapping[str, Any] = field(default_factory=dict)

    kept: ClassVar[tuple[str, ...]] = ("pred_keypoints_2d", "box_center", "box_size", "right")
    is_upright: ClassVar[bool] = False  # the annotations are of pictures as stored
    columns: ClassVar[tuple[Column, ...]] = tuple(
        (f"{subset} @.{percent}", f"pck_{percent}_{subset}", ".3f")
        for subset in SUBSETS
        for percent in ("05", "10", "15")
    )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def facts(self) -> dict[str, Any]:
        """See `EvalSet`."""
        return dict(self.how)

    @property
    def groups(self) -> tuple[str, ...]:
        """See `EvalSet`: hands of a picture are alike."""
        return tuple(map(str, self.images))

    @property
    def unit_px(self) -> NDArray[np.float64]:
        """Longer sides of the boxes, `[N]`."""
        sides: NDArray[np.float64] = self.size.max(axis=1)
        return sides

    def opened_with(self, options: SetOptions) -> HandKeypointSet:
        """The same set, read with a model's settings."""
        return replace(self, image_size=int(getattr(options.config, "image_size", self.image_size)))

    def head(self, count: int) -> HandKeypointSet:
        """The first `count` samples, or all if there are fewer."""
        return self.part(slice(count))

    def part(self, rows: slice) -> HandKeypointSet:
        """Some of the samples."""
        return replace(
            self,
            images=self.images[rows],
            center=self.center[rows],
            size=self.size[rows],
            right=self.right[rows],
            keypoints_px=self.keypoints_px[rows],
            labelled={name: flags[rows] for name, flags in self.labelled.items()},
            sample_ids=self.sample_ids[rows],
        )

    def load(self, index: int, shift_px: tuple[float, float] = (0.0, 0.0)) -> dict[str, Tensor]:
        """One model input: a square crop of twice the longer side, not grown to 192:256, nothing blurred.

        Returns:
            `img` `[3, S, S]` normalised RGB; `box_center` `[2]` and `box_size` `[]` in picture pixels;
            `right` `[]`, 0 for a left hand, whose crop is mirrored; `to_picture` `[2, 3]`.

        Raises:
            InputError: the picture cannot be read.
        """
        image = read_image(self.images[index], upright=self.is_upright).bgr
        box = self._box(index) + np.tile(shift_px, 2)
        crop = hand_crop(
            image,
            box,
            bool(self.right[index]),
            rescale_factor=EXPAND,
            image_size=self.image_size,
            antialias=False,
            aspect=None,
        )
        return hand_input(crop)

    def _box(self, index: int) -> NDArray[np.float64]:
        (box,) = boxes_of(self.center[index : index + 1], self.size[index : index + 1])
        return np.asarray(box)

    def scene(self, index: int, crop: Mapping[str, Tensor], *, with_detector: bool) -> MaskScene:
        """See `EvalSet`. True points are those with a label."""
        x1, y1, x2, y2 = (float(value) for value in self._box(index))
        found = (
            find_subject(self.images[index], (x1, y1, x2, y2), "hand", upright=self.is_upright)
            if with_detector
            else None
        )
        return MaskScene(
            size=(crop["img"].shape[-2], crop["img"].shape[-1]),
            to_picture=crop["to_picture"].numpy(),
            skeleton=SKELETONS["hand"],
            box_xyxy=(x1, y1, x2, y2),
            landmarks_px=None if found is None else found.landmarks_px,
            true_keypoints_px=self.true_px(index),
        )

    def lacking(self, source: MaskSource) -> str | None:
        """See `EvalSet`: there are no meshes."""
        return f"{self.name} has key points only: {source.lacks}" if source.name == "truth" else None

    def place(self, outputs: Outputs) -> Placed:
        """`keypoints_px` `[N, 21, 2]` in the pictures."""
        names = ("pred_keypoints_2d", "box_center", "box_size", "right")
        return {"keypoints_px": crop_to_picture(*(outputs[name] for name in names))}

    def posture(self, placed: Placed) -> dict[str, NDArray[np.float64]]:
        """See `EvalSet`; scale by the labelled points, NaN for hands with fewer than three."""
        names = ("scale_bias_pct", "scale_error_pct", "place_error_pct", "box_overlap_pct")
        rows = {name: np.full(len(self), np.nan) for name in names}
        for index, flags in enumerate(self.labelled["all"]):
            if flags.sum() >= _FEWEST:
                found = picture_errors(placed["keypoints_px"][index, flags], self.keypoints_px[index, flags])
                for name, value in found.items():
                    rows[name][index] = value
        return rows

    def score(self, placed: Placed) -> KeypointScores:
        """See `EvalSet`."""
        points = placed["keypoints_px"]
        return score_hint(points, self.keypoints_px, self.labelled, self.center, self.unit_px, self.right)

    def shown_px(self, placed: Placed, index: int) -> NDArray[np.float64]:
        """See `EvalSet`: the key points."""
        return np.asarray(placed["keypoints_px"][index], np.float64)

    def true_px(self, index: int) -> NDArray[np.float64]:
        """See `EvalSet`: the key points, NaN without a label."""
        return np.where(self.labelled["all"][index][:, None], self.keypoints_px[index], np.nan)

    def write_predictions(self, placed: Placed, folder: Path) -> Path:
        """Write `keypoints.npz`: predictions and labels in picture pixels, boxes, sides."""
        return write_keypoints(
            folder,
            placed["keypoints_px"],
            landmarks_px=self.keypoints_px,
            boxes_xyxy=boxes_of(self.center, self.size),
            is_right=self.right,
            **{f"labelled_{name}": flags for name, flags in self.labelled.items()},
        )

    def read_predictions(self, path: Path) -> Placed:
        """See `EvalSet`."""
        return {"keypoints_px": read_keypoints(path, len(self))}
