"""EHF, expressive hands and faces: 100 pictures of one person with registered SMPL-X meshes.

```
ROOT/NN_img.jpg (or .png)   01 .. 100, 1600 x 1200 pixels
ROOT/NN_align.ply           the SMPL-X fit, 10475 vertices, metres, in the scanner's frame
ROOT/EHF.json               boxes, COCO style, by the authors of Hand4Whole; not part of EHF itself
```

Regressors and vertex lists come with SMPL-X: see `body_parts`.

Source: Pavlakos et al. 2019, arXiv:1904.05866.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.body_models import load_smplx
from shared_tmu.datasets.base import SetOptions
from shared_tmu.datasets.body_meshes import BodyMeshSet
from shared_tmu.datasets.body_parts import OFFICIAL_FILES, read_official_parts
from shared_tmu.datasets.ply_meshes import project, read_ply_vertices
from shared_tmu.errors import InputError, MissingAssetError
from shared_tmu.files import is_file, shortened
from shared_tmu.metrics import BodyParts

OFFICIAL_COUNT = 100
LARGEST = 1e6
BOX_FILE = "EHF.json"
MESH_SUFFIX = "_align.ply"
FOCAL_PX, CENTRE_PX = 1498.22426237, (790.263706, 578.90334)
ROTATION_AXIS_ANGLE = (-2.98747896, 0.01172457, -0.05704687)
TRANSLATION_M = (-0.03609917, 0.43416458, 2.37101226)
_HOME = "https://smpl-x.is.tue.mpg.de"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EhfFiles:
    """Paths of EHF and of the files that its evaluation needs."""

    root: Path
    part_files: Mapping[str, Path]


def open_ehf(data_dir: Path, options: SetOptions) -> BodyMeshSet:
    """Open EHF under `data_dir`.

    Args:
        data_dir: EHF's folder itself, or a folder that contains it as `EHF`; regressors and vertex lists lie
            beside it, in it, in `smplx` or beside the body model.
        options: `body_path` must name the neutral SMPL-X model, whose joint regressor the metrics use.

        Raises:
        MissingAssetError: files are missing; the message says which, where they belong and where they come
            from.
        InputError: a file is damaged, or pictures, boxes and meshes do not belong together.
        BodyModelError: a file that comes with SMPL-X does not have the content that its name promises.
    """
    files = find_ehf(data_dir, options)
    body = load_smplx(options.body_path)
    parts = read_official_parts(body, files.part_files)
    how = {"parts": "official"}
    opened = read_ehf_layout(files.root, "ehf", parts, body.faces, ehf_rotation(), OFFICIAL_COUNT, how)
    if len(opened) != OFFICIAL_COUNT:
        warning = "%s has %d samples, but EHF has %d: results are not comparable with published ones."
        _log.warning(warning, files.root, len(opened), OFFICIAL_COUNT)
    if opened.how["boxes"] != BOX_FILE:
        _log.warning(
            "%s has no %s: boxes are made from the true meshes, so numbers differ slightly from published "
            "ones.", files.root, BOX_FILE,
        )  # fmt: skip
    projection = np.repeat(_projection()[None], len(opened), axis=0)
    digest = hashlib.sha256(f"{opened.fingerprint} {parts.sha256()}".encode()).hexdigest()
    return replace(opened, projections=projection, fingerprint=digest).opened_with(options)


def find_ehf(data_dir: Path, options: SetOptions) -> EhfFiles:
    """Find EHF's folder and the files that its evaluation needs, by name.

    Raises:
        MissingAssetError: files are missing; the message says which, where they belong and where they come
            from.
    """
    data_dir = data_dir.expanduser().absolute()
    roots = [data_dir, *(p for p in _folders(data_dir) if p.name.casefold() == "ehf")]
    root = next((place for place in roots if any(place.glob(f"*{MESH_SUFFIX}"))), None)
    if root is None:
        raise MissingAssetError(
            f"dataset 'ehf' was asked for, but neither {data_dir} nor {data_dir / 'EHF'} contains "
            f"01{MESH_SUFFIX}. EHF is free for research after registration at {_HOME}: unpack it to "
            f"{data_dir / 'EHF'}. --data_dir names another folder; '--dataset synthbody' needs no files."
        )
    if options.body_path is None:
        raise MissingAssetError(
            "dataset 'ehf' needs SMPL-X's joint regressor: pass --smplx_path SMPLX_NEUTRAL.npz, which is "
            f"free for research after registration at {_HOME} (scripts/assets.py explain smplx says how)."
        )
    places = [root, data_dir, root.parent, data_dir / "smplx", root.parent / "smplx"]
    places += [options.body_path if options.body_path.is_dir() else options.body_path.parent]
    found = {name: next((p / name for p in places if (p / name).is_file()), None) for name in OFFICIAL_FILES}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise MissingAssetError(
            f"dataset 'ehf' needs {', '.join(missing)}, which are not in {root} or beside the body model. "
            f"They come with SMPL-X and its tools at {_HOME}; put them into {root}."
        )
    return EhfFiles(root, {name: path for name, path in found.items() if path is not None})


def ehf_rotation() -> NDArray[np.float64]:
    """Rotation from the scanner's frame to the camera's, `[3, 3]`; the same for all pictures."""
    vector = np.array(ROTATION_AXIS_ANGLE)
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    cross = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    rotation: NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return rotation


def read_ehf_layout(
    root: Path,
    name: str,
    parts: BodyParts,
    faces: NDArray[np.integer[Any]],
    rotation: NDArray[np.float64],
    official_count: int | None,
    how: Mapping[str, Any],
) -> BodyMeshSet:
    """Read a folder in EHF's layout; pictures and meshes themselves are read later.

    Args:
        root: folder with pictures, meshes and, optionally, `EHF.json`.
        name: canonical name of the set.
        parts: hands, face and joints of its meshes.
        faces: their triangles, `[F, 3]`.
        rotation: rotation from the meshes' frame to the camera's.
        official_count: number of samples of the complete set.
        how: facts for the results; the origin of the boxes is added.

    Raises:
        InputError: a file is damaged, or pictures, boxes and meshes do not belong together.
    """
    path = root / BOX_FILE
    digest = hashlib.sha256(name.encode())
    if path.is_file():
        images, boxes = _read_boxes(path)
        digest.update(path.read_bytes())
    else:
        images = _numbered_pictures(root)
        boxes = np.stack([_box_of_mesh(mesh) for mesh in _meshes_of(images)])
    meshes = _meshes_of(images)
    for mesh in meshes:
        digest.update(mesh.read_bytes())
    source = BOX_FILE if path.is_file() else "projected true vertices"
    return BodyMeshSet(
        name=name,
        images=images,
        boxes_xyxy=boxes,
        meshes=meshes,
        rotation=rotation,
        parts=parts,
        faces=faces.astype(np.int64),
        fingerprint=digest.hexdigest(),
        how={**how, "boxes": source},
        official_count=official_count,
    )


def _folders(place: Path) -> list[Path]:
    return sorted(p for p in place.iterdir() if p.is_dir()) if place.is_dir() else []


def _read_boxes(path: Path) -> tuple[tuple[Path, ...], NDArray[np.float64]]:
    """Pictures and boxes of `EHF.json`, in its order."""
    try:
        content = json.loads(path.read_bytes())
        files = {entry["id"]: str(entry["file_name"]) for entry in content["images"]}
        rows = [(files[entry["image_id"]], entry["body_bbox"]) for entry in content["annotations"]]
        boxes = np.asarray([box for _, box in rows], dtype=np.float64)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read as boxes in COCO style (images with id and file_name, annotations with "
            f"image_id and body_bbox): {error!r}."
        ) from error
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not (np.abs(boxes) <= LARGEST).all():
        raise InputError(
            f"{path}: every body_bbox must be four numbers x, y, width, height up to {LARGEST:,.0f} pixels."
        )
    if (boxes[:, 2:] <= 0).any():
        raise InputError(f"{path}: every body_bbox needs a width and a height above 0.")
    names = [name for name, _ in rows]
    if len(set(names)) != len(names):
        raise InputError(f"{path} lists a picture more than once, but each picture of EHF shows one person.")
    boxes[:, 2:] += boxes[:, :2]
    return tuple(_find_picture(path.parent, name) for name in names), boxes


def _find_picture(root: Path, name: str) -> Path:
    """`file_name` is relative to EHF's folder, or to its parent folder."""
    places = (root / name, root.parent / name, root / Path(name).name)
    found = next((place for place in places if is_file(place)), None)
    if found is None:
        raise InputError(f"{root / BOX_FILE} names the picture {shortened(name)}, which is not in {root}.")
    return found


