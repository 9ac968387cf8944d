"""Which input the results in an output folder are of: those of one input never replace another's.

The note of an image says which file its results are of (see `notes`). A file is recognised by its path, or by
its content if it was moved. A recording cannot be repeated, so each gets a name of its own.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from glob import escape
from pathlib import Path

from shared_tmu import files
from shared_tmu.demo.ledger import OutputFolder
from shared_tmu.demo.notes import Note
from shared_tmu.errors import InputError
from shared_tmu.pictures.listing import Source, possible_keys
from shared_tmu.programs.identity import file_sha256

PICTURE, VIDEO, CAMERA = "picture", "video", "camera"
_log = logging.getLogger(__name__)


def origin_of(kind: str, path: Path) -> str:
    """What a note says about the input: its kind, and its path without links."""
    return f"{kind} {os.path.realpath(path)}"


@dataclass(frozen=True)
class Input:
    """A file whose results are to be written.

    Attributes:
        key: name of its results.
        kind: PICTURE or VIDEO.
        path: path of the file.
    """

    key: str
    kind: str
    path: Path

    @cached_property
    def origin(self) -> str:
        """See `origin_of`."""
        return origin_of(self.kind, self.path)

    @cached_property
    def digest(self) -> str:
        """The file's SHA-256; empty if it cannot be read, which is reported when its turn comes."""
        try:
            return file_sha256(self.path) if files.is_file(self.path) else ""
        except OSError:
            return ""

    def made(self, note: Note) -> bool:
        """Whether results are of this input: of a file at the same path, or of the same kind and content."""
        if note.origin == self.origin:
            return True
        kind = note.origin.partition(" ")[0]  # empty in notes of early versions
        return kind in ("", self.kind) and note.digest != "" and note.digest == self.digest


def count_earlier(folder: OutputFolder, inputs: Sequence[Input]) -> int:
    """Number of these inputs for which an earlier run has written results.

    Raises:
        InputError: another model has written results of some of them, or the results of other files have
            their names.
    """
    notes = [(one, note) for one in inputs if (note := folder.note(one.key)) is not None]
    models = [(one.key, note.model) for one, note in notes if note.model not in ("", folder.model)]
    if models and folder.model:
        raise InputError(
            f"--out_folder {folder.folder} has {models[0][1]} results of {len(models)} of these images "
            f"({models[0][0]}, ...), which {folder.model} would overwrite: choose another --out_folder."
        )
    others = [(one.key, note.origin) for one, note in notes if note.origin and not one.made(note)]
    if others:
        raise InputError(
            f"--out_folder {folder.folder} has results of other files under {len(others)} of these names "
            f"({others[0][0]}: of the {others[0][1]}), which this run would overwrite: choose another "
            "--out_folder."
        )
    return len(notes)


def with_earlier_keys(folder: OutputFolder, sources: Sequence[Source]) -> list[Source]:
    """Pictures with the names that an earlier run gave their results: since then, pictures that differ from
    them only in the suffix may have been added or removed.
    """
    earlier: dict[str, str] = {}
    taken: set[str] = set()
    for source in sources:
        for key in dict.fromkeys((source.key, *possible_keys(source.name))):
            note = folder.note(key)
            if key.lower() not in taken and note is not None and Input(key, PICTURE, source.path).made(note):
                earlier[source.name] = key
                taken.add(key.lower())
                break
    named = []
    for source in sources:
        key = earlier.get(source.name, source.key)
        while source.name not in earlier and key.lower() in taken:
            key += "_"
        taken.add(key.lower())
        named.append(replace(source, key=key))
    return named


def unused_key(folder: OutputFolder, key: str) -> str:
    """A name for a recording that no results in the folder have: `key`, or `key` with a number."""
    free, number = key, 1
    while folder.note(free) is not None or any(folder.folder.glob(f"{escape(free)}.*")):
        number += 1
        free = f"{key}_{number}"
    if number > 1:
        _log.info("%s has an earlier recording of %s: this one is %s.", folder.folder, key, free)
    return free
