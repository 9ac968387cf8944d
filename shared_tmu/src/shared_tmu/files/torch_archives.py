"""Read files written by `torch.save` without executing code: each file is inspected before torch reads it.

The pickle is read through first (`pickles`): anything that a dictionary of tensors does not need is refused
by name, also calls that torch itself would allow, such as `bytearray(10**10)`. Tensors are memory-mapped only
if every record is uncompressed and aligned; compressed archives are unpacked, within a limit. The archive's
checksums, which torch does not check, are compared with the data (3.7 GB/s, once the file is in memory): a
flipped bit in a weight would otherwise give wrong results without any message.
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
"""Classes that published checkpoints hold beside tensors; read as plain ordered dictionaries."""

LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
"""How files written by torch.save before 1.6 start."""
_LEGACY_PICKLES = 5  # magic number, protocol, system, the object, keys of its storages

NEWEST_PROTOCOL = 3
"""Of pickles that torch reads without executing anything."""

ZIP_MAGIC = b"PK\x03\x04"
ALIGNMENT = 64  # bytes; what torch.save aligns its records to
MAX_PICKLE_BYTES = 1 << 25  # of the dictionary without its tensors
PIECE = 1 << 20  # bytes that are read at a time
MAX_UNPACKED = 1 << 26  # bytes that a compressed archive may unpack to whatever its size
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
        CheckpointError: it is damaged, of another kind, would need code to be executed, or unpacks to far
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
            f"{path} ({size} bytes) is truncated, damaged, or no torch checkpoint: {detail}."
        ) from error


def _check_archive(path: Path, file: BinaryIO, size: int) -> bool:
    """Whether a zip's records can be mapped into memory as they lie.

    Raises:
        CheckpointError: its records cannot be read, or its pickle asks for code.
    """
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        names = [record.filename.lower() for record in records]  # torch finds them in any case
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise CheckpointError(f"{path} is damaged: it holds {shortened(twice)!r} twice.")
        pickles = [record for record in records if record.filename.lower().endswith("/data.pkl")]
        if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in names):
            is_script = any(name.endswith("/constants.pkl") for name in names)
            what = "a TorchScript program" if is_script else "a zip file without weights"
            raise CheckpointError(f"{path} is no torch checkpoint but {what}; expected a file by torch.save.")
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
            f"{path} would unpack its {size} bytes to {unpacked}, which no trained weights do: pack it again "
            "without compression."
        )


def _read_pickle(path: Path, archive: zipfile.ZipFile, file: BinaryIO, record: zipfile.ZipInfo) -> bytes:
    if record.file_size > MAX_PICKLE_BYTES:
        raise CheckpointError(
            f"{path} holds {record.file_size} bytes beside its tensors; at most {MAX_PICKLE_BYTES} are read."
        )
    _expect_undamaged(path, archive, file, record)
    return b"".join(_pieces(archive, file, record))


def _expect_undamaged(path: Path, archive: zipfile.ZipFile, file: BinaryIO, record: zipfile.ZipInfo) -> None:
    """Compare a record with its checksum; 0 is what torch writes if it is told to make none."""
    checksum = 0
    for piece in _pieces(archive, file, record):
        checksum = zlib.crc32(piece, checksum)
    if record.CRC not in (0, checksum):
        raise CheckpointError(
            f"{path} is damaged: the checksum of {shortened(record.filename)} is not what it should be. "
            "Download or copy it again."
        )


def _pieces(archive: zipfile.ZipFile, file: BinaryIO, record: zipfile.ZipInfo) -> Iterator[bytes]:
    """What a record holds, some of it at a time."""
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
        raise zipfile.BadZipFile(f"the header of {shortened(record.filename)} is not where it should be")
    return record.header_offset + 30 + sum(int.from_bytes(header[at : at + 2], "little") for at in (26, 28))


def _check_pickles(path: Path, file: BinaryIO, size: int, count: int) -> None:
    """Refuse a pickle that would call anything but what a dictionary of tensors needs."""
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
            f"{path} was not loaded: it asks for {asked}, which is neither a tensor nor a plain value and "
            "could execute code. Export its weights alone (a dictionary of tensors) where it was written."
        )
    if newest > NEWEST_PROTOCOL and not is_plain:
        raise CheckpointError(
            f"{path} was written with pickle protocol {newest}, which torch does not read without executing "
            "code: save it again with torch.save's own (pickle_protocol=2), or as safetensors."
        )


def _unexpected(scanner: NameScanner) -> list[str]:
    """Names that are called but not to build tensors, and those that are not even torch's."""
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
        f"{path} is no checkpoint: it starts with {head[:16]!r}, expected a safetensors file or one written "
        "by torch.save. A web page saved instead of the file looks like this."
    )
