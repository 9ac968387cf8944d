"""HInt's test pictures (New Days, EPIC-KITCHENS VISOR, Ego4D), in the layout in which they are published.

```
ROOT/TEST_newdays_img/NAME_l.jpg    one hand each, its side at the end of the name
ROOT/TEST_newdays_img/NAME_l.json   a list with one dictionary: bbox, keypoints, occlusion
ROOT/TEST_newdays_img_all.npz       HaMeR's lists, also _vis and _occ: the hands that published tables count,
                                    their boxes, and which points are labelled
```

Without HaMeR's lists, hands are all pairs of files, and a point is labelled if it lies in the picture and its
occlusion is 0 or 1; such numbers are close to published ones at best, and results say so.

Source: Pavlakos et al. 2024, arXiv:2312.05251.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.datasets.annotations import LARGEST, read_list
from shared_tmu.datasets.hand_keypoints import SUBSETS, HandKeypointSet
from shared_tmu.errors import InputError, MissingAssetError
from shared_tmu.files import is_file, read_limited, shortened
from shared_tmu.pictures.images import PictureFile

_HOME = "https://github.com/ddshan/hint"
_JSON_BYTES = 1 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HintPart:
    """One of the three sources.

    Args:
        folder: its name within folders and lists.
        count: hands that HaMeR's lists hold.
    """

    folder: str
    count: int

    @property
    def name(self) -> str:
        """Canonical name of the set."""
        return f"hint-{self.folder}"

    @property
    def pictures(self) -> str:
        """The folder of its pictures."""
        return f"TEST_{self.folder}_img"


PARTS = (HintPart("newdays", 1753), HintPart("epick", 1906), HintPart("ego4d", 1714))


@dataclass(frozen=True)
class HintFiles:
    """Where a part's pictures lie, and its lists by subset, if they are there."""

    folder: Path
    lists: dict[str, Path] | None


@dataclass(frozen=True)
class _Hands:
    """What the annotations say: see `HandKeypointSet`; `names` of pictures in or beside the folder."""

    names: tuple[str, ...]
    center: NDArray[np.float64]
    size: NDArray[np.float64]
    right: NDArray[np.bool_]
    keypoints_px: NDArray[np.float64]
    labelled: dict[str, NDArray[np.bool_]]


def find_hint(data_dir: Path, part: HintPart) -> HintFiles:
    """Find a part's pictures and lists under `data_dir`, by name.

    Args:
        data_dir: HInt's folder, one that holds it under a name that begins with `hint`, or the folder of
            the part's pictures.
        part: which.

    Raises:
        MissingAssetError: says what is missing, where it belongs and where it comes from.
    """
    data_dir = data_dir.expanduser().absolute()
    inside = sorted(p for p in data_dir.iterdir() if p.is_dir()) if data_dir.is_dir() else []
    roots = [data_dir, *(p for p in inside if p.name.casefold().startswith("hint"))]
    if data_dir.name == part.pictures:
        roots.append(data_dir.parent)
    folder = next((root / part.pictures for root in roots if any((root / part.pictures).glob("*.jpg"))), None)
    if folder is None:
        more = " Ego4D's pictures are under its own licence: HInt's page says how to get them." * (
            part.folder == "ego4d"
        )
        raise MissingAssetError(
            f"dataset '{part.name}' was asked for, but neither {data_dir / part.pictures} nor "
            f"{data_dir / 'hint' / part.pictures} holds pictures. {_HOME} says where HInt is, "
            f"'scripts/assets.py place hint' unpacks it.{more} --data_dir names another folder; "
            "'--dataset synthhand' needs no files."
        )
    names = {subset: f"{part.pictures}_{subset}.npz" for subset in SUBSETS}
    places = (folder.parent, folder, data_dir, folder.parent.parent)
    lists = {
        subset: next((p / name for p in places if is_file(p / name)), None) for subset, name in names.items()
    }
    found = {subset: path for subset, path in lists.items() if path is not None}
    if found and len(found) < len(lists):
        missing = ", ".join(names[subset] for subset in SUBSETS if subset not in found)
        raise MissingAssetError(f"{folder.parent} has lists of {part.name}, but lacks {missing}.")
    return HintFiles(folder, found or None)


def open_hint(data_dir: Path, part: HintPart) -> HandKeypointSet:
    """Open a part of HInt; see `find_hint`.

    Raises:
        MissingAssetError: pictures or lists are missing.
        InputError: a file is damaged, or they do not belong together.
    """
    files = find_hint(data_dir, part)
    digest = hashlib.sha256(part.name.encode())
    if files.lists is None:
        _log.warning(
            "%s has no lists of HaMeR's (%s_all.npz, ...): hands, boxes and labels are read from HInt's own "
            "files, so numbers differ from published ones.", files.folder.parent, part.pictures,
        )  # fmt: skip
        hands = _read_pairs(files.folder, digest)
    else:
        hands = _read_lists(files.lists, digest)
    images = _pictures(files.folder, hands.names)
    if len(images) != part.count:
        warning = "%s holds %d hands, HaMeR's list %d: this is not the official table."
        _log.warning(warning, files.folder, len(images), part.count)
    return HandKeypointSet(
        name=part.name,
        images=images,
        center=hands.center,
        size=hands.size,
        right=hands.right,
        keypoints_px=hands.keypoints_px,
        labelled=hands.labelled,
        fingerprint=digest.hexdigest(),
        sample_ids=tuple(PurePosixPath(name).stem for name in hands.names),
        official_count=part.count,
        how={"annotations": "HInt's files" if files.lists is None else "HaMeR's lists"},
    )


