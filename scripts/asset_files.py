"""Takes licensed files from a user's download (a file, a folder or an archive) and checks them."""

import hashlib
import lzma
import os
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from asset_table import Asset, AssetPart

CHUNK_BYTES = 1 << 20
MIN_UNPACKED_BYTES = 1 << 28
MAX_RATIO = 50  # factor on an archive's size; body models and pictures compress by a factor below ten


class AssetError(Exception):
    """The given file is not the file that the asset needs; the message names the right one."""


@contextmanager
def open_checked(path: Path) -> Iterator[None]:
    """Convert the errors of a damaged, encrypted or unreadable archive into one sentence."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        raise AssetError(f"{shown(path)} is damaged ({error}). Download it again.") from error
    except NotImplementedError as error:
        raise AssetError(
            f"{shown(path)} uses a compression that Python cannot unpack ({error}): unpack it yourself and "
            "give the folder."
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise AssetError(f"cannot copy from {shown(path)}: {reason}.") from error
    except (ValueError, RuntimeError, KeyError, IndexError, OverflowError) as error:
        raise AssetError(f"{shown(path)} cannot be read ({error}). Download it again.") from error


def shown(path: object) -> str:
    """A name in a form that any terminal can show, not longer than a line."""
    text = str(path).encode(
        "ascii" if sys.stdout.encoding is None else sys.stdout.encoding, "backslashreplace"
    )
    name = text.decode(errors="replace")
    return name if len(name) <= 160 else f"{name[:80]}...{name[-60:]}"


def members(source: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield path and open file of each wanted file in `source`: a file, a folder, a .zip or a .tar(.gz).

    Raises:
        AssetError: `source` is none of these, or a wanted file is a link, encrypted or too large for the
            archive.
    """
    try:
        kind, name = source.stat().st_mode, source.name.lower()
    except (FileNotFoundError, NotADirectoryError):
        raise AssetError(f"{shown(source)} does not exist.") from None
    if stat.S_ISDIR(kind):
        yield from _in_folder(source, wanted)
    elif not stat.S_ISREG(kind):
        raise AssetError(f"{shown(source)} is neither a file nor a folder.")
    elif name.endswith(".zip"):  # checkpoints are zip files too, under other names
        yield from _in_zip(source, wanted)
    elif name.endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")):
        yield from _in_tar(source, wanted)
    else:
        names = [path.as_posix() for path in (source.absolute(), source.resolve())]
        for given in [name for name in names if wanted(name)][:1]:
            with source.open("rb") as stream:
                yield given, stream


def _in_folder(source: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    def stop(error: OSError) -> None:
        raise error

    for folder, _, names in os.walk(source, onerror=stop):
        for name in sorted(names):
            path = Path(folder, name)
            inside = path.relative_to(source.parent).as_posix()
            if wanted(inside) and stat.S_ISREG(path.stat().st_mode):
                with path.open("rb") as stream:
                    yield inside, stream


def _in_zip(source: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            if info.is_dir() or not wanted(info.filename):
                continue
            if info.flag_bits & 1:
                raise AssetError(
                    f"{shown(info.filename)} in {shown(source)} is encrypted: unpack it with its password, "
                    "and give the folder."
                )
            if stat.S_ISLNK(info.external_attr >> 16):
                raise AssetError(
                    f"{shown(info.filename)} in {shown(source)} is a link, and links are not followed: give "
                    "the folder with the file itself."
                )
            _expect_possible(source, info.filename, info.file_size)
            with archive.open(info) as member:
                yield info.filename, member


def _in_tar(source: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(source, "r|*") as tar:
        for entry in tar:
            if entry.isdir() or not wanted(entry.name):
                continue
            if not entry.isfile() or entry.issparse():
                raise AssetError(
                    f"{shown(entry.name)} in {shown(source)} is a link, a sparse or a special file, which "
                    "is not unpacked here: unpack it yourself and give the folder."
                )
            _expect_possible(source, entry.name, entry.size)
            yield entry.name, cast(IO[bytes], tar.extractfile(entry))


def _expect_possible(source: Path, name: str, size: int) -> None:
    """Refuse a file that would unpack to far more than an archive of this size can hold."""
    limit = max(MIN_UNPACKED_BYTES, MAX_RATIO * source.stat().st_size)
    if size > limit:
        raise AssetError(
            f"{shown(name)} in {shown(source)} would unpack to {size} bytes, more than {MAX_RATIO} times "
            "the archive: this is not the right download."
        )


def copy_hashed(stream: IO[bytes], target: Path) -> str:
    """Copy to `target` and return the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    with target.open("wb") as out:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            out.write(chunk)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def place_one(path: str, stream: IO[bytes], part: AssetPart, target: Path, force: bool) -> None:
    """Copy one file to `target`, completely or not at all.

    Raises:
        AssetError: `force` is off, and its checksum differs from the known one, or from that of a file that
            is already there if none is known.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target) and not stat.S_ISREG(target.lstat().st_mode):
        raise AssetError(f"{shown(target)} already exists and is not a file: remove it.")
    unchecked = target.with_name(target.name + ".part")
    try:
        found = copy_hashed(stream, unchecked)
        if part.sha256 not in (None, found) and not force:
            raise AssetError(
                f"{shown(path)} has SHA-256 {found}, expected {part.sha256}: damaged, or another version. "
                "Download it again, or keep it with --force."
            )
        if part.sha256 is None and not force and target.exists() and sha256_of(target) != found:
            raise AssetError(
                f"{shown(target)} already exists with other contents than {shown(path)}: this may be another "
                "set's file. Remove the old one, or replace it with --force."
            )
        unchecked.replace(target)
    finally:
        unchecked.unlink(missing_ok=True)


def place(asset: Asset, source: Path, data: Path, force: bool = False) -> list[Path]:
    """Copy every part of `asset` that is found in `source` to its place in `data`.

    Raises:
        AssetError: `source` cannot be read or has none of the parts, or a part has another checksum.
    """
    placed: list[Path] = []
    with open_checked(source):
        for path, stream in members(source, lambda name: any(part.match(name) for part in asset.parts)):
            for part in asset.parts:
                where = part.match(path)
                if where is not None:
                    place_one(path, stream, part, data / where, force)
                    placed.append(data / where)
    missing = [part.name for part in asset.parts if not part.optional and not part.present(data)]
    if not placed:
        names = " or ".join(part.name for part in asset.parts)
        raise AssetError(f"{shown(source)} does not contain {names}; get it from: {asset.where}.")
    if missing:
        raise AssetError(f"{len(placed)} file(s) placed; not found in {shown(source)}: {', '.join(missing)}.")
    return placed
