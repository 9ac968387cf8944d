"""The output folder: what is finished, written so that a kill at any moment loses nothing and leaves no half
file.

Each image has a note in `.finished/`. It is written first as "writing", with the names of all files to come,
and last as "done", with their sizes. Files are written in `.staging/` and renamed into place. A resumed run
therefore knows what to trust, and what to clear away; nothing in the folder depends on the time or on how
often a run was stopped.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from shared_tmu.errors import InputError

NOTES = ".finished"
STAGING = ".staging"


@dataclass(frozen=True)
class Note:
    """What the ledger knows about one image.

    Attributes:
        digest: of the image file.
        options: digest of the options that matter for the results.
        files: names and sizes in bytes; sizes are -1 while the files are being written.
        found: how many hands or people.
        pixels: of the image.
        problems: what was wrong with boxes that could not be used.
        is_done: all files are in place.
    """

    digest: str
    options: str
    files: Mapping[str, int]
    found: int
    pixels: int
    problems: tuple[str, ...]
    is_done: bool


class OutputFolder:
    """Results of a run; a context manager that locks the folder and clears `.staging/` away at the end.

    Args:
        folder: made if needed.
        options: digest of the options that matter for the results.

    Raises:
        InputError: the folder cannot be made or written to, or another run is writing to it.
    """

    def __init__(self, folder: Path, options: str) -> None:
        self.folder = folder
        self.options = options
        self._is_new = not folder.exists()
        try:
            for part in (folder, folder / NOTES, folder / STAGING):
                part.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(folder)
            self._clear_staging()
            (folder / STAGING).mkdir()
            probe = folder / STAGING / "probe"
            probe.write_bytes(b"1")
            probe.unlink()
        except OSError as error:
            raise InputError(
                f"--out_folder {folder} cannot be written to ({error.strerror or error}): "
                "name another folder."
            ) from error

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._clear_staging()
            if not any((self.folder / NOTES).iterdir()):  # nothing came of it: leave no trace
                (self.folder / NOTES).rmdir()
                if self._is_new:
                    self.folder.rmdir()
        if self._lock is not None:
            os.close(self._lock)

    def count_notes(self) -> int:
        """Images that an earlier run has written something for."""
        return sum(1 for _ in (self.folder / NOTES).rglob("*.json"))

    def note(self, key: str) -> Note | None:
        """What is known about an image, None if nothing (or nothing readable) is."""
        try:
            content = json.loads(self._note_path(key).read_text(encoding="utf-8"))
            return Note(**{**content, "problems": tuple(content["problems"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def finished(self, key: str, digest: str) -> Note | None:
        """The note of an image if this very file is done with these options and all its results are still
        there.
        """
        note = self.note(key)
        if note is None or not note.is_done or (note.digest, note.options) != (digest, self.options):
            return None
        sizes = {name: _size(self.folder / name) for name in note.files}
        return note if sizes == dict(note.files) else None

    def commit(
        self,
        key: str,
        digest: str,
        files: Mapping[str, bytes | Path],
        found: int,
        pixels: int,
        problems: Sequence[str] = (),
    ) -> None:
        """Write all results of one image; those of an earlier run that have no successor are removed.

        Args:
            key: of the image.
            digest: of the image file.
            files: name under the output folder to content, or to a file in `staging` that is moved.
            found: how many hands or people.
            pixels: of the image.
            problems: what was wrong with boxes that could not be used.

        Raises:
            InputError: a file cannot be written (full disk, rights).
        """
        earlier = self.note(key)
        note: dict[str, Any] = {
            "digest": digest,
            "options": self.options,
            "files": dict.fromkeys(files, -1),
            "found": found,
            "pixels": pixels,
            "problems": list(problems),
            "is_done": False,
        }
        with self.writing(key):
            for name in set(earlier.files if earlier else ()) - set(files):
                (self.folder / name).unlink(missing_ok=True)
            self._replace(self._note_path(key), _to_bytes(note))
            for name, content in files.items():
                self._replace(self.folder / name, content)
            note |= {"files": {name: _size(self.folder / name) for name in files}, "is_done": True}
            self._replace(self._note_path(key), _to_bytes(note))

    @contextmanager
    def writing(self, key: str) -> Iterator[None]:
        """Say whose results could not be written, if that happens inside the `with` block.

        Raises:
            InputError: a file cannot be written (full disk, rights).
        """
        try:
            yield
        except OSError as error:
            raise InputError(
                f"cannot write the results of {key} to {self.folder} ({error.strerror or error}); what was "
                "finished before is complete: make room, then go on with --resume."
            ) from error

    @property
    def staging(self) -> Path:
        """Where files that are too large for memory are written before `commit` moves them into place."""
        return self.folder / STAGING

    def _replace(self, path: Path, content: bytes | Path) -> None:
        staged = self.folder / STAGING / "part"
        if isinstance(content, Path):
            staged = content
        else:
            staged.write_bytes(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(path)

    def _note_path(self, key: str) -> Path:
        return self.folder / NOTES / f"{key}.json"

    def _clear_staging(self) -> None:
        shutil.rmtree(self.folder / STAGING, ignore_errors=True)


def _to_bytes(note: Mapping[str, Any]) -> bytes:
    return (json.dumps(note, indent=1) + "\n").encode()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _lock(folder: Path) -> int | None:
    """Lock a folder until the process ends or the descriptor is closed; None where the system cannot."""
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise InputError(
            f"another run is writing to --out_folder {folder}: wait for it, or name another folder."
        ) from error
    except OSError:  # file systems without locks
        os.close(descriptor)
        return None
    return descriptor
