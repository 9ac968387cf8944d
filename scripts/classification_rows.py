"""The tables of shared_tmu/CLASSIFICATION.md, from lines of results; see classification_tables.py."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shared_tmu.errors import InputError
from shared_tmu.methods import METHODS

Line = Mapping[str, Any]
NOTHING = "Not measured yet: the commands above make the lines.\n"
_ALIKE = ("n", "dtype", "dataset_sha256", "weights_sha256")
"""What lines of classes must have in common to be in one table."""


def class_table(lines: Sequence[Line], which: str, timed: Sequence[Line]) -> str:
    """Top-1 and loss of every method, with paired differences from `off`, and its speed-up if it was timed.

    Args:
        lines: of all sets and sizes.
        which: set and size, such as `cifar10-112`.
        timed: lines of speed.

    Raises:
        InputError: lines of other pictures, weights or number formats than the line of `off`.
    """
    data, _, side = which.rpartition("-")
    own = [line for line in lines if line["dataset"] == data and line["crop_size"][0] == int(side)]
    if not own:
        return NOTHING
    off = next((line for line in own if line["label"] == "off"), None)
    if off is None:
        raise InputError(f"{which} has no line of 'off': run it with --r off too, and --take it.")
    if foreign := [line["label"] for line in own if any(line.get(n) != off.get(n) for n in _ALIKE)]:
        raise InputError(
            f"{which} has {len(foreign)} lines of other pictures, weights or number formats than that of "
            f"'off', such as {foreign[0]}: run them with the same --limit and --dtype, and --take them."
        )
    faster = speed_ups(timed, f"{off['model']}@{side}")
    rows = [
        (
            named(line),
            f"{line['tokens_kept']:g}/{line['tokens']}",
            f"{line['gflops']:.2f}",
            faster.get((line["method"], line["schedule"]), ""),
            f"{line['top1_pct']:.1f}",
            *(difference(line, off, name, digits) for name, digits in (("top1_pct", 1), ("nll", 3))),
        )
        for line in in_order(own)
    ]
    note = f"{off['n']} pictures, {off['dtype']}; in brackets 95 % intervals of paired differences.\n"
    head = ("method and schedule", "tokens", "GFLOPs", "speed-up", "top-1 %", "minus off", "NLL minus off")
    return f"{markdown(head, rows)}\n{note}"


def speed_ups(timed: Sequence[Line], model: str) -> dict[tuple[str, str], str]:
    """What was measured in quiet, by method and schedule."""
    own = [line for line in timed if line["model"] == model and line["schedule"] != "off"]
    return {(line["method"], line["schedule"]): f"{line['speedup']:.2f}x" for line in own}


def difference(line: Line, off: Line, name: str, digits: int) -> str:
    """A paired difference with its interval; empty for `off` itself."""
    interval = (line.get("minus_off_interval_95") or {}).get(name)
    if line["label"] == "off" or interval is None:
        return ""
    low, high = interval
    return f"{line[name] - off[name]:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def saliency_table(lines: Sequence[Line], which: str) -> str:
    """Distance from the unmerged map."""
    own = [line for line in lines if line["schedule"] == which]
    rows = [
        (
            named({**line, "label": line["schedule"]}),
            line["ending"],
            f"{line['tokens_kept']}/{line['tokens']}",
            f"{line['gflops']:.2f}",
            *(with_interval(line, name, 3) for name in ("correlation", "mean_error")),
        )
        for line in in_order(own)
    ]
    head = ("method and schedule", "restored by", "tokens", "GFLOPs", "correlation", "mean error")
    return markdown(head, rows) if rows else NOTHING


def training_table(lines: Sequence[Line]) -> str:
    """Top-1 with and without merging, of copies trained on with and without it."""
    rows = []
    for line in lines:
        top1 = line["top1_pct"]
        names = ("plain_off", "plain_merged", "trained_off", "trained_merged")
        rows.append(
            (
                f"{line['method']} {line['schedule']}",
                f"{line['tokens_kept']}/{line['tokens']}",
                f"{line['epochs']} + {line['more_epochs']}",
                *(f"{top1[name]:.1f}" for name in names),
                *(with_interval(line, name, 1) for name in ("drop", "gap", "own_drop", "regained")),
            )
        )
    head = (
        "merging", "tokens", "epochs", "A without", "A with", "B without", "B with", "lost by A",
        "lost from A to B with", "lost by B", "B with, minus A with",
    )  # fmt: skip
    return markdown(head, rows) if rows else NOTHING


def steps_table(lines: Sequence[Line]) -> str:
    """Time of a training step with and without merging."""
    rows = [
        (
            f"{line['model']}",
            f"{line['method']} {line['schedule']}",
            f"{line['batch_size']}",
            f"{line['off_ms']:.0f}",
            f"{line['merged_ms']:.0f}",
            f"{line['speedup']:.2f}x ({line['speedup_quartiles'][0]:.2f}-{line['speedup_quartiles'][1]:.2f})",
        )
        for line in lines
    ]
    head = ("model", "merging", "batch", "ms without", "ms with", "speed-up")
    return f"{markdown(head, rows)}\n{on_machine(lines)}" if rows else NOTHING


def speed_table(lines: Sequence[Line], which: str) -> str:
    """Images per second and speed-up of a model."""
    own = [line for line in lines if line["model"] == which]
    rows = [
        (
            f"{line['method']} {line['schedule']}" if line["schedule"] != "off" else "off",
            str(line["batch_size"]),
            f"{line['gflops']:.2f}",
            f"{line['images_per_s']:.1f}",
            f"{line['speedup']:.2f}x ({line['speedup_quartiles'][0]:.2f}-{line['speedup_quartiles'][1]:.2f})",
            f"{line['floor_speedup']:.2f}x",
            f"{line['peak_memory_mib']:.0f}",
        )
        for line in own
    ]
    head = ("method and schedule", "batch", "GFLOPs", "img/s", "speed-up", "floor", "peak MiB")
    return f"{markdown(head, rows)}\n{on_machine(own)}" if rows else NOTHING


def on_machine(lines: Sequence[Line]) -> str:
    """On what lines were timed, in a sentence."""
    machines = [line["machine"] for line in lines]
    places = {f"{one['processor']}, threads: {one['cpu_threads']}" for one in machines}
    rounds = sorted({line["rounds"] for line in lines})
    return (
        f"Medians and quartiles over {rounds[0]}{f' to {rounds[-1]}' if rounds[1:] else ''} rounds, float32, "
        f"{'; '.join(sorted(places))}.\n"
    )


def with_interval(line: Line, name: str, digits: int) -> str:
    """A value with its interval."""
    low, high = line[f"{name}_interval_95"]
    return f"{line[name]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def named(line: Line) -> str:
    """Method and schedule of a line."""
    return "off" if line["label"] == "off" else f"{line['method']} {line['schedule']}"


def in_order(lines: Sequence[Line]) -> list[Line]:
    """`off` first, then by schedule as they were measured, and in the order of the methods' table."""
    methods, schedules = list(METHODS), list(dict.fromkeys(line["schedule"] for line in lines))
    return sorted(
        lines,
        key=lambda line: (
            line["label"] != "off",
            schedules.index(line["schedule"]),
            methods.index(line["method"].partition(":")[0]),
        ),
    )


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"
