"""Results as JSON lines: one record per line, which several processes may append at the same time."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

import torch

from shared_tmu.errors import InputError
from shared_tmu.files import write_target

_log = logging.getLogger(__name__)
_PACKAGES = ("shared_tmu", "torch", "numpy", "scipy", "opencv-contrib-python", "smplx")


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Append one line to a JSON-lines file; it is on disk when this returns.

    Several processes may do so at the same time: each waits until the others have written their line. An
    incomplete line from an earlier crash is ended first, so that this record starts on its own line.

    Raises:
        ValueError: the record holds NaN or infinity, which JSON cannot represent.
        OSError: the file cannot be written.
    """
    line = json.dumps(record, allow_nan=False, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file, _alone(file):
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _alone(file: IO[bytes]) -> Iterator[None]:
    """Inside, no other process appends to a file, where the system can lock; closing it ends the lock."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
    except (ImportError, OSError):  # lines are still whole: they are appended
        _log.debug("%s cannot be locked", file.name)
    yield


def require_writable(path: Path) -> None:
    """Refuse a results file that cannot be written, before hours are spent on its contents.

    Raises:
        InputError: it is not a regular file, or cannot be opened or created; nothing is changed.
    """
    target = write_target(path)  # a link may point to a file that does not exist yet
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            with target.open("ab"):
                pass
        else:  # under its own name it could not be removed again: another process may have begun to write
            with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}."):
                pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"results cannot be written to {path} ({reason}): choose another file.") from error


def require_other_file(out: Path, written: Iterable[Path], read: Iterable[Path]) -> None:
    """Refuse to write over what a program reads.

    Args:
        out: what the user named, for the message.
        written: the files that are written for it.
        read: those that must stay.

    Raises:
        InputError: two of them are one file.
    """
    known = [path for path in read if path.exists()]
    for path in filter(Path.exists, written):
        if any(path.samefile(other) for other in known):
            raise InputError(
                f"--out {out} would write over {path}, which belongs to the model that is read: choose "
                "another name."
            )


def read_records(path: Path) -> list[dict[str, Any]]:
    """All records of a JSON-lines file, oldest first; none if there is no file.

    A line that is not a JSON object (torn by a crash) is skipped with a warning.

    Raises:
        InputError: the file cannot be read.
    """
    if not path.is_file():
        return []
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): choose another file or folder for the results."
        ) from error
    records = []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            _log.warning("%s, line %d is not a complete record and is ignored.", path, number)
    return records


def describe_environment(device: torch.device, folder: Path) -> dict[str, Any]:
    """What a result depends on apart from the model: `versions`, `machine` and `commit`.

    Args:
        device: where the model runs; its product name is part of `machine`.
        folder: a folder inside the checkout whose commit is recorded.
    """
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: version for name in _PACKAGES if (version := _version(name))},
            **({"cuda": torch.version.cuda} if device.type == "cuda" else {}),
        },
        "machine": {
            "processor": device_name(device),
            "system": platform.platform(),
            "cpu_threads": torch.get_num_threads(),
        },
        "commit": _commit(folder),
    }


def device_name(device: torch.device) -> str:
    """Product name of the device, such as `NVIDIA H200`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit(folder: Path) -> str | None:
    """The checkout's commit, with `-dirty` if tracked files differ from it; None outside a git checkout.

    Results and documents are ignored: the first result that is written must not make the checkout dirty.
    """
    where = ("--", ":(top)", *(f":(top,exclude){pattern}" for pattern in ("assets", "*.md")))
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        status = _git(folder, "status", "--porcelain", "--untracked-files=no", *where)
        return commit + ("-dirty" if status else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
