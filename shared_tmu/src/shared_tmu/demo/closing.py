"""The last lines of a run, and what its results were made with."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

from torch import nn

from shared_tmu.demo.ledger import Note, OutputFolder
from shared_tmu.demo.options import DemoOptions
from shared_tmu.evaluation.identity import digest_of, file_sha256, weights_sha256

_log = logging.getLogger(__name__)


def close_kept(options: DemoOptions, name: str, note: Note, folder: OutputFolder) -> int:
    """The closing lines where nothing was left to do, and the exit status."""
    _log.info("%s is done: kept from before.", name)
    lines = [*list_of(note.problems), "", last_line(options, name, folder)]
    write("\n".join(lines).lstrip() + "\n")
    return 1 if note.problems else 0


def list_of(failures: Sequence[str]) -> list[str]:
    """What was wrong, a line each."""
    if not failures:
        return []
    count_text = "1 problem" if len(failures) == 1 else f"{len(failures)} problems"
    return ["", f"{count_text}, everything else was processed:", *(f"  {failure}" for failure in failures)]


def last_line(options: DemoOptions, what: str, folder: OutputFolder) -> str:
    """What was made, and where it is."""
    return f"{_what_is_saved(options)} of {what} are in {folder.folder.resolve()}"


def _what_is_saved(options: DemoOptions) -> str:
    """The first words of the last line."""
    kinds = [
        name
        for name, is_saved in (
            ("overlays", options.overlays),
            ("meshes", options.save_mesh),
            ("parameters", options.save_params and not options.overlays),
        )
        if is_saved
    ] or ["pictures"]
    return " and ".join(kinds).capitalize()


def write(text: str) -> None:
    """To stdout, also names that its encoding does not have."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    sys.stdout.flush()


def facts_of(options: DemoOptions, detector: str) -> dict[str, Any]:
    """What the `.json` says about how the results were made."""
    run = options.run
    return {
        "checkpoint": options.checkpoint.name if options.checkpoint else "bundled",
        "schedule": str(run.schedule),
        "method": run.method,
        "unmerge": run.unmerge,
        "protect": run.protect,
        "dtype": options.dtype_name,
        "packed": options.packed and options.device.type == "cpu",
        "detector": detector,
        "rescale_factor": options.rescale_factor,
    }


def options_digest(options: DemoOptions, detector: str, model: nn.Module) -> str:
    """A digest of all that decides what the result files hold, apart from the image."""
    saved = (
        "overlays",
        "side_view",
        "full_frame",
        "save_mesh",
        "save_params",
        "compare",
        "tokens",
        "focal_px",
    )
    return digest_of(
        {
            **facts_of(options, detector),
            **{name: getattr(options, name) for name in saved},
            "body_detector": options.body_detector if detector == "vitdet" else None,
            "boxes": file_sha256(options.boxes) if options.boxes and options.boxes.is_file() else None,
            "weights": weights_sha256(model),
        }
    )
