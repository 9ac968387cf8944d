"""Read files written by `torch.save` without executing code: each file is inspected before torch reads it.

The pickle is scanned first (`pickles`): anything that a dictionary of tensors does not need is refused by
name, including calls that torch itself would allow, such as `bytearray(10**10)`. Tensors are memory-mapped
only if every record is uncompressed and aligned; compressed archives are unpacked, within a limit. The
archive's checksums, which torch does not check, are compared with the data (3.7 GB/s, once the file is in
memory): a flipped bit in a weight would otherwise give wrong results without any message.
"""

from __future__ import annotations

import io
import pickle
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from shared_tmu.errors import CheckpointError
from shared_tmu.files.pickles import PICKLE_ERRORS, BoundedFile, NameScanner
from shared_tmu.files.regular import shortened

PASSIVE_CLASSES = ("yacs.config.CfgNode",)
"""Classes in published checkpoints other than tensors; they are read as plain ordered dictionaries."""

LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
"""First bytes of files written by torch.save before 1.6."""
_LEGACY_PICKLES = 5  # magic number, protocol, system, the object, keys of its storages

NEWEST_PROTOCOL = 3
"""Protocol of pickles that torch reads without executing anything."""

ZIP_MAGIC = b"PK\x03\x04"
ALIGNMENT = 64  # bytes; alignment of torch.save's records
MAX_PICKLE_BYTES = 1 << 25  # of the dictionary without its tensors
PIECE = 1 << 20  # bytes that are read at a time
MAX_UNPACKED = 1 << 26  # bytes to which a compressed archive of any size may unpack
MAX_UNPACKED_RATIO = 8  # times the size of the file; trained weights compress by a tenth

_LOADING = threading.Lock()  # torch keeps the list of allowed classes per process
_CALLS = (
    "collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.set",
    "builtins.complex", "torch.Size", "torch.device", "torch.nn.parameter.Parameter",
    "torch._tensor._rebuild_from_type_v2", "torch.serialization._get_layout",
)  # fmt: skip
_CALLS_START = "torch._utils._rebuild_"


def read_torch(path: Path, file: BinaryIO, head: bytes) -> Any:
    """The contents of a file written by `torch.save`, on the CPU.

    Args:
        path: the file, for torch and for messages.
        file: the same, open.
        head: its first bytes.

    Raises:
        CheckpointError: it is damaged, has another format, would need code to be executed, or unpacks to far
            more than its size.
    """
    is_zip = head.startswith(ZIP_MAGIC)
    size = path.stat().st_size
    try:
        mapped = _check_archive(path, file, size) if is_zip else None
        if not is_zip:
            _check_pickles(path, file, size, _LEGACY_PICKLES if head.startswith(LEGACY_MAGIC) else 1)
        if not is_zip and not head.startswith(LEGACY_MAGIC):
            raise CheckpointError(_not_torch(path, head))
        passive = [(OrderedDict, name) for name in PASSIVE_CLASSES]
        with _LOADING, torch.serialization.safe_globals(passive):  # type: ignore[arg-type]
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except CheckpointError:
        raise
    except (*PICKLE_ERRORS, RuntimeError, OSError, zipfile.BadZipFile, zlib.error) as error:
        lines = str(error).splitlines()
        details = [line for line in lines if line.startswith("WeightsUnpickler")] or lines
        detail = shortened(details[0].split(". ")[0].strip(" .")) if details else type(error).__name__
        raise CheckpointError(
            f"{path} ({size} bytes) is truncated, damaged, or not a torch checkpoint: {detail}."
        ) from error


def _check_archive(path: Path, file: BinaryIO, size: int) -> bool:
    """Whether a zip's records can be mapped into memory unchanged.

    Raises:
        CheckpointError: its records cannot be read, or its pickle needs code.
    """
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        names = [record.filename.lower() for record in records]  # torch ignores upper and lower case
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise CheckpointError(f"{path} is damaged: it holds {shortened(twice)!r} twice.")
        pickles = [record for record in records if record.filename.lower().endswith("/data.pkl")]
        if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in names):
            is_script = any(name.endswith("/constants.pkl") for name in names)
            what = "a TorchScript program" if is_script else "a zip file without weights"
            raise CheckpointError(
                f"{path} is not a torch checkpoint but {what}; expected a file written by torch.save."
            )
        _expect_readable(path, records, size)
        content = _read_pickle(path, archive, file, pickles[0])
        _check_pickles(path, io.BytesIO(content), len(content), 1)
        for record in records:
            _expect_undamaged(path, archive, file, record)
    return all(
        record.compress_type == zipfile.ZIP_STORED and _data_start(file, record) % ALIGNMENT == 0
        for record in records
        if record.file_size and "/data/" in record.filename
    )


