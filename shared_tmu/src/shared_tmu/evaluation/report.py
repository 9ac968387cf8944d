"""Results as a table for the terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from shared_tmu.datasets.base import Column, EvalSet
from shared_tmu.evaluation.intervals import is_damaged
from shared_tmu.evaluation.per_sample import PER_SAMPLE
from shared_tmu.masks import find_masks
from shared_tmu.programs.results import read_records

_log = logging.getLogger(__name__)

_COUNTS = ("n", "tokens", "tokens_kept")
COLUMNS = ("published", "unaligned", "all")
"""Which errors a table shows: those that papers print, those that alignment hides, or both."""
_UNALIGNED: tuple[Column, ...] = (
    ("wrist MPVPE mm", "wrist_mpvpe_mm", ".2f"),
    ("turned deg", "orientation_error_deg", ".1f"),
    ("moved mm", "translation_error_mm", ".1f"),
    ("place %", "place_error_pct", ".1f"),
    ("boxes %", "box_overlap_pct", ".1f"),
    ("too large %", "scale_bias_pct", "+.1f"),
    ("size %", "scale_error_pct", ".1f"),
    ("jump mm", "stability_mm", ".2f"),
    ("held mm", "held_mm", ".2f"),
    ("noise mm", "noise_mm", ".2f"),
)


def columns_of(data: EvalSet, records: Sequence[Mapping[str, Any]], which: str) -> tuple[Column, ...]:
    """The errors that a table of these lines shows; hidden ones only where all lines have them.

    Args:
        data: the set.
        records: its lines.
        which: one of `COLUMNS`.
    """
    hidden = tuple(column for column in _UNALIGNED if all(column[1] in record for record in records))
    return {"published": data.columns, "unaligned": hidden, "all": (*data.columns, *hidden)}[which]


def format_table(records: Sequence[Mapping[str, Any]], errors: Sequence[Column]) -> str:
    """One row per record, columns aligned; spreads are quartiles.

    Args:
        records: result lines of one set.
        errors: names of the errors to show.
    """
    title = ("schedule", "tokens", *(title for title, _, _ in errors), "img/s", "speed-up")
    rows = [title, *(_row(record, errors) for record in records)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(title))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines) + "\n"


def format_title(record: Mapping[str, Any]) -> str:
    """What all rows of a table have in common, in one line."""
    whole = record["n_official"]
    samples = f"{record['n']} samples" if record["n"] == whole else f"only {record['n']} of {whole} samples"
    if whole is None:
        samples = f"{record['n']} samples"
    return (
        f"{record['model']} ({record['checkpoint']}) on {record['dataset']}, {samples}, "
        f"{record['dtype']} on {record['machine']['processor']}, batches of {record['batch_size']}"
    )


def format_unmasked(records: Sequence[Mapping[str, Any]]) -> str:
    """One line for each run that merged some samples without a mask."""
    return "".join(
        f"{record['label']}: {record['mask_missing']} of {record['n']} samples merged without a mask "
        f"({find_masks(record['mask']).lacks}, or it covers no token).\n"
        for record in records
        if record.get("mask_missing")
    )


def finished_records(
    lines: Path, folders: Mapping[str, Path], errors: Sequence[Column]
) -> dict[str, dict[str, Any]]:
    """Results of earlier runs that are still valid, by key; incomplete or damaged ones are left out, to be
    computed again.

    Args:
        lines: the result lines of a set.
        folders: folder of each run's files, by key.
        errors: errors that a table of the set shows.
    """
    found = {}
    for record in read_records(lines):
        key = record.get("key")
        if not isinstance(key, str) or key not in folders:
            continue
        if not is_complete(record, errors):
            _log.warning("A line of %s is incomplete; its schedule is evaluated again.", lines)
        elif is_damaged(folders[key]):
            _log.warning("%s is damaged; its schedule is evaluated again.", folders[key] / PER_SAMPLE)
        else:
            found[key] = record
    return found


def is_complete(record: Mapping[str, Any], errors: Sequence[Column]) -> bool:
    """Whether a result line has all values that a table shows, each of the right type."""
    try:
        _ = format_title(record), format_table([record], errors)
        return isinstance(record["files"], str) and all(isinstance(record[k], int) for k in _COUNTS)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return False


def _row(record: Mapping[str, Any], errors: Sequence[Column]) -> tuple[str, ...]:
    return (
        record["label"],
        f"{record['tokens_kept']}/{record['tokens']}",
        *(shown_value(record, name, form) for _, name, form in errors),
        _with_spread(record["images_per_s"], record["images_per_s_quartiles"], 1),
        _speedup(record),
    )


def shown_value(record: Mapping[str, Any], name: str, form: str) -> str:
    """A number of a result line, or that it is undefined on these samples."""
    return "undefined" if name in record.get("undefined", ()) else format(record[name], form)


def _with_spread(value: float | None, quartiles: Sequence[float] | None, digits: int) -> str:
    if value is None or quartiles is None:
        return "-"
    return f"{value:.{digits}f} ({quartiles[0]:.{digits}f}-{quartiles[1]:.{digits}f})"


def _speedup(record: Mapping[str, Any]) -> str:
    """Of `off` it is 1: its line holds the ratio of two timings of the same model, the noise of timing."""
    text = _with_spread(record["speedup"], record["speedup_quartiles"], 2)
    return "1" if record["schedule"] == "off" and text != "-" else text


def say(
    data: EvalSet, records: Sequence[Mapping[str, Any]], kept: int, lines: Path, columns: str = "published"
) -> None:
    """Write the closing table of a set.

    Args:
        data: the set.
        records: result lines of its runs.
        kept: how many of them an earlier run had made.
        lines: the file of the lines.
        columns: one of `COLUMNS`.
    """
    if not records:
        return
    table = format_table(records, columns_of(data, records, columns)) + format_unmasked(records)
    text = f"\n{format_title(records[0])}\n\n{table}\n"
    if kept:
        text += f"{kept} of {len(records)} rows are from an earlier run (--fresh computes them again).\n"
    files = lines.parent / Path(records[0]["files"]).parent
    text += f"Lines: {lines}\nPredictions, scores and per-sample errors: {files}\n"
    sys.stdout.write(text)
