"""The last lines of a run."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Sequence

from torch import nn

from shared_tmu.demo.ledger import OutputFolder
from shared_tmu.demo.notes import Note
from shared_tmu.demo.options import DemoOptions
from shared_tmu.demo.report import Report
from shared_tmu.methods import count_tokens
from shared_tmu.programs.model_program import ModelProgram

_log = logging.getLogger(__name__)


def close_kept(options: DemoOptions, name: str, note: Note, folder: OutputFolder) -> int:
    """The closing lines if there was nothing left to do; returns the exit status."""
    _log.info("%s is done: its results are kept from an earlier run.", name)
    lines = [*list_of(note.problems), "", last_line(options, name, folder)]
    sys.stdout.write("\n".join(lines).lstrip() + "\n")
    return 1 if note.problems else 0


def closing_rows(
    program: ModelProgram, model: nn.Module, options: DemoOptions, report: Report, crops: int
) -> list[tuple[str, str]]:
    """The rows of the closing table that any run has.

    Args:
        program: description of the model.
        model: the model.
        options: options of the command line.
        report: what was counted.
        crops: number of crops that the model of this process has run on.
    """
    vit = program.estimates.vit(model)
    tasks = getattr(vit, "num_prefix_tokens", 0)
    depth, count = len(vit.blocks), math.prod(program.estimates.grid(model)) + tasks
    run, kept = options.run, None
    if not run.schedule.reads_thresholds:  # otherwise the number differs between images
        tokens = count_tokens(run.method, run.schedule, depth, count, tasks)
        kept = tokens[0], tokens[-1]
    rows = report.rows(crops, kept)
    if run.masks:
        rows.append(("mask", report.say_masks(run.masks)))
    rows.append(("number format", f"{options.dtype_name} ({options.dtype_reason})"))
    return rows


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
