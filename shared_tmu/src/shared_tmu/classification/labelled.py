"""A set of pictures with one class each, as the evaluation takes it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.classification.crops import Crop
from shared_tmu.datasets.base import Column, Outputs, Placed
from shared_tmu.errors import InputError
from shared_tmu.files import write_text
from shared_tmu.masks import MaskScene, MaskSource

TOP = 5
UNREAD = -1
"""Label of a picture that cannot be read: it is no part of any mean."""
_log = logging.getLogger(__name__)


class Pictures(Protocol):
    """Where the pictures of a set are."""

    def read(self, index: int) -> NDArray[np.uint8]:
        """A picture, RGB, `[H, W, 3]`.

        Raises:
            InputError: it cannot be read.
        """

    def digest(self) -> str:
        """Of everything but the pictures' files."""


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures and their classes.

    Attributes:
        name: of the set.
        images: file of each picture; those of an archive have one file.
        sample_ids: names of the pictures, each once.
        labels: number of each picture's class, among the model's.
        pictures: reads them.
        crop: how they become the model's input.
        kept: see `EvalSet`; another model than a `Classifier` has other outputs.
    """

    name: str
    images: tuple[Path, ...]
    sample_ids: tuple[str, ...]
    labels: tuple[int, ...]
    pictures: Pictures
    crop: Crop
    kept: tuple[str, ...] = ("top", "nll", "label")

    is_upright: ClassVar[bool] = True
    official_count: ClassVar[None] = None
    columns: ClassVar[tuple[Column, ...]] = (
        ("top-1 %", "top1_pct", ".2f"),
        ("top-5 %", "top5_pct", ".2f"),
        ("NLL", "nll", ".4f"),
        ("GFLOPs", "gflops", ".2f"),
    )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def fingerprint(self) -> str:
        """See `EvalSet`."""
        told = json.dumps([self.name, self.sample_ids, self.labels, self.pictures.digest()])
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def groups(self) -> tuple[str, ...]:
        """See `EvalSet`."""
        return self.sample_ids

    @property
    def facts(self) -> dict[str, Any]:
        """See `EvalSet`."""
        return self.crop.facts()

    def head(self, count: int) -> Self:
        """See `EvalSet`."""
        return self.part(slice(count))

    def part(self, rows: slice) -> Self:
        """Some of the pictures."""
        images, names = self.images[rows], self.sample_ids[rows]
        return replace(self, images=images, sample_ids=names, labels=self.labels[rows])

    def load(self, index: int, shift_px: tuple[float, float] = (0.0, 0.0)) -> dict[str, Tensor]:
        """`img` `[3, h, w]` and `label`; black and `UNREAD` if the picture cannot be read, which is said."""
        try:
            img, label = self.crop.cut(self.pictures.read(index)), self.labels[index]
        except InputError as error:
            _log.warning("%s: %s", self.sample_ids[index], error)
            img, label = torch.zeros(3, *self.crop.size), UNREAD
        return {"img": img, "label": torch.tensor(label)}

    def scene(self, index: int, crop: Mapping[str, Tensor], *, with_detector: bool) -> MaskScene:
        """There are no masks of classes."""
        raise InputError(f"{self.name} has no masks: leave --mask out.")

    def lacking(self, source: MaskSource) -> str | None:
        """See `EvalSet`."""
        return "its pictures have classes, but no masks"

    def place(self, outputs: Outputs) -> Placed:
        """See `EvalSet`."""
        return dict(outputs)

    def posture(self, placed: Placed) -> dict[str, NDArray[np.float64]]:
        """Nothing that alignment hides."""
        return {}

    def score(self, placed: Placed) -> LabelScores:
        """See `EvalSet`."""
        return LabelScores.of(placed)

    def shown_px(self, placed: Placed, index: int) -> None:
        """A class is nowhere."""

    def true_px(self, index: int) -> None:
        """A class is nowhere."""

    def write_predictions(self, placed: Placed, folder: Path) -> Path:
        """`predictions.csv`: sample, class, most probable classes, and the loss."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        best = placed["top"].astype(int)
        rows.writerow(["sample", "label", *(f"top{k + 1}" for k in range(best.shape[1])), "nll"])
        for name, label, top, nll in zip(self.sample_ids, placed["label"], best, placed["nll"], strict=True):
            rows.writerow([name, int(label), *top, f"{nll:.6g}"])
        write_text(folder / "predictions.csv", text.getvalue())
        return folder / "predictions.csv"

    def read_predictions(self, path: Path) -> Placed:
        """Predictions are read back from chunks only."""
        raise InputError(f"{path}: prediction files of classes are written, but not scored.")


@dataclass(frozen=True)
class LabelScores:
    """How often the right class is the most probable one, or among the five.

    Attributes:
        per_sample: `top1_pct` and `top5_pct`, 0 or 100, and `nll`, the cross entropy in nats; `[N]` each, NaN
            for pictures that cannot be read.
    """

    per_sample: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, placed: Placed) -> LabelScores:
        """Of the most probable classes `top` `[N, K]`, `label` `[N]` and `nll` `[N]`.

        Raises:
            InputError: predictions that are not finite.
        """
        label, top, nll = placed["label"], placed["top"], placed["nll"].astype(np.float64)
        is_read = label != UNREAD
        if not np.isfinite(nll[is_read]).all():
            raise InputError("the model's outputs are not finite: try --dtype float32.")
        hit = top == label[:, None]
        values = {"top1_pct": 100.0 * hit[:, 0], "top5_pct": 100.0 * hit[:, :TOP].any(axis=1), "nll": nll}
        return cls({name: np.where(is_read, each, np.nan) for name, each in values.items()})

    @property
    def headline(self) -> dict[str, float]:
        """Means over the pictures that can be read, and `unread`, the number of the others."""
        unread = float(np.isnan(self.per_sample["nll"]).sum())
        if unread == len(self.per_sample["nll"]):
            return {**dict.fromkeys(self.per_sample, float("nan")), "unread": unread}
        return {**{name: float(np.nanmean(each)) for name, each in self.per_sample.items()}, "unread": unread}

    def official(self) -> dict[str, float]:
        """See `Scores`."""
        return self.headline

    def as_dict(self) -> dict[str, Any]:
        """See `Scores`."""
        return {name: None if np.isnan(value) else value for name, value in self.headline.items()}

    def scores_txt(self) -> str:
        """See `Scores`."""
        return "".join(f"{name}: {value:.6g}\n" for name, value in self.headline.items())
