"""HO3D v2 and v3, evaluation split, in the layout in which it is published.

```
ROOT/evaluation.txt                      one SEQ/ID per line: the order of the samples
ROOT/evaluation/SEQ/rgb/%04d.png (.jpg)  640 x 480 pictures of right hands with objects
ROOT/evaluation/SEQ/meta/%04d.pkl        camMat, handBoundingBox, handJoints3D (of the wrist only)
ROOT/evaluation_xyz.json                 [N, 21, 3]   joints, metres, OpenGL camera frame, MANO order
ROOT/evaluation_verts.json               [N, 778, 3]  vertices, metres, the same frame
ROOT/ho3d_val.npz                        HaMeR's list of v3, if there: its boxes are taken
```

The last three files may also lie beside ROOT. Source: Hampali et al. 2020, "HOnnotate".
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models.array_pickle import read_array_pickle
from shared_tmu.datasets.annotations import read_box_list, read_json_array
from shared_tmu.datasets.hand_meshes import HandMeshSet
from shared_tmu.datasets.hand_rules import HO3D
from shared_tmu.errors import BodyModelError, InputError, MissingAssetError
from shared_tmu.files import shortened

SAMPLES, XYZ, VERTS, LIST = "evaluation.txt", "evaluation_xyz.json", "evaluation_verts.json", "ho3d_val.npz"
_HOME = "https://github.com/shreyashampali/ho3d"
_META = {"camMat": (3, 3), "handBoundingBox": (4,), "handJoints3D": (3,)}
_WRIST_M = 0.02
_META_BYTES = 1 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ho3dVersion:
    """One of the two published versions.

    Args:
        name: canonical name of the set.
        count: samples of its evaluation split.
        suffix: suffix of its pictures.
    """

    name: str
    count: int
    suffix: str


V2, V3 = Ho3dVersion("ho3d-v2", 11524, ".png"), Ho3dVersion("ho3d-v3", 20137, ".jpg")


@dataclass(frozen=True)
class Ho3dFiles:
    """Where a version's files lie; `boxes` is None without HaMeR's list."""

    root: Path
    xyz: Path
    verts: Path
    boxes: Path | None


def find_ho3d(data_dir: Path, version: Ho3dVersion) -> Ho3dFiles:
    """Find the folder of a version under `data_dir`, by name.

    Args:
        data_dir: the unpacked folder itself, or one that holds it under a name that begins with `ho3d` and
            ends with the version (`ho3d_v2`, `HO3D_v3`, ...).
        version: which.

    Raises:
        MissingAssetError: says which files are missing, where they belong and where they come from.
    """
    data_dir = data_dir.expanduser().absolute()
    number = version.name[-2:]
    inside = sorted(p for p in data_dir.iterdir() if p.is_dir()) if data_dir.is_dir() else []
    named = [p for p in inside if p.name.casefold().startswith("ho3d") and number in p.name.casefold()]
    home = data_dir / f"ho3d_{number}"
    root = next((place for place in (data_dir, *named) if (place / SAMPLES).is_file()), None)
    if root is None:
        raise MissingAssetError(
            f"dataset '{version.name}' was asked for, but neither {data_dir} nor {home} holds {SAMPLES}. "
            f"HO3D is free for research: {_HOME} names the archive, 'scripts/assets.py place "
            f"{home.name}' unpacks it. --data_dir names another folder; '--dataset synthhand' needs no files."
        )
    places = (root, root / "evaluation", root.parent)
    found = {
        name: next((p / name for p in places if (p / name).is_file()), None) for name in (XYZ, VERTS, LIST)
    }
    xyz, verts = found[XYZ], found[VERTS]
    if xyz is None or verts is None:
        missing = " and ".join(name for name in (XYZ, VERTS) if found[name] is None)
        raise MissingAssetError(
            f"dataset '{version.name}' was asked for, but {root} lacks {missing}, the ground truth, which "
            f"has been public since November 2024: {_HOME} links to it."
        )
    return Ho3dFiles(root, xyz, verts, found[LIST] if version is V3 else None)


def open_ho3d(data_dir: Path, version: Ho3dVersion) -> HandMeshSet:
    """Open a version's evaluation split; see `find_ho3d`.

    Raises:
        MissingAssetError: files are missing.
        InputError: a file is damaged, or they do not belong together.
    """
    files = find_ho3d(data_dir, version)
    ids = _read_ids(files.root / SAMPLES)
    digest = hashlib.sha256("\n".join((version.name, *ids)).encode())
    xyz = read_json_array(files.xyz, (21, 3), digest)
    verts = read_json_array(files.verts, (778, 3), digest)
    if not len(ids) == len(xyz) == len(verts):
        raise InputError(
            f"the annotations in {files.root} belong to different sets: {SAMPLES} names {len(ids)} samples, "
            f"{XYZ} has {len(xyz)} and {VERTS} {len(verts)}."
        )
    if len(ids) != version.count:
        warning = "%s holds %d samples, the evaluation split of %s %d: this is not the official table."
        _log.warning(warning, files.root, len(ids), version.name, version.count)
    camera, boxes, wrists = _read_metas(files.root, ids, digest)
    _compare_wrists(files.root, wrists, xyz[:, 0])
    if files.boxes is not None:
        boxes = read_box_list(files.boxes, [f"{_split(i)[0]}/rgb/{_split(i)[1]}.jpg" for i in ids], digest)
    xyz, verts = HO3D.common(xyz, verts)
    return HandMeshSet(
        name=version.name,
        images=_pictures(files.root, ids, version.suffix),
        intrinsics=camera,
        xyz_m=xyz,
        verts_m=verts,
        fingerprint=digest.hexdigest(),
        official_count=version.count,
        rules=HO3D,
        sample_ids=ids,
        boxes_xyxy=boxes,
        wrists_m=wrists * HO3D.signs,
        how={"boxes": LIST if files.boxes else "handBoundingBox", "placed": "given wrist"},
    )


def _read_ids(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="ascii").split()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no list of samples: it is damaged or another file.") from error
    wrong = [line for line in lines if len(parts := line.split("/")) != 2 or not all(map(_is_name, parts))]
    if wrong or not lines or len(set(lines)) != len(lines):
        what = f"'{shortened(wrong[0])}'" if wrong else "an empty list" if not lines else "a sample twice"
        raise InputError(f"{path} must name each sample once, as SEQ/ID in its own line; found {what}.")
    return tuple(lines)


def _compare_wrists(root: Path, given: NDArray[np.float64], true: NDArray[np.float64]) -> None:
    """Say if the metas' wrists `[N, 3]`, where predictions are put, are not those of the truth."""
    apart = np.linalg.norm(given - true, axis=1) > _WRIST_M
    if apart.any():
        warning = (
            "%s: in %d of %d samples, handJoints3D lies more than %g mm from the wrist in %s: the order "
            "of %s, the frame or the unit is another one, and errors without alignment mean nothing."
        )
        _log.warning(warning, root, apart.sum(), len(apart), 1000 * _WRIST_M, XYZ, SAMPLES)


