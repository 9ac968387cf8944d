"""Sets of labelled pictures: folders as ImageNet's, Fashion-MNIST's files, and scikit-learn's digits."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared_tmu.classification.arrays import DIGITS_FILE, ArrayPictures, IdxFiles, read_digits
from shared_tmu.classification.class_names import number_classes
from shared_tmu.classification.crops import Crop
from shared_tmu.classification.labelled import LabelledPictures
from shared_tmu.errors import InputError, MissingAssetError
from shared_tmu.files import printable
from shared_tmu.pictures.images import read_image
from shared_tmu.pictures.listing import find_files

SPLITS = {
    "train": ("train", "training"),
    "test": ("val", "valid", "validation", "test", "testing", "eval", "dev"),
}
"""Names of subfolders with the pictures to learn from, and those to be judged by, in any case; the first that
is there is taken."""
FASHION, DIGITS = "fashion-mnist", "digits"
DATA_HELP = (
    "a folder with one subfolder of pictures per class (or with train and val, each of which has them), "
    f"{FASHION}, a folder with Fashion-MNIST's four files, or {DIGITS}"
)
_FASHION_PLACES = (Path("/usr/share/datasets/fashion-mnist"), Path("data/fashion-mnist"))
_FASHION_CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_FASHION_LABELS = ((9, 0, 0, 3, 0, 2, 7, 2, 5, 5), (9, 2, 1, 1, 6, 1, 4, 6, 5, 7))
"""The first labels for training and for testing, by which its files are known in any folder."""
_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm",
    ".pbm", ".pnm", ".avif", ".heic", ".heif", ".jp2", ".qoi", ".tga", ".pcx",
)  # fmt: skip
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledSource:
    """Labelled pictures before it is known which of a model's classes theirs are.

    Attributes:
        name: of the set.
        classes: their names, in order.
        images, sample_ids, pictures: see `LabelledPictures`.
        labels: class of each picture, a number in `classes`.
        problems: sentences on files that cannot be read, and are left out.
    """

    name: str
    classes: tuple[str, ...]
    images: tuple[Path, ...]
    sample_ids: tuple[str, ...]
    labels: tuple[int, ...]
    pictures: FilePictures | ArrayPictures
    problems: tuple[str, ...] = ()

    def labelled(
        self, crop: Crop, num_classes: int, known: Mapping[str, int] | Sequence[str] | None = None
    ) -> LabelledPictures:
        """The set for a model.

        Args:
            crop: how pictures become the model's input.
            num_classes: outputs of the model.
            known: names of its classes, see `class_names.number_classes`.

        Raises:
            InputError: a class that the model does not have.
        """
        numbers = number_classes(self.classes, known, num_classes)
        labels = tuple(numbers[self.classes[label]] for label in self.labels)
        return LabelledPictures(self.name, self.images, self.sample_ids, labels, self.pictures, crop)


@dataclass(frozen=True)
class FilePictures:
    """Pictures that are files."""

    paths: tuple[Path, ...]

    def read(self, index: int) -> NDArray[np.uint8]:
        """See `labelled.Pictures`."""
        return np.ascontiguousarray(read_image(self.paths[index]).bgr[:, :, ::-1])

    def digest(self) -> str:
        """The files have digests of their own."""
        return ""


def find_source(data: str, split: str) -> LabelledSource:
    """The pictures that `--data` names.

    Args:
        data: see `DATA_HELP`.
        split: `train` or `test`.

    Raises:
        MissingAssetError: they are not there; the message says how to get them.
        InputError: there are no pictures, or files are damaged.
    """
    if not data.strip():
        raise InputError(f"--data is empty: name {DATA_HELP}.")
    if data == DIGITS:
        return _digits(split)
    if data == FASHION:
        places = [place for place in _FASHION_PLACES if IdxFiles.are_in(place)]
        if not places:
            raise MissingAssetError(
                f"Fashion-MNIST is not in {_FASHION_PLACES[0]}: apt-get install dataset-fashion-mnist, or "
                "name the folder with its four files: --data FOLDER."
            )
        return _idx(FASHION, places[0], split)
    folder = Path(data)
    if not folder.is_dir():
        raise MissingAssetError(f"--data {data} is no folder: name {DATA_HELP}.")
    if IdxFiles.are_in(folder):
        return _idx(_name_of(folder), folder, split)
    return _folder(folder, split)


def _folder(folder: Path, split: str) -> LabelledSource:
    root = _split_folder(folder, split)
    try:
        classes = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    except OSError as error:
        raise InputError(f"--data {root} cannot be read ({error.strerror}).") from error
    paths, labels, problems = [], [], []
    files_of = []
    for name in classes:
        found, unread = picture_files(root / name)
        files_of.append(found)
        problems += unread
    for row in zip_longest(*files_of):  # in turn, so that the first few are of all classes
        for number, path in enumerate(row):
            if path is None:
                continue
            if path.is_file() and os.access(path, os.R_OK):
                paths.append(path)
                labels.append(number)
            else:
                problems.append(f"{printable(path.relative_to(root).as_posix())} cannot be read")
    if not paths:
        told = "; ".join(problems[:3])
        raise InputError(
            f"--data {folder} has no pictures in subfolders{told and f' ({told})'}: expected {DATA_HELP}."
        )
    if empty := [name for name, files in zip(classes, files_of, strict=True) if not files]:
        _log.warning(
            "%s: %d of %d classes have no pictures: %s.", root, len(empty), len(classes), ", ".join(empty[:5])
        )
    ids, files = tuple(printable(path.relative_to(root).as_posix()) for path in paths), tuple(paths)
    return LabelledSource(
        _name_of(folder), classes, files, ids, tuple(labels), FilePictures(files), tuple(problems)
    )


def _split_folder(folder: Path, split: str) -> Path:
    """The folder of the classes: a subfolder named as a split, or the folder itself.

    Raises:
        InputError: it cannot be read, or has another split only, which is no class.
    """
    try:
        inside = {path.name.casefold(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    except OSError as error:
        raise InputError(f"--data {folder} cannot be read ({error.strerror}).") from error
    chosen = next((inside[name] for name in SPLITS[split] if name in inside), None)
    if chosen is not None:
        return chosen
    if split == "train":
        raise InputError(f"--data {folder} has no subfolder train: there is nothing to learn from.")
    others = [inside[name] for name in SPLITS["train"] if name in inside and _has_folders(inside[name])]
    if others:
        raise InputError(
            f"--data {folder} has {others[0].name} with a folder per class, but no pictures to be judged by: "
            f"expected one of {', '.join(SPLITS[split])} beside it. If they are to be used, name "
            f"{others[0]}."
        )
    return folder


def _has_folders(folder: Path) -> bool:
    try:
        return any(path.is_dir() for path in folder.iterdir())
    except OSError:
        return False


def picture_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Files with the suffixes of pictures, also in folders below and in linked ones, without hidden ones; and
    sentences on folders that cannot be read."""
    names, problems = find_files(folder, _SUFFIXES)
    return [folder / name for name in names], problems


