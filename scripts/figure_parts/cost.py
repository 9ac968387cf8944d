"""Where the time goes: shares of one run from pictures to overlays, over that of the unpatched model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from figure_parts.style import BLACK, BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, YELLOW, new_figure
from figure_parts.table import Figure
from shared_tmu.programs.results import read_records

FILE = "bench/hamer_profile_cpu.jsonl"
PARTS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "detection": (("detection",), "#BBBBBB", ""),
    "attention": (("attention",), BLUE, ""),
    "MLP": (("MLP",), SKY, "///"),
    "rest of the ViT": (("rest of the ViT",), YELLOW, "..."),
    "matching, merging, unmerging": (("matching", "merging", "unmerging"), VERMILION, ""),
    "head, body model": (("head", "body model"), GREEN, "xxx"),
    "crop, rendering": (("crop", "rendering"), ORANGE, "\\\\\\"),
}
"""What is drawn as one, its colour and its hatch."""
SHOWN_PCT = 3.5
"""Smaller shares have no number inside."""


def draw(records: Sequence[dict[str, Any]]) -> Any:
    """A bar for each schedule; all are relative to the first record, the unpatched model."""
    figure = new_figure(0.95 + 0.5 * len(records))
    axes = figure.subplots()
    whole = sum(records[0]["parts_ms"].values())
    for place, record in enumerate(records):
        start, parts = 0.0, record["parts_ms"]
        for label, (names, color, hatch) in PARTS.items():
            share = 100 * sum(parts.get(name, 0.0) for name in names) / whole
            bar = {"color": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0.4, "height": 0.66}
            axes.barh(place, share, left=start, label=label if place == 0 else None, **bar)
            if share >= SHOWN_PCT:
                _number(axes, start + share / 2, place, f"{share:.0f} %", color)
            start += share
        merging = 100 * sum(parts.get(name, 0.0) for name in PARTS["matching, merging, unmerging"][0]) / whole
        note = f" {start:.0f} %" + (f", merging itself {merging:.1f} %" if merging else "")
        axes.text(start, place, note, va="center", fontsize=7.5)
    axes.set_yticks(range(len(records)), [record["schedule"] for record in records])
    axes.invert_yaxis()
    axes.set_xlim(0, 108)
    axes.set_xlabel("time from pictures to overlays, % of the unpatched model's")
    axes.grid(visible=False, axis="y")
    first = records[0]
    size = first["size"].replace("vit-h", "ViT-H")
    axes.set_title(f"{first['model']}, {size}, {first['dtype']}, batch {first['batch_size']}, CPU")
    figure.legend(loc="outside lower center", ncols=4, handlelength=1.6, handleheight=1.0)
    return figure


def _number(axes: Any, x: float, y: float, text: str, color: str) -> None:
    dark = color in (BLUE, VERMILION, GREY)
    box = None if dark else {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1.0}
    axes.text(x, y, text, ha="center", va="center", color="white" if dark else BLACK, bbox=box, fontsize=7.5)


def rows() -> list[Figure]:
    """The figure of the model that was profiled at its published size."""
    draw_one = lambda folder: draw(read_records(Path(folder) / FILE))  # noqa: E731
    return [Figure("cost", "cost", "HaMeR at its published size: time of each part", (FILE,), draw_one)]