def _expect_readable(path: Path, records: list[zipfile.ZipInfo], size: int) -> None:
    for record in records:
        if record.flag_bits & 1:
            raise CheckpointError(f"{path} is encrypted; decrypt it first.")
        if record.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise CheckpointError(
                f"{path} is compressed by a method that torch does not read (number {record.compress_type}): "
                "pack it again without compression."
            )
    unpacked = sum(record.file_size for record in records)
    if unpacked > max(MAX_UNPACKED, MAX_UNPACKED_RATIO * size):
        raise CheckpointError(
            f"{path} would unpack its {size} bytes to {unpacked}, which trained weights never do: pack it "
            "again without compression."
        )


def _read_pickle(path: Path, archive: zipfile.ZipFile, file: BinaryIO, record: zipfile.ZipInfo) -> bytes:
    if record.file_size > MAX_PICKLE_BYTES:
        raise CheckpointError(
            f"{path} holds {record.file_size} bytes in addition to its tensors, more than the limit of "
            f"{MAX_PICKLE_BYTES}."
        )
    _expect_undamaged(path, archive, file, record)
    return b"".join(_pieces(archive, file, record))


def _expect_undamaged(path: Path, archive: zipfile.ZipFile, file: BinaryIO, record: zipfile.ZipInfo) -> None:
    """Compare a record with its checksum; torch writes 0 if it is set to compute none."""
    checksum = 0
    for piece in _pieces(archive, file, record):
        checksum = zlib.crc32(piece, checksum)
    if record.CRC not in (0, checksum):
        raise CheckpointError(
            f"{path} is damaged: the checksum of {shortened(record.filename)} is wrong. Download or copy it "
            "again."
        )


def _pieces(archive: zipfile.ZipFile, file: BinaryIO, record: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the contents of a record in pieces."""
    if record.compress_type != zipfile.ZIP_STORED:
        with archive.open(record) as member:
            while piece := member.read(PIECE):
                yield piece
        return
    start = _data_start(file, record) if record.file_size else 0
    for at in range(0, record.file_size, PIECE):
        file.seek(start + at)  # the archive reads from the same file
        yield file.read(min(PIECE, record.file_size - at))


def _data_start(file: BinaryIO, record: zipfile.ZipInfo) -> int:
    file.seek(record.header_offset)
    header = file.read(30)
    if len(header) < 30 or not header.startswith(ZIP_MAGIC):
        raise zipfile.BadZipFile(f"the header of {shortened(record.filename)} is at the wrong place")
    return record.header_offset + 30 + sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))


def _check_pickles(path: Path, file: BinaryIO, size: int, count: int) -> None:
    """Refuse a pickle that would call anything that a dictionary of tensors does not need."""
    bounded = BoundedFile(file, size)
    file.seek(0)
    refused: dict[str, None] = {}
    newest = 0
    is_plain = count == 1 and not isinstance(file, io.BytesIO)
    for _ in range(count):
        scanner = NameScanner(bounded)
        try:
            scanner.load()
        except PICKLE_ERRORS as error:
            if not scanner.names and is_plain:
                return  # not a pickle at all; the caller has a better message for this
            if not _unexpected(scanner):
                raise pickle.UnpicklingError(str(error) or type(error).__name__) from error
        refused |= dict.fromkeys(_unexpected(scanner))
        newest = max(newest, getattr(scanner, "proto", 0))
    if refused:
        asked = shortened(", ".join(f"'{name}'" for name in refused), 400)
        raise CheckpointError(
            f"{path} was not loaded: it refers to {asked}, which is neither a tensor nor a plain value and "
            "could execute code. Export only its weights (a dictionary of tensors) in the program that "
            "wrote it."
        )
    if newest > NEWEST_PROTOCOL and not is_plain:
        raise CheckpointError(
            f"{path} was written with pickle protocol {newest}, which torch does not read without executing "
            "code: save it again with torch.save's own (pickle_protocol=2), or as safetensors."
        )


def _unexpected(scanner: NameScanner) -> list[str]:
    """Names that are called for something other than building tensors, and names that do not belong to
    torch.
    """
    known = (*_CALLS, *PASSIVE_CLASSES)
    called = [name for name in scanner.calls if name not in known and not name.startswith(_CALLS_START)]
    foreign = [
        name
        for name in scanner.names
        if name not in known and not name.startswith(("torch.", "collections."))
    ]
    return list(dict.fromkeys([*called, *foreign]))


def _not_torch(path: Path, head: bytes) -> str:
    return (
        f"{path} is not a checkpoint: it starts with {head[:16]!r}, expected a safetensors file or one "
        "written by torch.save. Perhaps a web page was saved instead of the file: download it again."
    )
