"""Which images there are in a folder, and what their results are called."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from shared_tmu.errors import InputError

MAX_KEY_BYTES = 200
"""Length of the last part of a result's name, to which endings are added: file systems take 255 bytes."""


@dataclass(frozen=True)
class Source:
    """An image file.

    Attributes:
        path: where it is.
        name: its path under the image folder, with forward slashes; what messages and boxes files call it.
        key: what its results are called: `name` without the suffix, or with it where two would be the same;
            very long ones are cut.
    """

    path: Path
    name: str
    key: str


def list_images(folder: Path, patterns: Sequence[str], leave_out: Path | None = None) -> list[Source]:
    """Files of a folder that match a pattern, sorted by name; or the one file that `folder` names.

    Case does not matter and `*.jpg` also finds `*.jpeg`. A pattern with `/` looks into subfolders. Hidden
    files are left out, and so is all under `leave_out`: results of an earlier run are no images.

    Raises:
        InputError: no such folder, or nothing in it matches.
    """
    if folder.is_file():
        return [Source(folder, folder.name, shortened(folder.stem))]
    if not folder.is_dir():
        raise InputError(f"--img_folder {folder} is not there: name a folder of images, or one image.")
    lower = [pattern.lower().removeprefix("./") for pattern in patterns]
    lower += [pattern[: -len(".jpg")] + ".jpeg" for pattern in lower if pattern.endswith(".jpg")]
    found = folder.rglob("*") if any("/" in pattern for pattern in lower) else folder.iterdir()
    names, others = [], 0
    for path in found:
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or any(part.startswith(".") for part in name.split("/")):
            continue
        if leave_out is not None and path.is_relative_to(leave_out):
            continue
        if any(_matches(name.lower(), pattern) for pattern in lower):
            names.append(name)
        else:
            others += 1
    if not names:
        asked = " ".join(patterns)
        raise InputError(
            f"no image in {folder} matches {asked} ({others} other files are there): "
            "add images, or say what they are called with --file_type '*.webp'."
        )
    names.sort()
    return [Source(folder / name, name, key) for name, key in zip(names, _keys(names), strict=True)]


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("**/") and fnmatch(name, pattern[3:]):
        return True
    return (
        name.count("/") == pattern.count("/") and fnmatch(name, pattern)
        if "**" not in pattern
        else fnmatch(name, pattern)
    )


def _keys(names: Sequence[str]) -> list[str]:
    """Result names, all different also where case is ignored: stems where they differ, else `stem_suffix`."""
    stems = [name.rsplit(".", 1)[0] if "." in name.rsplit("/", 1)[-1] else name for name in names]
    stems = [shortened(stem) for stem in stems]
    count: dict[str, int] = {}
    for stem in stems:
        count[stem.lower()] = count.get(stem.lower(), 0) + 1
    taken = {stem.lower() for stem in stems if count[stem.lower()] == 1}
    keys = []
    for name, stem in zip(names, stems, strict=True):
        key = stem
        if count[stem.lower()] > 1:
            key = f"{stem}_{name.rsplit('.', 1)[-1]}" if name != stem else stem
            while key.lower() in taken:
                key += "_"
            taken.add(key.lower())
        keys.append(key)
    return keys


def shortened(key: str) -> str:
    """A result's name, cut and told from others by a digest if files of that name could not be written."""
    folder, slash, last = key.rpartition("/")
    content = os.fsencode(last)
    if len(content) <= MAX_KEY_BYTES:
        return key
    digest = hashlib.sha256(content).hexdigest()[:8]
    return f"{folder}{slash}{content[:MAX_KEY_BYTES].decode(errors='ignore')}_{digest}"
