"""FreiHAND v2, evaluation split, in the layout in which it is published.

```
ROOT/evaluation/rgb/%08d.jpg    224 x 224 pictures of right hands, numbered from 0
ROOT/evaluation_K.json          [N, 3, 3]    intrinsics in pixels
ROOT/evaluation_xyz.json        [N, 21, 3]   joints, metres, camera frame, OpenPose order
ROOT/evaluation_verts.json      [N, 778, 3]  vertices, metres, the same frame
```

Source: Zimmermann et al. 2019, "FreiHAND: A Dataset for Markerless Capture of Hand Pose and Shape".
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from shared_tmu.datasets.annotations import read_json_array
from shared_tmu.datasets.hand_meshes import HandMeshSet
from shared_tmu.errors import InputError, MissingAssetError

OFFICIAL_COUNT = 3960
ANNOTATIONS = {
    "evaluation_K.json": (3, 3),
    "evaluation_xyz.json": (21, 3),
    "evaluation_verts.json": (778, 3),
}
IMAGE_FOLDER = Path("evaluation") / "rgb"
_HOME = "https://lmb.informatik.uni-freiburg.de/projects/freihand/"
_log = logging.getLogger(__name__)


def open_freihand(data_dir: Path) -> HandMeshSet:
    """Open FreiHAND's evaluation split under `data_dir`.

    Args:
        data_dir: the unpacked folder itself, or a folder that contains it as `freihand` or under a name that
            begins so (`FreiHAND_pub_v2_eval`).

        Raises:
        MissingAssetError: files are missing; the message says which, where they belong and where they come
            from.
        InputError: a file is damaged, or counts and shapes do not agree.
    """
    root = find_freihand(data_dir)
    opened = read_freihand_layout(root, "freihand", OFFICIAL_COUNT)
    if not opened.is_complete:
        warning = (
            "%s has %d samples, but FreiHAND's evaluation split has %d: results are not comparable with "
            "published ones."
        )
        _log.warning(warning, root, len(opened), OFFICIAL_COUNT)
    return opened


def find_freihand(data_dir: Path) -> Path:
    """The folder in `data_dir` with FreiHAND's evaluation split; checks that all files exist, by name.

    Raises:
        MissingAssetError: files are missing; the message says which, where they belong and where they come
            from.
    """
    data_dir = data_dir.expanduser().absolute()
    places = [data_dir, *(p for p in data_dir.parents[:2] if data_dir.name in ("evaluation", "rgb"))]
    if data_dir.is_dir():
        inside = sorted(p for p in data_dir.iterdir() if p.is_dir())
        places += [p for p in inside if p.name.casefold().startswith("freihand")]
    best = min(places, key=lambda place: len(_missing(place)))
    missing = _missing(best)
    if not missing:
        return best
    place = best if len(missing) <= len(ANNOTATIONS) else data_dir / "freihand"
    raise MissingAssetError(
        f"dataset 'freihand' was asked for, but {place} lacks {', '.join(missing)}. "
        f"FreiHAND v2 is free for research: accept its terms and download the evaluation set at {_HOME}. "
        "Then 'scripts/assets.py place freihand' unpacks it, or do so yourself: "
        f"{place / IMAGE_FOLDER / '00000000.jpg'} and {place / 'evaluation_xyz.json'} must exist. "
        "--data_dir names another folder; '--dataset synthhand' needs no files."
    )


def read_freihand_layout(root: Path, name: str, official_count: int | None) -> HandMeshSet:
    """Read a folder in FreiHAND's evaluation layout; the pictures themselves are read later.

    Args:
        root: folder with `evaluation/rgb` and the `evaluation_*.json` files.
        name: canonical name of the set.
        official_count: number of samples of the complete set.

    Raises:
        InputError: a file is damaged, or counts and shapes do not agree.
    """
    digest = hashlib.sha256(name.encode())
    arrays = {file: read_json_array(root / file, shape, digest) for file, shape in ANNOTATIONS.items()}
    counts = {file: len(array) for file, array in arrays.items()}
    if len(set(counts.values())) != 1:
        found = ", ".join(f"{file} {count}" for file, count in counts.items())
        raise InputError(
            f"the annotations in {root} belong to different sets, because their numbers of samples differ "
            f"({found}): unpack the dataset again."
        )
    images = _numbered_images(root / IMAGE_FOLDER, counts["evaluation_xyz.json"])
    return HandMeshSet(
        name=name,
        images=images,
        intrinsics=arrays["evaluation_K.json"],
        xyz_m=arrays["evaluation_xyz.json"],
        verts_m=arrays["evaluation_verts.json"],
        fingerprint=digest.hexdigest(),
        official_count=official_count,
    )


def _missing(root: Path) -> list[str]:
    missing = [file for file in ANNOTATIONS if not (root / file).is_file()]
    return missing + ([] if (root / IMAGE_FOLDER).is_dir() else [f"{IMAGE_FOLDER}/00000000.jpg and so on"])


def _numbered_images(folder: Path, count: int) -> tuple[Path, ...]:
    expected = [f"{i:08d}.jpg" for i in range(count)]
    present = {path.name for path in folder.iterdir() if path.suffix == ".jpg"}
    missing = [name for name in expected if name not in present]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise InputError(
            f"{folder} lacks {len(missing)} of {count} pictures: {shown}. Unpack the dataset again."
        )
    if len(present) != count:
        extra = sorted(present.difference(expected))
        raise InputError(
            f"{folder} holds {len(present)} pictures, but the annotations have {count} samples: "
            f"nothing belongs to {extra[0]}."
        )
    return tuple(folder / name for name in expected)
