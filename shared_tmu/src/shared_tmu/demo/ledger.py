"""The output folder and the record of finished results in it. A kill at any moment loses no finished result
and leaves no half-written file, and a user's file is never overwritten or removed.

Each image has a note in `.finished/` (see `notes`), which is written first and says what every file will
hold. Files are written in `.staging/` and renamed into place. A resumed run therefore knows which results are
valid: an image is done when all its files have the content that its note describes. A file with other content
was put there or changed by somebody else; the results of that image are then not written, and it is listed as
failed. Nothing in the folder depends on the time or on how often a run was stopped.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from shared_tmu.demo.notes import Note, Stamp, read_note
from shared_tmu.errors import InputError
from shared_tmu.pictures.listing import FINISHED

NOTES = FINISHED
STAGING = ".staging"
MARK = "of-shared-tmu"
"""A file that distinguishes our `.staging` from a folder of the user with the same name."""

_OF_ALL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENODEV, errno.ESTALE}
"""Errors that would also affect the next image; other errors concern only one image."""

_NO_LOCK = "This system cannot lock folders: let no other run write to --out_folder %s meanwhile."
_log = logging.getLogger(__name__)


class ResultError(InputError):
    """The results of one image cannot be written to the output folder; other images are not affected."""


class OutputFolder:
    """Results of a run; a context manager that locks the folder and removes `.staging/` at the end.

    Args:
        folder: the output folder, created if needed.
        options: digest of the options that affect the results.
        model: name of the model that makes them.

    Raises:
        InputError: the folder cannot be made or written to, or another run is writing to it.
    """

    def __init__(self, folder: Path, options: str, model: str = "") -> None:
        self.folder, self.options, self.model = folder, options, model
        self._ignored: set[str] = set()
        try:
            self._is_new = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            for part in (NOTES, STAGING):
                if (folder / part).is_symlink():
                    raise InputError(
                        f"{folder / part} is a link, and links are not followed here: remove it, or choose "
                        "another --out_folder."
                    )
                (folder / part).mkdir(exist_ok=True)
            self._lock = _lock(folder)
            self._clear_staging()
            self.staging.mkdir()
            (self.staging / MARK).write_bytes(b"1")
        except OSError as error:
            raise InputError(
                f"--out_folder {folder} cannot be written to ({error.strerror or error}): choose another "
                "folder."
            ) from error

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._clear_staging()
            if not any((self.folder / NOTES).iterdir()):  # nothing was written: remove the empty folders
                (self.folder / NOTES).rmdir()
                if self._is_new:
                    self.folder.rmdir()
        if self._lock is not None:
            os.close(self._lock)

    def note(self, key: str) -> Note | None:
        """The note of an image; None if there is none. An invalid note is ignored with a warning."""
        try:
            return read_note(self._place(f"{NOTES}/{key}.json"), key)
        except (ValueError, ResultError) as error:
            if key not in self._ignored:
                self._ignored.add(key)
                _log.warning("%s/%s/%s.json is ignored: %s.", self.folder, NOTES, key, str(error)[:300])
            return None

    def finished(self, key: str, digest: str) -> Note | None:
        """The note of an image if the same file was finished with the same options and all its results are
        still unchanged.
        """
        note = self.note(key)
        if note is None or (note.digest, note.options) != (digest, self.options):
            return None
        is_whole = all(stamp.fits(self.folder / name) for name, stamp in note.files.items())
        return note if is_whole and not note.replaced else None

    def commit(
        self,
        key: str,
        digest: str,
        files: Mapping[str, bytes | Path],
        found: int,
        pixels: int,
        problems: Sequence[str] = (),
        origin: str = "",
    ) -> None:
        """Write all results of one image; results of an earlier run that are not replaced are removed.

        Args:
            key: name of the image's results.
            digest: digest of the image file.
            files: by name in the output folder, the content, or a file in `staging` that is moved.
            found: number of hands or people.
            pixels: number of pixels of the image.
            problems: why boxes could not be used.
            origin: which input it is, see `origins`; empty if unknown.

        Raises:
            ResultError: a file that this program did not write has one of the names, or a name is too long;
                nothing was changed.
            InputError: nothing can be written any more (full disk, rights).
        """
        with self.writing(key):
            stamps = {name: Stamp.of(content) for name, content in files.items()}
            earlier = self.note(key)
            written = earlier.written() if earlier else {}
            self.require_free(key, files, {name: (stamp,) for name, stamp in stamps.items()})
            still = {name: old for name, old in written.items() if os.path.lexists(self._place(name))}
            note = Note(
                *(digest, self.options, stamps, found, pixels, tuple(problems), still), self.model, origin
            )
            self._replace(self._note_path(key), note.to_bytes())
            for name in set(still) - set(files):
                self._remove(name, still[name])
            for name, content in files.items():
                self._replace(self._place(name), content)
            if still:
                self._replace(self._note_path(key), replace(note, replaced={}).to_bytes())

    def require_free(
        self, key: str, names: Iterable[str], same: Mapping[str, tuple[Stamp, ...]] | None = None
    ) -> None:
        """Refuse to overwrite files that this program did not write.

        Args:
            key: name of the image's results.
            names: file names of its results.
            same: by name, contents that may be overwritten too, because they are about to be written.

        Raises:
            ResultError: a file would be overwritten.
        """
        note = self.note(key)
        written = note.written() if note else {}
        place = self._note_path(key)
        is_odd = os.path.lexists(place) and not stat.S_ISREG(place.lstat().st_mode)
        taken = [f"{NOTES}/{key}.json"] if is_odd else []
        for name in names:
            path = self._place(name)
            stamps = (*written.get(name, ()), *(same or {}).get(name, ()))
            if os.path.lexists(path) and not any(stamp.fits(path) for stamp in stamps):
                taken.append(name)
        if taken:
            shown = ", ".join(taken[:5]) + (f" and {len(taken) - 5} more" if len(taken) > 5 else "")
            raise ResultError(
                f"results of {key} were not written: {shown} in {self.folder} "
                f"{'was' if len(taken) == 1 else 'were'} not written by this program, or changed since; "
                "move such files away, or choose another --out_folder."
            )

    @contextmanager
    def writing(self, key: str) -> Iterator[None]:
        """Name the image whose results could not be written, if that happens inside the `with` block.

        Raises:
            ResultError: the results of this image cannot be written.
            InputError: nothing can be written any more (full disk, rights).
        """
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno not in _OF_ALL and self.staging.is_dir():
                raise ResultError(
                    f"cannot write the results of {key} to {self.folder} ({reason})."
                ) from error
            raise InputError(
                f"cannot write the results of {key} to {self.folder} ({reason}); results finished before "
                "are complete: free some space, then continue with --resume."
            ) from error

    @property
    def staging(self) -> Path:
        """Folder for files that are too large for memory, before `commit` moves them into place."""
        return self.folder / STAGING

    def _replace(self, path: Path, content: bytes | Path) -> None:
        staged = self.staging / "part"
        if isinstance(content, Path):
            staged = content
        else:
            staged.write_bytes(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.replace(path)

    def _remove(self, name: str, written: Sequence[Stamp]) -> None:
        """Remove an old result, unless it was changed."""
        path = self._place(name)
        if any(stamp.fits(path) for stamp in written):
            path.unlink()
        else:
            _log.warning("%s is from an earlier run and was changed since, so it is kept.", path)

    def _note_path(self, key: str) -> Path:
        return self._place(f"{NOTES}/{key}.json")

    def _place(self, name: str) -> Path:
        """The path of a file; never through a link, which could point outside the folder."""
        path = self.folder
        *folders, _ = name.split("/")
        for part in folders:
            path = path / part
            if os.path.lexists(path) and not stat.S_ISDIR(path.lstat().st_mode):
                raise ResultError(
                    f"results of {name} were not written: {path} is a link or a file, not a folder; move it "
                    "away, or choose another --out_folder."
                )
        return self.folder / name

    def _clear_staging(self) -> None:
        """Remove the files that a killed run has left.

        Raises:
            InputError: the folder of that name was not made by this program.
        """
        if not self.staging.is_dir():
            return
        if any(self.staging.iterdir()) and not (self.staging / MARK).is_file():
            raise InputError(
                f"{self.staging} was not made by this program, which needs that name for unfinished files: "
                "move it away, or choose another --out_folder."
            )
        # the marker file last
        for path in sorted(self.staging.iterdir(), key=lambda path: path.name == MARK):
            path.unlink()
        self.staging.rmdir()


def _lock(folder: Path) -> int | None:
    """Lock a folder until the process ends or the descriptor is closed; None if the system cannot lock, which
    a warning says.
    """
    try:
        import fcntl
    except ImportError:
        _log.warning(_NO_LOCK, folder)
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise InputError(
            f"another run is writing to --out_folder {folder}: wait until it ends, or choose another folder."
        ) from error
    except OSError:  # file systems without locks
        os.close(descriptor)
        _log.warning(_NO_LOCK, folder)
        return None
    return descriptor
