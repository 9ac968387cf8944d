"""Reads regular files only, and writes files atomically: a reader never sees a half-written file."""

from __future__ import annotations

import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shared_tmu.errors import InputError, MissingAssetError, TMUError

_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
_HALF = re.compile(r"\..+\.(?P<process>[0-9]+)\.part(\..*)?", re.DOTALL)  # the name that `replacing` gives it
# bytes of a name that are reused in the temporary file's name, which must be valid too
IS_POSIX = os.name == "posix"
_LONGEST_STEM = 100


def is_file(path: Path) -> bool:
    """Whether `path` is a regular file or a link to one; also False if it may not be accessed or is not a
    valid path.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder or a link to one; also False if it may not be accessed."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def open_file(path: Path, error: type[TMUError], missing: str = "", what: str = "") -> BinaryIO:
    """Open a regular file for reading, without waiting for a pipe or opening a device.

    Args:
        path: the file, or a link to it.
        error: class of the error for every problem except a missing file.
        missing: how to get the file, a sentence for the message if it is missing.
        what: description of the file, for that message.

    Raises:
        MissingAssetError: the file does not exist.
        error: it is a folder, pipe, device or socket, or it cannot be opened; the message says why.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
        if kind != stat.S_IFREG:
            what = _KINDS.get(kind, "special file")
            raise error(f"{path} is a {what}; expected a file. {missing}".strip())
        return path.open("rb")
    except TMUError:
        raise  # most of these are also ValueErrors
    except (FileNotFoundError, NotADirectoryError) as cause:
        link = f" (a link to {path.readlink()})" if path.is_symlink() else ""
        raise MissingAssetError(
            f"{what} {path.name}{link} is not in {path.parent.absolute()}. {missing}".strip()
        ) from cause
    except OSError as cause:
        raise error(f"{shortened(str(path))} cannot be read: {cause.strerror}. {missing}".strip()) from cause
    except ValueError as cause:
        raise error(f"{str(path)!r} is not a valid path: {cause}.") from cause


def read_limited(path: Path, max_bytes: int, error: type[TMUError], missing: str = "") -> bytes:
    """All bytes of a regular file that is not larger than it should be; see `open_file`.

    Raises:
        MissingAssetError: the file does not exist.
        error: it is larger than `max_bytes`, or see `open_file`.
    """
    with open_file(path, error, missing) as file:
        try:
            content = file.read(max_bytes + 1)
        except OSError as cause:
            raise error(f"{path} cannot be read: {cause.strerror}.") from cause
    if len(content) > max_bytes:
        raise error(f"{path} is larger than the limit of {max_bytes:,} bytes.")
    return content


def write_target(path: Path) -> Path:
    """The file that is written for `path`: `path` itself, or the target of its symbolic links.

    Raises:
        InputError: it is a folder, a device or anything else that is not a regular file, the links form a
            circle, or no file can have this name.
    """
    try:
        target = path.resolve() if path.is_symlink() else path
        kind = stat.S_IFMT(target.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return target
    except (OSError, RuntimeError, ValueError) as cause:  # a RuntimeError is a circle of links
        reason = getattr(cause, "strerror", None) or ("links in a circle" if path.is_symlink() else cause)
        raise InputError(f"{shortened(str(path))!r} cannot be written: {reason}.") from cause
    if kind != stat.S_IFREG:
        raise InputError(
            f"{path} is a {_KINDS.get(kind, 'special file')}, which is not replaced: name a file to write."
        )
    return target


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write beside `path`, then rename: a reader finds the old file or the new one, never a part.

    The folder is created if needed. The name yielded has the suffix of `path`, so that libraries that choose
    a format by the suffix work. A link stays, and the file that it points to is replaced.

    Yields:
        A path in the same folder to write to.

    Raises:
        InputError: `path` is not a regular file; see `write_target`.
        OSError: the folder or file cannot be written; `path` is then unchanged and nothing is left beside it.
    """
    target = write_target(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(target)
    try:
        yield beside
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        beside.replace(target)
        _sync_folder(target.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` in one step; see `replacing`."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")


def shortened(text: str, limit: int = 200) -> str:
    """`text`, or its beginning and end if it is too long for a message."""
    return text if len(text) <= limit else f"{text[: limit // 2]}...{text[-limit // 4 :]}"


def printable(name: str) -> str:
    """A name from a file system as text that can be written anywhere: bytes that are no text as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _beside(path: Path) -> Path:
    stem = os.fsencode(path.stem)
    if len(stem) > _LONGEST_STEM:
        stem = stem[:_LONGEST_STEM] + b"%08x" % zlib.crc32(stem)
    return path.with_name(f".{os.fsdecode(stem)}.{os.getpid()}.part{path.suffix}")


def drop_halves(folder: Path) -> None:
    """Remove from a folder unfinished files of processes that no longer run."""
    for half in folder.glob(".*.part*"):
        found = _HALF.fullmatch(half.name)
        if found and not _is_running(int(found["process"])):
            half.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if not IS_POSIX:  # Windows' kill would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of another user, or not the number of a process
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Make sure that a new name is on disk, on systems that can sync folders."""
    if not IS_POSIX:
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError:  # some network file systems cannot; the file itself is there
        pass
    finally:
        os.close(opened)