def _is_name(text: str) -> bool:
    return text.replace("_", "a").replace("-", "a").isalnum()


def _split(sample: str) -> tuple[str, str]:
    sequence, _, number = sample.partition("/")
    return sequence, number


def _pictures(root: Path, ids: Sequence[str], suffix: str) -> tuple[Path, ...]:
    """The picture of each sample; either kind is taken, the version's own first."""
    folders = {sequence: root / "evaluation" / sequence / "rgb" for sequence, _ in map(_split, ids)}
    there = {name: {p.name for p in f.iterdir()} if f.is_dir() else set() for name, f in folders.items()}
    suffixes = sorted((".png", ".jpg"), key=lambda kind: kind != suffix)
    paths, missing = [], []
    for sequence, number in map(_split, ids):
        names = [number + kind for kind in suffixes]
        name = next((n for n in names if n in there[sequence]), names[0])
        missing += [] if name in there[sequence] else [f"{sequence}/rgb/{name}"]
        paths.append(folders[sequence] / name)
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise InputError(
            f"{root / 'evaluation'} lacks {len(missing)} of {len(ids)} pictures: {shown}. Unpack it again."
        )
    return tuple(paths)


def _read_metas(
    root: Path, ids: Sequence[str], digest: hashlib._Hash
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Cameras `[N, 3, 3]`, boxes `[N, 4]` and wrists `[N, 3]` (OpenGL frame, metres)."""
    rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name in _META}
    for sequence, number in map(_split, ids):
        path = root / "evaluation" / sequence / "meta" / f"{number}.pkl"
        for name, values in _read_meta(path).items():
            rows[name].append(values)
            digest.update(values.tobytes())
    camera, boxes, wrists = (np.stack(rows[name]) for name in _META)
    return camera, boxes, wrists


def _read_meta(path: Path) -> dict[str, NDArray[np.float64]]:
    try:
        content = read_array_pickle(path, _META_BYTES, _META)
        found = {name: np.asarray(content[name], np.float64) for name in _META}
    except MissingAssetError as error:
        raise InputError(f"{path} is missing; unpack the dataset again.") from error
    except (BodyModelError, KeyError, ValueError, TypeError) as error:
        names = ", ".join(_META)
        raise InputError(f"{path} cannot be read as annotations with {names} ({error}).") from error
    for name, shape in _META.items():
        if found[name].shape != shape or not np.isfinite(found[name]).all():
            raise InputError(f"{path}: {name} must be {shape} finite numbers, found {found[name].shape}.")
    x1, y1, x2, y2 = found["handBoundingBox"]
    if x2 <= x1 or y2 <= y1:
        raise InputError(f"{path}: handBoundingBox {found['handBoundingBox'].tolist()} has no area.")
    return found
