"""Results as a table for the terminal, with a sentence for every schedule that gives no speed-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared_tmu.bench.profile import PARTS

_COLUMNS = (
    "batch", "dtype", "runtime", "method", "schedule", "tokens", "GFLOPs", "img/s",
    "speed-up", "floor", "FLOP ideal", "overhead", "over reference", "peak MiB", "vertices mm",
)  # fmt: skip


def format_title(record: Mapping[str, Any]) -> str:
    """What all rows of a table have in common, in one line."""
    what = record["model"] if record["scope"] == "model" else f"{record['model']}'s ViT"
    return (
        f"{what}, {record['size']} ({record['parameters'] / 1e6:.0f} M parameters), on "
        f"{record['machine']['processor']}, {record['machine']['cpu_threads']} threads; "
        f"reference: {record['reference']}; medians of {record['rounds']} rounds (quartiles)"
    )


def format_table(records: Sequence[Mapping[str, Any]]) -> str:
    """One row per record, columns aligned."""
    return _align([_COLUMNS, *(_row(record) for record in records)])


def say_what_does_not_pay(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence for every row that is not clearly faster than its unpatched model (beyond the spread)."""
    sentences = (
        f"{r['method']} at {r['schedule']} gives no speed-up here at batch {r['batch_size']} in {r['dtype']} "
        f"with {r['runtime']}: {_spread(r, 'speedup')} the speed of the unpatched model."
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
        record["method"],
        record["schedule"],
        f"{record['tokens_kept']}/{record['tokens']}",
        f"{record['gflops']:.2f}",
        f"{record['images_per_s']:.1f}",
        _spread(record, "speedup"),
        "" if is_off else f"{record['floor_speedup']:.2f}x",
        "" if is_off else f"{record['flop_ideal']:.2f}x",
        "" if is_off else f"{100 * record['overhead']:+.1f} %",
        _spread(record, "speedup_over_reference"),
        _mebibytes(memory),
        "-" if error is None else f"{error['mean']:.3f}",
    )


def _spread(record: Mapping[str, Any], name: str) -> str:
    low, high = record[f"{name}_quartiles"]
    return f"{record[name]:.2f}x ({low:.2f}-{high:.2f})"


def format_profile(records: Sequence[Mapping[str, Any]]) -> str:
    """Shares of the time in per cent, one column per record, one row per part.

    Args:
        records: those of each batch size and dtype together, `off` first, as `profile_parts` gives them.
    """
    offs: list[float] = []  # of each column
    for record in records:
        offs.append(record["whole_ms"] if record["schedule"] == "off" else offs[-1])
    names = [name for name in PARTS if any(name in record["shares"] for record in records)]
    head = ["part", *(f"{r['schedule']} x{r['batch_size']} {r['dtype']}" for r in records)]
    rows = [head, *([name, *(_percent(r["shares"].get(name)) for r in records)] for name in names)]
    rows.append(["unaccounted", *(_percent(r["unaccounted"]) for r in records)])
    wholes = (100 * r["whole_ms"] / off for r, off in zip(records, offs, strict=True))
    rows.append(["whole, of off", *(f"{whole:.1f} %" for whole in wholes)])
    return _align(rows)


def say_what_is_unaccounted(records: Sequence[Mapping[str, Any]], limit: float) -> list[str]:
    """A sentence about whether the parts add up, and about the cost of timing them."""
    worst = max(abs(r["unaccounted"]) for r in records)
    cost = max(r["watching_costs"] for r in records)
    verdict = "add up to" if worst <= limit else "do NOT add up to"
    return [
        f"The parts {verdict} the whole within {100 * limit:.0f} %: at most {100 * worst:.1f} % is "
        f"unaccounted. Timing the parts made runs slower by at most {100 * cost:.1f} %."
    ]


def format_scale(records: Sequence[Mapping[str, Any]]) -> str:
    """One row per point; times are relative to the first point of its axis."""
    head = ("growing", "to", "time", "merged", "one matching", "speed-up", "overhead", "peak MiB", "merged",
            "one matching", "scores MiB")  # fmt: skip
    rows = [
        (
            r["axis"],
            str(r["value"]),
            *(f"{r[f'{name}_ms_growth']:.1f}x" for name in ("off", "merged", "matching")),
            _spread(r, "speedup"),
            f"{100 * r['overhead']:+.1f} %",
            *(_mebibytes(r[f"{name}_peak_mib"]) for name in ("off", "merged", "matching")),
            _mebibytes(r["score_matrix_mib"]),
        )
        for r in records
    ]
    return _align([head, *rows])


def _mebibytes(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length as right-aligned columns, the first row underlined."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines) + "\n"