def _numbered_pictures(root: Path) -> tuple[Path, ...]:
    meshes = sorted(root.glob(f"*{MESH_SUFFIX}"), key=lambda p: (len(p.name), p.name))
    places = [
        [mesh.with_name(f"{_number(mesh)}_img{suffix}") for suffix in (".jpg", ".png")] for mesh in meshes
    ]
    pictures = [next((place for place in pair if place.is_file()), None) for pair in places]
    missing = [pair[0].name for pair, found in zip(places, pictures, strict=True) if found is None]
    if missing:
        raise InputError(f"{root} lacks {len(missing)} of {len(meshes)} pictures: {_first(missing)}.")
    return tuple(picture for picture in pictures if picture is not None)


def _meshes_of(images: Iterable[Path]) -> tuple[Path, ...]:
    meshes = [image.with_name(_number(image) + MESH_SUFFIX) for image in images]
    missing = [mesh.name for mesh in meshes if not mesh.is_file()]
    if missing:
        folder = meshes[0].parent
        raise InputError(f"{folder} lacks {len(missing)} of {len(meshes)} meshes: {_first(missing)}.")
    return tuple(meshes)


def _number(path: Path) -> str:
    return path.name.partition("_")[0]


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _box_of_mesh(mesh: Path) -> NDArray[np.float64]:
    """The box (x1, y1, x2, y2) of a true mesh as EHF's camera sees it."""
    pixels = project(read_ply_vertices(mesh), _projection())
    box: NDArray[np.float64] = np.concatenate((pixels.min(axis=0), pixels.max(axis=0)))
    return box


def _projection() -> NDArray[np.float64]:
    """Projection matrix from the scanner's frame to pixels, `[3, 4]`."""
    camera = np.array(((FOCAL_PX, 0.0, CENTRE_PX[0]), (0.0, FOCAL_PX, CENTRE_PX[1]), (0.0, 0.0, 1.0)))
    projection: NDArray[np.float64] = camera @ np.column_stack((ehf_rotation(), TRANSLATION_M))
    return projection
