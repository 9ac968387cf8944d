"""The interface of an evaluation set, of hands or of bodies, for the evaluation runner."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.masks import MaskScene, MaskSource
from shared_tmu.pictures.images import PictureFile

Outputs = Mapping[str, NDArray[np.float32]]
Placed = dict[str, NDArray[np.floating[Any]]]
"""Predictions as a set scores them and its prediction file holds them, `[N, ...]` each."""
Column = tuple[str, str, str]
"""Title, name in a result line, format: one column of a printed table."""


@dataclass(frozen=True)
class SetOptions:
    """Settings from the command line and the model for reading a set.

    Args:
        config: the model's configuration; sets take the size of their crops from it, if it says.
        body_path: the body model's file; None is the bundled one.
        tips: see `HandMeshSet`.
    """

    config: Any = None
    body_path: Path | None = None
    tips: str = "model"


class Scores(Protocol):
    """The scores that a set computes from predictions."""

    @property
    def headline(self) -> dict[str, float]:
        """The few numbers that papers report, including those in the set's `columns`."""

    @property
    def per_sample(self) -> dict[str, NDArray[np.float64]]:
        """Arrays `[N]`, for comparing runs in pairs."""

    def official(self) -> dict[str, float]:
        """The lines of the score file, by name."""

    def as_dict(self) -> dict[str, Any]:
        """Everything, in plain types."""

    def scores_txt(self) -> str:
        """The score file: official where there is one."""


class EvalSet(Protocol):
    """An evaluation set: pictures, what to keep of a model's outputs for them, and how to score that."""

    @property
    def name(self) -> str:
        """Canonical name."""

    @property
    def images(self) -> tuple[Path, ...]:
        """One picture per sample."""

    @property
    def sample_ids(self) -> tuple[str, ...]:
        """Names of the samples, each once."""

    @property
    def fingerprint(self) -> str:
        """Of the name and all annotations; see `picture_signature` for the pictures."""

    @property
    def official_count(self) -> int | None:
        """Samples of the complete set; None if there is no such number."""

    @property
    def kept(self) -> tuple[str, ...]:
        """What must be kept of each batch and each model output to score and save predictions."""

    @property
    def facts(self) -> dict[str, Any]:
        """How the set is read, in plain values; goes into every result."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Errors that the printed table shows."""

    def __len__(self) -> int: ...

    def head(self, count: int) -> Self:
        """The first `count` samples, or all if there are fewer."""

    def load(self, index: int, shift_px: tuple[float, float] = (0.0, 0.0)) -> dict[str, Tensor]:
        """One model input: `img`, and `to_picture` `[2, 3]`, from pixels of it to those of the picture.

        Args:
            index: of the sample.
            shift_px: (x, y) by which the subject's box is moved in the picture first.

        Raises:
            InputError: the picture cannot be read, or not to its end.
        """

    def scene(self, index: int, crop: Mapping[str, Tensor], *, with_detector: bool) -> MaskScene:
        """What masks for a sample can be drawn from.

        Args:
            index: of the sample.
            crop: what `load` gave for it.
            with_detector: let the demo's detector look for the subject, too, which takes its time.

        Raises:
            InputError: the picture cannot be read.
        """

    def lacking(self, source: MaskSource) -> str | None:
        """Why no sample of this set has this mask; None if some may have it."""

    def place(self, outputs: Outputs) -> Placed:
        """What models say of all samples, the `kept` arrays, as predictions of this set."""

    def posture(self, placed: Placed) -> dict[str, NDArray[np.float64]]:
        """Errors that alignment hides, `[N]` each, as in `shared_tmu.metrics.posture`, as far as they can be
        computed."""

    def score(self, placed: Placed) -> Scores:
        """The official table of these predictions.

        Raises:
            InputError: predictions that must not enter a mean, such as NaN.
        """

    def shown_px(self, placed: Placed, index: int) -> NDArray[np.float64] | None:
        """Where predictions of a sample are in its picture, `[P, 2]` pixels; None if that is not known."""

    def true_px(self, index: int) -> NDArray[np.float64] | None:
        """The same points of the truth; NaN for those that are not known."""

    def write_predictions(self, placed: Placed, folder: Path) -> Path:
        """Write the prediction file, official where there is one; returns its place."""

    def read_predictions(self, path: Path) -> Placed:
        """Predictions from such a file.

        Raises:
            MissingAssetError: there is no such file.
            InputError: it is not one of this set.
        """


def picture_signature(images: Sequence[Path]) -> str:
    """A digest that changes when a picture is replaced by one with another name or content.

    Raises:
        InputError: a picture cannot be read; the message names it.
    """
    listing = "\n".join(f"{path.name} {_content_sha256(path, _state(path))}" for path in images)
    return hashlib.sha256(listing.encode()).hexdigest()


def set_sha256(data: EvalSet) -> str:
    """Of everything in a set: annotations and pictures.

    Raises:
        InputError: a picture cannot be read; the message names it.
    """
    return hashlib.sha256(f"{data.fingerprint} {picture_signature(data.images)}".encode()).hexdigest()


@cache
def _content_sha256(path: Path, state: tuple[int, int]) -> str:
    """Of a picture file; read once in a run, however many runs share it, unless its `state` changes."""
    with PictureFile.open(path) as file:
        return file.sha256()


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:  # opening it says why
        return 0, 0
    return found.st_size, found.st_mtime_ns
