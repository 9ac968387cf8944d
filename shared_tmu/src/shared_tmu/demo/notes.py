"""Notes about finished images in the output folder; they are validated when read, because anybody may have
changed them.

A note is a small JSON file. It records what an image's results were made from and what the files contain, so
that a later run can distinguish the program's files from the user's. A note cannot name a file of another
image or outside the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_NOTE_BYTES = 16 << 20
"""Size limit of a note; ten thousand hands with four files each need a quarter of it."""

MAX_PIXELS = 10**10


@dataclass(frozen=True)
class Stamp:
    """The content of a file: its size in bytes and its SHA-256."""

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes | Path) -> Stamp:
        """The record for bytes, or for a regular file.

        Raises:
            OSError: the file cannot be read.
        """
        if isinstance(content, bytes):
            return cls(len(content), hashlib.sha256(content).hexdigest())
        with content.open("rb") as file:
            return cls(os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())

    def fits(self, path: Path) -> bool:
        """Whether a regular file (no link) with this content is at `path`."""
        try:
            found = path.lstat()
            return stat.S_ISREG(found.st_mode) and found.st_size == self.size and Stamp.of(path) == self
        except OSError:
            return False


@dataclass(frozen=True)
class Note:
    """The record of one image's results.

    Attributes:
        digest: digest of the image file.
        options: digest of the options that affect the results.
        files: names, with the content that each has when all are in place.
        found: number of hands or people.
        pixels: number of pixels of the image.
        problems: why boxes could not be used.
        replaced: files of the previous run; empty except while files are being replaced.
        model: name of the model that made them; empty if unknown.
        origin: kind and path of the input, see `origins`; empty if unknown.
    """

    digest: str
    options: str
    files: Mapping[str, Stamp]
    found: int
    pixels: int
    problems: tuple[str, ...] = ()
    replaced: Mapping[str, tuple[Stamp, ...]] = field(default_factory=dict)
    model: str = ""
    origin: str = ""

    def written(self) -> dict[str, tuple[Stamp, ...]]:
        """All files that this run and earlier ones have written for the image and that may still exist."""
        names = {*self.files, *self.replaced}
        now = {name: (self.files[name],) if name in self.files else () for name in names}
        return {name: (*now[name], *self.replaced.get(name, ())) for name in sorted(names)}

    def to_bytes(self) -> bytes:
        """The content of the note's file."""
        content: dict[str, Any] = {
            "digest": self.digest,
            "options": self.options,
            "files": {name: _to_list(stamp) for name, stamp in self.files.items()},
            "found": self.found,
            "pixels": self.pixels,
            "problems": list(self.problems),
            "model": self.model,
            "origin": self.origin,
        }
        if self.replaced:
            content["replaced"] = {name: [_to_list(s) for s in old] for name, old in self.replaced.items()}
        return (json.dumps(content, indent=1) + "\n").encode()


def read_note(path: Path, key: str) -> Note | None:
    """The note of an image; None if there is none.

    Args:
        path: path of the note.
        key: name of the image's results.

    Raises:
        ValueError: the file is not a note of that image; the message says why.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise ValueError("it is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_NOTE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if len(data) > MAX_NOTE_BYTES:
        raise ValueError(f"it has more than {MAX_NOTE_BYTES >> 20} MB")
    try:
        content = json.loads(data)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return _parse(content, key)


def _parse(content: Any, key: str) -> Note:
    wanted = {"digest", "options", "files", "found", "pixels", "problems"}
    if not isinstance(content, dict) or not wanted <= set(content) <= wanted | {
        "replaced",
        "model",
        "origin",
    }:
        raise ValueError(f"expected an object with {', '.join(sorted(wanted))}")
    facts = [content["digest"], content["options"], content.get("model", ""), content.get("origin", "")]
    problems = _items(content["problems"])
    if not all(isinstance(text, str) for text in (*facts, *problems)):
        raise ValueError("digests, model, origin and problems must be texts")
    files = {name: _stamp(value) for name, value in _entries(content["files"], key)}
    replaced = {
        name: tuple(_stamp(old) for old in _items(value))
        for name, value in _entries(content.get("replaced", {}), key)
    }
    pixels = _whole(content["pixels"], "pixels", MAX_PIXELS)
    # each hand or person takes kilobytes in some file, so a larger number cannot be right
    most = 1000 + sum(stamp.size for stamp in files.values()) // 16
    found = _whole(content["found"], "found", most)
    digest, options, model, origin = facts
    return Note(digest, options, files, found, pixels, tuple(problems), replaced, model, origin)


def _entries(value: Any, key: str) -> list[tuple[str, Any]]:
    """Names with their contents; each must be a name of a result of this image."""
    if not isinstance(value, dict):
        raise ValueError("files must be an object")
    for name in value:
        ending = name.removeprefix(key)
        if ending == name or ending[:1] not in ("_", ".") or any(c in ending for c in "/\\\0"):
            raise ValueError(f"it names {name!r:.80}, which is not a result of this image")
    return list(value.items())


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("expected a list")
    return value


def _whole(value: Any, name: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{name!r} is not a whole number from 0 to {most}")
    return value


def _to_list(stamp: Stamp) -> list[Any]:
    return [stamp.size, stamp.sha256]


def _stamp(value: Any) -> Stamp:
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], str):
        raise ValueError("each file must have its size and SHA-256")
    return Stamp(_whole(value[0], "size", 1 << 60), value[1])
