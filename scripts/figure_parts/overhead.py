"""What merging itself costs: the time over that of the slicing floor, by batch size; and how it all grows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figure_parts.style import CYCLE, GREY, letter, new_figure
from figure_parts.table import Figure
from shared_tmu.programs.results import read_records

SPEED = ("bench/hamer_vit_h_cpu.jsonl", "bench/hamer_thin_cpu.jsonl")
SCALE = "bench/scale_cpu.jsonl"
SHOWN = ("5x20", "10x16")
BATCHES = (1, 2, 4, 8, 16)
SIZES = {"vit-h": "ViT-H", "thin": "thin"}


def draw(speed: Sequence[dict[str, Any]], scale: Sequence[dict[str, Any]]) -> Any:
    """Left: HaMeR's ViT at two sizes; right: a narrow trunk at more batch sizes.

    Args:
        speed: lines of `python -m shared_tmu.bench`, kind `speed`.
        scale: its lines of kind `scale`.
    """
    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2, sharey=True)
    plain = [x for x in speed if (x["runtime"], x["dtype"]) == ("eager", "float32")]
    series = [(size, schedule) for size in SIZES for schedule in SHOWN]
    for number, (size, schedule) in enumerate(series):
        found = [x for x in plain if (x["size"], x["schedule"]) == (size, schedule)]
        shift = 1.05 ** (number - 1.5)  # so that bars do not hide each other
        _draw_line(left, found, f"{SIZES[size]}, {schedule}", CYCLE[number], ("batch_size", shift))
    batches = [x for x in scale if x["axis"] == "batch"]
    _draw_line(right, batches, "half of 384 tokens, 4 blocks", CYCLE[4], ("value", 1.0))
    left.set_ylabel("time over that of the slicing floor (%)")
    for axes, text in ((left, "a  HaMeR, float32, CPU"), (right, "b  narrow trunk, float32, CPU")):
        axes.axhline(0, color=GREY, linewidth=1.0)
        axes.set_xscale("log", base=2)
        axes.set_xticks(BATCHES, [str(size) for size in BATCHES])
        axes.minorticks_off()
        axes.set_xlabel("images per batch")
        letter(axes, text)
        axes.legend(loc="upper right")
    return figure


def _draw_line(
    axes: Any, found: Sequence[dict[str, Any]], label: str, style: Any, at: tuple[str, float]
) -> None:
    name, shift = at
    found = sorted(found, key=lambda x: x[name])
    if not found:
        return
    middle = [100 * x["overhead"] for x in found]
    reach = [
        [abs(100 * x["overhead_quartiles"][k] - m) for x, m in zip(found, middle, strict=True)]
        for k in (0, 1)
    ]
    axes.errorbar([shift * x[name] for x in found], middle, yerr=reach, label=label, capsize=2.5, **style)


def draw_growth(records: Sequence[dict[str, Any]]) -> Any:
    """Growth of time (above) and memory (below) along every axis."""
    names = list(dict.fromkeys(record["axis"] for record in records))
    figure = new_figure(4.9)
    panels = figure.subplots(2, len(names), squeeze=False)
    handles: dict[str, Any] = {}
    for column, axis in enumerate(names):
        _draw_axis(panels[:, column], [x for x in records if x["axis"] == axis], axis, handles)
        letter(panels[0, column], "abc"[column])
        letter(panels[1, column], "def"[column])
    panels[0, 0].set_ylabel("time / first unpatched time")
    panels[1, 0].set_ylabel("peak memory of a call (MiB)")
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5)
    return figure


def _draw_axis(panels: Any, rows: Sequence[dict[str, Any]], axis: str, handles: dict[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter

    time, memory = panels
    values, start = [row["value"] for row in rows], rows[0]["off_ms"][0]
    lines = {"off": "unpatched", "merged": "merged", "floor": "slicing floor"}
    lines |= {"matching": "one matching"} if axis == "tokens" else {}
    for number, (name, label) in enumerate(lines.items()):
        style = {
            **CYCLE[number],
            **({"markerfacecolor": "white", "markersize": 6} if name == "floor" else {}),
        }
        (drawn,) = time.plot(values, [row[f"{name}_ms"][0] / start for row in rows], **style)
        memory.plot(values, [row[f"{name}_peak_mib"] for row in rows], **style)
        handles.setdefault(label, drawn)
    if axis == "tokens":
        (drawn,) = memory.plot(values, [row["score_matrix_mib"] for row in rows], **CYCLE[4])
        handles.setdefault("one matrix of scores", drawn)
    for panel in (time, memory):
        panel.set_xscale("log", base=2)
        panel.set_yscale("log", base=2)
        panel.set_xlabel({"tokens": "tokens", "batch": "images per batch", "depth": "blocks"}[axis])
        panel.set_xticks(values, [str(value) for value in values], rotation=45 if axis == "tokens" else 0)
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
        panel.minorticks_off()
        low, high = panel.get_ylim()
        panel.set_ylim(min(low, high / 16), 1.2 * high)  # otherwise small differences would look large


def rows() -> list[Figure]:
    """Overhead by batch size, and growth."""
    return [
        Figure(
            *("overhead", "overhead", "time of merging over that of the slicing floor, by batch size"),
            (*SPEED, SCALE),
            lambda folder: draw(
                [x for f in SPEED for x in read_records(folder / f)], read_records(folder / SCALE)
            ),
        ),
        Figure(
            *("growth", "growth", "how time and memory grow with tokens, batch and depth"),
            (SCALE,),
            lambda folder: draw_growth(read_records(Path(folder) / SCALE)),
        ),
    ]
