"""Reads a boxes file from a file or a pipe, with limits on size, nesting and waiting time."""

from __future__ import annotations

import json
import os
import select
import stat
from pathlib import Path
from typing import Any

from shared_tmu.errors import InputError

MAX_BYTES = 100_000_000
"""Size limit of a boxes file: about a million boxes."""

MAX_DEPTH = 16
"""Nesting limit: four levels are needed; extra entries, which are ignored, may have more."""

IDLE_S = 20.0
"""Longest time to wait for data from a pipe."""


def read_boxes_file(path: Path, expected: str) -> dict[str, list[Any]]:
    """The contents of a boxes file, by image; a pipe is read until it ends.

    Args:
        path: a file, or a pipe such as `<(command)`.
        expected: an example of the format, for messages.

    Raises:
        InputError: the file cannot be read, or is not a JSON object of lists.
    """
    data = _read(path)
    try:
        # some editors add a byte-order mark
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except RecursionError as error:
        raise InputError(f"the boxes file {path} is nested too deeply; expected {expected}.") from error
    except ValueError as error:
        raise InputError(f"the boxes file {path} is not JSON ({error}); expected {expected}.") from error
    if _is_deep(content):
        raise InputError(f"the boxes file {path} is nested too deeply; expected {expected}.")
    if not isinstance(content, dict) or not all(isinstance(value, list) for value in content.values()):
        raise InputError(
            f"the boxes file {path} must map image names to lists of boxes: expected {expected}."
        )
    return content


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            mode = os.fstat(descriptor).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
                raise InputError(f"cannot read the boxes file {path}: it is neither a file nor a pipe.")
            parts: list[bytes] = []
            while sum(map(len, parts)) <= MAX_BYTES:
                if stat.S_ISFIFO(mode) and not select.select([file], [], [], IDLE_S)[0]:
                    raise InputError(
                        f"the pipe {path} gave no data for {IDLE_S:g} s: write the boxes to a file first, "
                        "and name that file with --boxes."
                    )
                if not (part := file.read(1 << 22)):
                    return b"".join(parts)
                parts.append(part)
    except OSError as error:
        raise InputError(f"cannot read the boxes file {path}: {error.strerror or error}.") from error
    raise InputError(
        f"the boxes file {path} is larger than the limit of {MAX_BYTES // 10**6} MB: split the pictures "
        "into several runs, each with its own boxes file."
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a repeated name is refused, because it would hide the first entry."""
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:80]!r} occurs twice")
    return content


def _is_deep(content: Any) -> bool:
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True
