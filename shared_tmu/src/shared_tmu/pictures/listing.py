"""Lists the images in a folder, with the names of their results."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from shared_tmu.errors import InputError

FINISHED = ".finished"
"""Name of the folder that marks a folder with results of the demo; see `demo.ledger`."""

MAX_KEY_BYTES = 200
"""Longest last part of a result's name, to which suffixes are added: file systems allow 255 bytes."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """An image file.

    Attributes:
        path: path of the file.
        name: its path inside the image folder, with forward slashes; its name in messages and boxes files.
        key: name of its results: `name` without the suffix, or with it if two images would get the same name;
            very long names are shortened.
        problem: why it cannot be read, if this is already known.
    """

    path: Path
    name: str
    key: str
    problem: str = ""


def list_images(folder: Path, patterns: Sequence[str], leave_out: Path | None = None) -> list[Source]:
    """Files of a folder that match a pattern, sorted by name; or the one file that `folder` names.

    Case is ignored, and `*.jpg` also finds `*.jpeg`. A pattern with `/` searches subfolders, including linked
    ones, each once. Hidden files are left out, and so is everything under `leave_out` or in a subfolder with
    results of an earlier run, which are not inputs. A subfolder that cannot be read is listed with its
    problem.

    Raises:
        InputError: the folder does not exist, cannot be read, or has no file that matches.
    """
    try:
        mode = folder.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = 0
    except OSError as error:
        raise InputError(f"cannot read --img_folder {folder}: {_reason(error)}.") from error
    if stat.S_ISREG(mode):
        return [Source(folder, folder.name, shortened(folder.stem))]
    if not stat.S_ISDIR(mode):
        raise InputError(f"--img_folder {folder} does not exist: name a folder of images, or one image.")
    lower = [pattern.lower().removeprefix("./") for pattern in patterns]
    lower += [pattern[: -len(".jpg")] + ".jpeg" for pattern in lower if pattern.endswith(".jpg")]
    walk = _Walk(folder, leave_out, is_deep=any("/" in pattern for pattern in lower))
    names = [name for name in walk.files if any(_matches(name.lower(), pattern) for pattern in lower)]
    if folder.as_posix() in walk.problems or not (names or walk.problems):
        if problem := walk.problems.get(folder.as_posix()):
            raise InputError(f"cannot read --img_folder {folder}: {problem}.")
        raise InputError(
            f"no image in {folder} matches {' '.join(patterns)} ({_kinds(walk.files)}): "
            "add images, or give their file names with --file_type, such as '*.webp'."
        )
    names.sort()
    found = [Source(folder / name, name, key) for name, key in zip(names, result_keys(names), strict=True)]
    for path, problem in sorted(walk.problems.items()):
        name = Path(path).relative_to(folder).as_posix()
        found.append(Source(Path(path), name, name, f"cannot read the folder {name}: {problem}."))
    return found


def find_files(folder: Path, suffixes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Files under a folder with one of these suffixes, in lower case, and sentences on subfolders that cannot
    be read.

    The files are named by their paths inside the folder, with forward slashes, sorted. Linked folders are
    searched, each once; hidden files and folders are left out.
    """
    walk = _Walk(folder, None, is_deep=True)
    problems = [f"cannot read the folder {path}: {why}" for path, why in sorted(walk.problems.items())]
    return sorted(name for name in walk.files if name.lower().endswith(tuple(suffixes))), problems


class _Walk:
    """Files under a folder.

    Attributes:
        files: their paths inside it, with forward slashes.
        problems: folders that cannot be read, and why.
    """

    def __init__(self, folder: Path, leave_out: Path | None, is_deep: bool) -> None:
        self._folder, self._is_deep = folder, is_deep
        self._seen: set[str] = set() if leave_out is None else {os.path.realpath(leave_out)}
        self.files: list[str] = []
        self.problems: dict[str, str] = {}
        self._look_into(folder)

    def _look_into(self, folder: Path) -> None:
        real = os.path.realpath(folder)
        if real in self._seen:  # a link to a folder above it
            return
        self._seen.add(real)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self.problems[folder.as_posix()] = _reason(error)
            return
        if folder != self._folder and any(entry.name == FINISHED for entry in entries):
            _log.info("%s holds results of the demo, so it is not searched for inputs.", folder)
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                is_folder = entry.is_dir()
            # a circular link, or a folder that may only be listed: the error is raised when the file is read
            except OSError:
                is_folder = False
            if not is_folder:
                self.files.append(Path(entry.path).relative_to(self._folder).as_posix())
            elif self._is_deep:
                self._look_into(Path(entry.path))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _kinds(files: Sequence[str]) -> str:
    """The number of files, by suffix."""
    count = Counter(Path(name).suffix.lower() or "no suffix" for name in files)
    told = ", ".join(f"{number} {suffix}" for suffix, number in count.most_common(4))
    return f"{len(files)} other files are there{told and ': '}{told}"


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("**/") and fnmatch(name, pattern[3:]):
        return True
    return (
        name.count("/") == pattern.count("/") and fnmatch(name, pattern)
        if "**" not in pattern
        else fnmatch(name, pattern)
    )


def result_keys(names: Sequence[str]) -> list[str]:
    """Names for results that differ even if case is ignored: the stem if it is unique, else `stem_suffix`."""
    stems = [possible_keys(name)[0] for name in names]
    count: dict[str, int] = {}
    for stem in stems:
        count[stem.lower()] = count.get(stem.lower(), 0) + 1
    taken = {stem.lower() for stem in stems if count[stem.lower()] == 1}
    keys = []
    for name, stem in zip(names, stems, strict=True):
        key = stem
        if count[stem.lower()] > 1:
            key = possible_keys(name)[1]
            while key.lower() in taken:
                key += "_"
            taken.add(key.lower())
        keys.append(key)
    return keys


def possible_keys(name: str) -> tuple[str, str]:
    """The name of a picture's results if no other picture has its stem, and if another has."""
    is_plain = "." not in name.rsplit("/", 1)[-1]
    stem = shortened(name if is_plain else name.rsplit(".", 1)[0])
    return stem, stem if is_plain else f"{stem}_{name.rsplit('.', 1)[-1]}"


def shortened(key: str) -> str:
    """A result's name; if files with that name could not be written, it is shortened and made unique by a
    digest.
    """
    folder, slash, last = key.rpartition("/")
    content = os.fsencode(last)
    if len(content) <= MAX_KEY_BYTES:
        return key
    digest = hashlib.sha256(content).hexdigest()[:8]
    return f"{folder}{slash}{content[:MAX_KEY_BYTES].decode(errors='ignore')}_{digest}"