def _name_of(folder: Path) -> str:
    """Name of a set, for files: the folder's, without `val` or `train`."""
    place = folder.resolve()
    splits = [name for names in SPLITS.values() for name in names]
    name = place.parent.name if place.name.casefold() in splits else place.name
    return re.sub(r"[^\w.-]", "_", name) or "pictures"


def _idx(name: str, folder: Path, split: str) -> LabelledSource:
    files = IdxFiles(folder, "train" if split == "train" else "t10k")
    pictures, labels = files.read()
    count = max(labels) + 1
    is_fashion = labels[:10] in _FASHION_LABELS  # its files have the names of MNIST's
    name, classes = (FASHION, _FASHION_CLASSES) if is_fashion else (name, tuple(map(str, range(count))))
    ids = tuple(f"{files.prefix}-{index:05d}" for index in range(len(labels)))
    return LabelledSource(name, classes, (files.images,) * len(labels), ids, labels, pictures)


def _digits(split: str) -> LabelledSource:
    spec = find_spec("sklearn")
    places = (
        [Path(folder) / DIGITS_FILE for folder in (spec.submodule_search_locations or ())] if spec else []
    )
    found = [place for place in places if place.is_file()]
    if not found:
        raise MissingAssetError(
            "--data digits are those of scikit-learn, which is not installed: pip install scikit-learn."
        )
    pictures, labels, numbers = read_digits(found[0], split)
    ids = tuple(f"digit-{number:04d}" for number in numbers)
    names = tuple(map(str, range(10)))
    return LabelledSource(DIGITS, names, (found[0],) * len(labels), ids, labels, pictures)
