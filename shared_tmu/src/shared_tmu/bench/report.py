"""Results as a table for the terminal, and in plain words what does not pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_COLUMNS = (
    "batch", "dtype", "runtime", "schedule", "tokens",
    "speed-up", "floor", "FLOP ideal", "overhead", "over reference", "peak MiB", "vertices mm",
)  # fmt: skip


def format_title(record: Mapping[str, Any]) -> str:
    """What the rows of a table share, in one line."""
    what = record["model"] if record["scope"] == "model" else f"{record['model']}'s ViT"
    return (
        f"{what}, {record['size']} ({record['parameters'] / 1e6:.0f} M parameters), on "
        f"{record['machine']['processor']}, {record['machine']['cpu_threads']} threads; "
        f"reference: {record['reference']}; medians of {record['rounds']} rounds (quartiles)"
    )


def format_table(records: Sequence[Mapping[str, Any]]) -> str:
    """One row per record, columns aligned."""
    rows = [_COLUMNS, *(_row(record) for record in records)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines) + "\n"


def say_what_does_not_pay(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence for every row that is not faster than its unpatched model, beyond the spread."""
    sentences = (
        f"{r['schedule']} does not pay here at batch {r['batch_size']} in {r['dtype']} with {r['runtime']}: "
        f"{_spread(r, 'speedup')} the speed of the unpatched model."
        for r in records
        if not r["pays"]
    )
    return list(dict.fromkeys(sentences))


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    is_off = record["schedule"] == "off"
    asked, dtype = record["dtype_asked"], record["dtype"]
    memory, error = record["peak_memory_mib"], record["vertex_error_mm"]
    return (
        str(record["batch_size"]),
        dtype if asked == dtype else f"{asked}: {dtype}",
        record["runtime"],
        record["schedule"],
        f"{record['tokens_kept']}/{record['tokens']}",
        _spread(record, "speedup"),
        "" if is_off else f"{record['floor_speedup']:.2f}x",
        "" if is_off else f"{record['flop_ideal']:.2f}x",
        "" if is_off else f"{100 * record['overhead']:+.1f} %",
        _spread(record, "speedup_over_reference"),
        "-" if memory is None else f"{memory:.0f}",
        "-" if error is None else f"{error['mean']:.3f}",
    )


def _spread(record: Mapping[str, Any], name: str) -> str:
    low, high = record[f"{name}_quartiles"]
    return f"{record[name]:.2f}x ({low:.2f}-{high:.2f})"
