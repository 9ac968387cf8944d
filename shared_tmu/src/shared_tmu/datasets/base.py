"""The interface of an evaluation set, of hands or of bodies, for the evaluation runner."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared_tmu.datasets.triangles import faces_of
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
        config: the model's configuration; sets take the size of their crops from it, if it gives one.
        body_path: the body model's file; None for the bundled one.
        tips: see `HandMeshSet`.
        faces: triangles of the mesh that the model predicts, `[F, 3]`; None if there is no model.
    """

    config: Any = None
    body_path: Path | None = None
    tips: str = "model"
    faces: NDArray[np.int64] | None = None

    def for_model(self, model: Any) -> Self:
        """The same for sets that a model is to predict."""
        return replace(self, config=getattr(model, "config", None), faces=faces_of(model))


class Scores(Protocol):
    """The scores that a set computes from predictions."""

    @property
    def headline(self) -> dict[str, float]:
        """The main numbers that papers report, including those in the set's `columns`."""

    @property
    def per_sample(self) -> dict[str, NDArray[np.float64]]:
        """Arrays `[N]`, for paired comparisons of runs."""

    def official(self) -> dict[str, float]:
        """The lines of the score file, by name."""

    def as_dict(self) -> dict[str, Any]:
        """All scores, in plain types."""

    def scores_txt(self) -> str:
        """The score file, in the official format if there is one."""


class EvalSet(Protocol):
    """An evaluation set: pictures, which model outputs to keep for them, and how to score these."""

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
    def is_upright(self) -> bool:
        """Whether pictures are turned as their EXIF says, so that boxes and points are in the turned ones."""

    @property
    def groups(self) -> tuple[str, ...]:
        """What each sample is of: samples of the same picture, clip or sequence are alike and share a name,
        and intervals are drawn over these groups.
        """

    @property
    def fingerprint(self) -> str:
        """A digest of the name and all annotations; see `picture_signature` for the pictures."""

    @property
    def official_count(self) -> int | None:
        """Number of samples of the complete set; None if there is no such number."""

    @property
    def kept(self) -> tuple[str, ...]:
        """Which entries of each batch and each model output must be kept to score and save predictions."""

    @property
    def facts(self) -> dict[str, Any]:
        """How the set is read, in plain values; goes into every result."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The errors that the printed table shows."""

    def __len__(self) -> int: ...

    def head(self, count: int) -> Self:
        """The first `count` samples, or all if there are fewer."""

    def part(self, rows: slice) -> Self:
        """Some of the samples."""

    def load(self, index: int, shift_px: tuple[float, float] = (0.0, 0.0)) -> dict[str, Tensor]:
        """One model input: `img`, and `to_picture` `[2, 3]`, which maps its pixels to those of the picture.

        Args:
            index: number of the sample.
            shift_px: (x, y) by which the subject's box is moved in the picture first.

        Raises:
            InputError: the picture cannot be read, or not completely.
        """

    def scene(self, index: int, crop: Mapping[str, Tensor], *, with_detector: bool) -> MaskScene:
        """What the masks of a sample can be drawn from.

        Args:
            index: number of the sample.
            crop: the result of `load` for it.
            with_detector: also let the demo's detector look for the subject, which is slow.

        Raises:
            InputError: the picture cannot be read.
        """

    def lacking(self, source: MaskSource) -> str | None:
        """Why no sample of this set can have this mask; None if some can."""

    def place(self, outputs: Outputs) -> Placed:
        """What models say of all samples, the `kept` arrays, as predictions of this set."""

    def posture(self, placed: Placed) -> dict[str, NDArray[np.float64]]:
        """Errors that alignment hides, `[N]` each, see `shared_tmu.metrics.posture`; those that can be
        computed.
        """

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


def group_numbers(groups: Sequence[str]) -> tuple[int, ...]:
    """Groups as numbers, from 0 in the order in which they appear."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
    return tuple(numbers[name] for name in groups)


def picture_signature(images: Sequence[Path]) -> str:
    """A digest that changes when a picture is replaced by one with another name or content.

    Raises:
        InputError: a picture cannot be read; the message names it.
    """
    listing = "\n".join(f"{path.name} {_content_sha256(path, _state(path))}" for path in images)
    return hashlib.sha256(listing.encode(errors="surrogateescape")).hexdigest()


def set_sha256(data: EvalSet) -> str:
    """A digest of everything in a set: annotations and pictures.

    Raises:
        InputError: a picture cannot be read; the message names it.
    """
    return hashlib.sha256(f"{data.fingerprint} {picture_signature(data.images)}".encode()).hexdigest()


@cache
def _content_sha256(path: Path, state: tuple[int, int]) -> str:
    """SHA-256 of a picture file; the file is read only once per process, unless its `state` changes."""
    with PictureFile.open(path) as file:
        return file.sha256()


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:  # opening it raises the error
        return 0, 0
    return found.st_size, found.st_mtime_ns
