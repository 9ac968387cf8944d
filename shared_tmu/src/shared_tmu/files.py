"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write beside `path`, then rename onto it: a reader finds the old file or the new one, never a part.

    The folder is made if needed. The name yielded ends like `path`, so that libraries that choose a format
    by the suffix do the right thing.

    Yields:
        A path in the same folder to write to.

    Raises:
        OSError: the folder or file cannot be written; `path` is then as it was and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield beside
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Put `text` (UTF-8) into `path` in one step; see `replacing`."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
