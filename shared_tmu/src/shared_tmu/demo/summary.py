"""The last lines of a run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from shared_tmu.demo.ledger import OutputFolder
from shared_tmu.demo.notes import Note
from shared_tmu.demo.options import DemoOptions

_log = logging.getLogger(__name__)


def close_kept(options: DemoOptions, name: str, note: Note, folder: OutputFolder) -> int:
    """The closing lines if there was nothing left to do; returns the exit status."""
    _log.info("%s is done: its results are kept from an earlier run.", name)
    lines = [*list_of(note.problems), "", last_line(options, name, folder)]
    sys.stdout.write("\n".join(lines).lstrip() + "\n")
    return 1 if note.problems else 0


def list_of(failures: Sequence[str]) -> list[str]:
    """All problems, one per line."""
    if not failures:
        return []
    count_text = "1 problem" if len(failures) == 1 else f"{len(failures)} problems"
    return ["", f"{count_text}; everything else was processed:", *(f"  {failure}" for failure in failures)]


def last_line(options: DemoOptions, what: str, folder: OutputFolder) -> str:
    """Which results were made, and where they are."""
    kinds = pictures_of(options) or ["parameters"]
    return f"{' and '.join(kinds).capitalize()} of {what} are in {folder.folder.resolve()}"


def pictures_of(options: DemoOptions) -> list[str]:
    """The kinds of results that are made only for images in which something was found."""
    kinds = {"overlays": options.overlays, "meshes": options.save_mesh}
    shown = [name for name, is_made in kinds.items() if is_made]
    return shown or ([] if options.save_params else ["pictures"])
