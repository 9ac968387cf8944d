"""MediaPipe's two hand models as files, for where MediaPipe itself cannot be installed.

They are looked for in the folder of detector files, as they are or inside of a wheel of MediaPipe; then in an
installed MediaPipe. MediaPipe 0.10.21 is the last version whose wheel holds them. To get it with any Python:

    pip download mediapipe==0.10.21 --no-deps --only-binary=:all: --python-version 3.12 \\
        --platform manylinux_2_28_x86_64 -d DETECTOR_DIR
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from shared_tmu.errors import InputError, MissingAssetError

PALM_FILE = "mediapipe/modules/palm_detection/palm_detection_full.tflite"
HAND_FILE = "mediapipe/modules/hand_landmark/hand_landmark_full.tflite"
SHA256 = {
    PALM_FILE: "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    HAND_FILE: "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
}
"""Of the files that were measured; other models would need other code around them."""

PATTERNS = (*(PurePosixPath(name).name for name in SHA256), "mediapipe-*.whl")
"""What is looked for in the folder."""

VERSION = "0.10.21"
HOW = (
    f"pip download mediapipe=={VERSION} --no-deps --only-binary=:all: --python-version 3.12 "
    "--platform manylinux_2_28_x86_64 -d"
)


@dataclass(frozen=True)
class HandModelFiles:
    """The contents of both files.

    Attributes:
        palm, hand: of the palm model and of the landmark model.
    """

    palm: bytes
    hand: bytes


def find_files(folder: Path | None) -> HandModelFiles | None:
    """Both files from the first place that has them; None if none has.

    Args:
        folder: of detector files; None to look in an installed MediaPipe only.

    Raises:
        InputError: a file is another than the one that was measured, or a wheel cannot be read.
    """
    found = None if folder is None else _plain(folder) or _wheel(folder)
    return found or _installed()


def read_files(folder: Path | None) -> HandModelFiles:
    """Both files.

    Raises:
        MissingAssetError: no place has them.
        InputError: see `find_files`.
    """
    found = find_files(folder)
    if found is None:
        names = " and ".join(PurePosixPath(name).name for name in SHA256)
        raise MissingAssetError(
            f"the litert detector needs {names} in --detector_dir {folder}, or the wheel of MediaPipe that "
            f"holds both: {HOW} {folder}"
        )
    return found


def _plain(folder: Path) -> HandModelFiles | None:
    paths = {name: folder / PurePosixPath(name).name for name in SHA256}
    if not all(path.is_file() for path in paths.values()):
        return None
    return _checked({name: path.read_bytes() for name, path in paths.items()}, str(folder))


def _wheel(folder: Path) -> HandModelFiles | None:
    for path in sorted(folder.glob(PATTERNS[-1])):
        try:
            with zipfile.ZipFile(path) as wheel:
                if not set(SHA256) <= set(wheel.namelist()):
                    continue
                return _checked({name: wheel.read(name) for name in SHA256}, str(path))
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} cannot be read as a wheel ({error}): download it again.") from error
    return None


def has_mediapipe() -> bool:
    """Whether a MediaPipe is installed that holds the models, and so its graphs; it is not imported."""
    return _root() is not None


def _root() -> Path | None:
    """Folder of such a MediaPipe."""
    spec = find_spec("mediapipe")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parents[1]
    return root if all((root / name).is_file() for name in SHA256) else None


def _installed() -> HandModelFiles | None:
    root = _root()
    if root is None:
        return None
    return _checked({name: (root / name).read_bytes() for name in SHA256}, str(root))


def _checked(contents: dict[str, bytes], where: str) -> HandModelFiles:
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            raise InputError(
                f"{PurePosixPath(name).name} in {where} is not the file of MediaPipe {VERSION}: {HOW} FOLDER"
            )
    return HandModelFiles(contents[PALM_FILE], contents[HAND_FILE])