def _read_lists(lists: dict[str, Path], digest: hashlib._Hash) -> _Hands:
    """The three lists of a part, which differ in the labels only."""
    found = {name: read_list(path, ("right", "hand_keypoints_2d"), digest) for name, path in lists.items()}
    first, path = found[SUBSETS[0]], lists[SUBSETS[0]]
    points = np.asarray(first["hand_keypoints_2d"])
    if points.dtype.kind not in "fiu" or points.shape[1:] != (21, 3) or not np.isfinite(points).all():
        raise InputError(f"{path}: hand_keypoints_2d has shape {points.shape}; expected (hands, 21, 3).")
    for name in SUBSETS[1:]:
        other = found[name]
        same = other["hand_keypoints_2d"].shape == points.shape and all(
            np.array_equal(first[key], other[key]) for key in ("imgname", "center", "scale", "right")
        )
        if not same or not np.array_equal(other["hand_keypoints_2d"][..., :2], points[..., :2]):
            raise InputError(f"{lists[name]} and {path} are lists of different hands.")
    names = tuple(map(str, first["imgname"]))
    if len(set(names)) != len(names):
        raise InputError(f"{path} names a picture more than once; HInt has one hand in each.")
    return _Hands(
        names=names,
        center=first["center"],
        size=first["scale"],
        right=np.asarray(first["right"]) > 0,
        keypoints_px=points[..., :2].astype(np.float64),
        labelled={name: found[name]["hand_keypoints_2d"][..., 2] > 0 for name in SUBSETS},
    )


def _read_pairs(folder: Path, digest: hashlib._Hash) -> _Hands:
    """All pairs of a picture and its annotation, sorted by name."""
    found = {kind: {path.stem for path in folder.glob(f"*{kind}")} for kind in (".json", ".jpg")}
    pairs = found[".json"] & found[".jpg"]
    alone = [f"{stem}{kind}" for kind, stems in found.items() for stem in stems - pairs]
    if alone:
        shown = ", ".join(shortened(name) for name in sorted(alone)[:5]) + (", ..." if len(alone) > 5 else "")
        raise InputError(
            f"{folder} must hold pairs of NAME.jpg and NAME.json; {len(alone)} have no partner: {shown}. "
            "Unpack the dataset again."
        )
    paths = sorted(folder.glob("*.json"))
    rows = [_read_pair(path, digest) for path in paths]
    box, points, hidden, seen = (np.stack(column) for column in zip(*rows, strict=True))
    corners = box.reshape(-1, 2, 2)
    return _Hands(
        names=tuple(path.with_suffix(".jpg").name for path in paths),
        center=corners.mean(axis=1),
        size=corners[:, 1] - corners[:, 0],
        right=np.array([path.stem.endswith("_r") for path in paths]),
        keypoints_px=points,
        labelled={"all": hidden | seen, "vis": seen, "occ": hidden},
    )


def _read_pair(path: Path, digest: hashlib._Hash) -> tuple[NDArray[Any], ...]:
    """Box `[4]`, points `[21, 2]`, which of them are hidden and which are seen `[21]`."""
    if path.stem[-2:] not in ("_l", "_r"):
        raise InputError(f"{path} must end in _l or _r, the side of the hand.")
    content = read_limited(path, _JSON_BYTES, InputError)
    digest.update(content)
    try:
        (entry,) = json.loads(content)
        box = np.asarray(entry["bbox"], np.float64).reshape(4)
        points = np.asarray(entry["keypoints"], np.float64).reshape(21, -1)[:, :2]
        occlusion = np.asarray(entry["occlusion"], np.float64).reshape(21)
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise InputError(
            f"{path} cannot be read as a list of one hand with bbox, keypoints and occlusion: {error!r}."
        ) from error
    numbers = np.concatenate((box, points.ravel()))
    if not (np.abs(numbers) <= LARGEST).all() or points.shape != (21, 2) or (box[2:] <= box[:2]).any():
        raise InputError(f"{path}: bbox needs x1 < x2 and y1 < y2, keypoints 21 places, all finite numbers.")
    with PictureFile.open(path.with_suffix(".jpg")) as picture:
        width, height = picture.size_px()
    inside = ((points >= 0) & (points <= np.array((width - 1, height - 1)))).all(axis=1)
    return box, points, (occlusion == 1) & inside, (occlusion == 0) & inside


def _pictures(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """Lists name pictures relative to the folder or to the one above."""
    there = {path.name for path in folder.iterdir()}
    missing = [name for name in names if PurePosixPath(name).name not in there]
    if missing:
        shown = ", ".join(shortened(name) for name in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise InputError(f"{folder} lacks {len(missing)} of {len(names)} pictures: {shown}.")
    return tuple(folder / PurePosixPath(name).name for name in names)
