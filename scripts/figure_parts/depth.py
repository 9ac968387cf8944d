"""Tokens over depth: how many each schedule leaves after every block, and how alike merging tokens are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundled import BUNDLED

from figure_parts.sources import lines_of
from figure_parts.style import CYCLE, GREY, letter, new_figure
from figure_parts.table import Figure
from shared_tmu.schedule import Schedule

DEPTH, PATCHES = 32, 192
FAMILIES = {
    "a  in every block": ("1", "2", "3", "4", "5"),
    "b  in the first blocks": ("5x20", "6x16", "6x20", "8x16", "10x16"),
    "c  in two steps": ("10x8+6x8", "10x8+8x8", "12x8+6x8"),
}
"""All published schedules; the blocks are those of ViT-H and of the bundled models."""


def draw(similar: Mapping[str, Sequence[dict[str, Any]]]) -> Any:
    """Counts in three panels, and the similarity of pairs that merge.

    Args:
        similar: lines of `measure_tokens.py` by model.
    """
    figure = new_figure(5.0)
    panels = figure.subplots(2, 2).flatten()
    for axes, (title, schedules) in zip(panels, FAMILIES.items(), strict=False):
        for number, schedule in enumerate(schedules):
            counts = Schedule.parse(schedule).token_counts(DEPTH, PATCHES)
            style = {**CYCLE[number], "markevery": (number + 1, 6), "clip_on": False}
            axes.plot(range(DEPTH + 1), counts, label=f"{schedule}: {counts[-1]} left", **style)
        axes.axhline(PATCHES, color=GREY, linewidth=1.0)
        axes.text(DEPTH, PATCHES + 3, "off", ha="right", va="bottom", color=GREY, fontsize=7.5)
        axes.set(xlim=(0, DEPTH), ylim=(0, 212), xlabel="after block", ylabel="patch tokens")
        axes.set_xticks(range(0, DEPTH + 1, 4))
        room = (
            {"loc": "lower left"}
            if title[0] == "a"
            else {"loc": "upper right", "bbox_to_anchor": (1, 0.93), "labelspacing": 0.3}
        )
        axes.legend(**room)
        letter(axes, title)
    _draw_similar(panels[3], similar)
    return figure


def _draw_similar(axes: Any, similar: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    for number, (model, lines) in enumerate(similar.items()):
        parts = [line for line in lines if line["blocks"] != "all"]
        style = CYCLE[number]
        places = range(len(parts))
        axes.plot(places, [x["merged_cosine"] for x in parts], label=f"{model}-Thin", **style)
        hollow = {**style, "markerfacecolor": "white", "linewidth": 0.9}
        axes.plot(places, [x["random_cosine"] for x in parts], **hollow)
        axes.set_xticks(places, [x["blocks"] for x in parts])
    axes.set(xlabel="blocks", ylabel="cosine of keys", ylim=(0, 1.04))
    for height, text in ((0.86, "pairs that merge (filled)"), (0.34, "all pairs (hollow)")):
        axes.text(1.1, height, text, fontsize=7.5)
    axes.legend(loc="center right", bbox_to_anchor=(1, 0.6))
    letter(axes, "d  similarity of keys at --r 5")


def rows() -> list[Figure]:
    """The figure of all schedules and bundled models."""
    names = {model.name: model.lines("tokens").name for model in BUNDLED.values()}

    def draw_one(folder: Path) -> Any:
        return draw({model: lines_of(folder, [name]) for model, name in names.items()})

    about = "tokens after each block at every published schedule, and how alike merging pairs are"
    return [Figure("tokens", "tokens", about, tuple(names.values()), draw_one)]
