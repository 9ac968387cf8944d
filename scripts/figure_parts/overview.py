"""The idea in one picture: a block that merges, the unmerge after the last block, and tokens of a true run.

The grids are of the bundled HaMeR on a sample: the tokens that enter, the groups that are left after the last
merge, and the restored grid, coloured by the three main components of the tokens' features.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from bundled import BUNDLED
from numpy.typing import NDArray

from figure_parts.style import BLACK, BLUE, GREY, SKY, VERMILION, new_figure
from figure_parts.subjects import Bench
from figure_parts.table import Figure
from shared_tmu.programs.model_program import Run
from shared_tmu.schedule import Schedule
from shared_tmu.viz import draw_groups

SCHEDULE, SAMPLE = "5x20", 1
PATCH_PX = 20
HEIGHTS = (-0.5, 38.5)
"""Tenths of an inch."""
Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Trace:
    """What the grids show.

    Args:
        before: the tokens that enter: the input with a grid over it.
        between: groups of tokens after the last merge.
        after: the restored tokens, by their features.
        mesh: the prediction.
        counts: tokens that enter, and those that are left.
        blocks: blocks that merge, and blocks.
    """

    before: Rgb
    between: Rgb
    after: Rgb
    mesh: Rgb
    counts: tuple[int, int]
    blocks: tuple[int, int]


def trace(schedule: str = SCHEDULE, number: int = SAMPLE) -> Trace:
    """Run the bundled HaMeR on a sample and keep its tokens."""
    bench = Bench(BUNDLED["hamer"], record=True)
    sample = bench.sample(number)
    crop = bench.crop(sample)
    grid = bench.program.estimates.grid(bench.net)
    kept: list[torch.Tensor] = []
    hook = bench.program.estimates.vit(bench.net).register_forward_hook(
        lambda module, given, out: kept.append(out.detach())
    )
    (prediction,) = bench.predict([crop], Run(Schedule.parse(schedule), "tome", unmerge=True))
    hook.remove()
    seen = np.ascontiguousarray(_enlarged(bench.subject.seen(crop, grid), grid)[:, :, ::-1])
    slots = prediction.groups[-1].slots
    depth = len(bench.program.blocks_of(bench.net).blocks)
    return Trace(
        before=_with_grid(seen, np.arange(slots.size).reshape(grid)),
        between=draw_groups(seen, slots, grid),
        after=_with_grid(_components(kept[-1][0], grid), np.arange(slots.size).reshape(grid)),
        mesh=bench.close_up(sample, crop, prediction, grid[0] * PATCH_PX),
        counts=(slots.size, len(np.unique(slots))),
        blocks=(len(prediction.groups), depth),
    )


def _enlarged(picture: Rgb, grid: tuple[int, int]) -> Rgb:
    import cv2

    size = (grid[1] * PATCH_PX, grid[0] * PATCH_PX)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _components(features: torch.Tensor, grid: tuple[int, int]) -> Rgb:
    """The three main components of features as red, green and blue, a square for each token.

    Args:
        features: `[P, C]`, or `[C, h, w]`.
        grid: rows and columns of patches.
    """
    values = (features.flatten(1).T if features.ndim == 3 else features).float().numpy()
    values = values - values.mean(axis=0)
    _, _, directions = np.linalg.svd(values, full_matrices=False)
    shown = values @ directions[:3].T
    shown *= np.sign(shown[np.abs(shown).argmax(axis=0), range(3)])  # the sign of a component is arbitrary
    low, high = np.percentile(shown, (2, 98), axis=0)
    picture = np.clip(255 * (shown - low) / (high - low), 0, 255).astype(np.uint8).reshape(*grid, 3)
    return np.kron(picture, np.ones((PATCH_PX, PATCH_PX, 1), np.uint8))


def _with_grid(picture: Rgb, slots: NDArray[np.int64]) -> Rgb:
    """White lines between tokens."""
    drawn = picture.copy()
    for axis, count in enumerate(slots.shape):
        lines = [k * PATCH_PX for k in range(1, count)]
        where = (lines, slice(None)) if axis == 0 else (slice(None), lines)
        drawn[where] = (0.35 * drawn[where] + 0.65 * 255).astype(np.uint8)
    return drawn


def draw(found: Trace) -> Any:
    """Above the path of the tokens, below the tokens themselves."""
    figure = new_figure(3.9)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 72), ylim=HEIGHTS)
    axes.set_axis_off()
    many, few = found.counts
    merging, depth = found.blocks
    _box(axes, (12.5, 23.2, 26.5, 10.8), f"block, {depth} times", "none", dashed=True)
    for x, width, text, color in (
        (14, 6.6, "attention", SKY),
        (22.6, 6.6, "match,\nmerge", VERMILION),
        (31.2, 6.4, "MLP", SKY),
        (43.4, 7.4, "unmerge", BLUE),
        (55.6, 8.2, "head,\nbody model", SKY),
    ):
        _box(axes, (x, 25.2, width, 5.2), text, color)
    for start, end in ((3, 14), (20.6, 22.6), (29.2, 31.2), (37.6, 43.4), (50.8, 55.6), (63.8, 67)):
        _arrow(axes, (start, 27.8), (end, 27.8))
    for x, text in ((7.6, f"{many} tokens"), (41.2, f"{few}"), (53.4, f"{many}")):
        axes.text(x, 28.5, text, ha="center", va="bottom", fontsize=7.5)
    axes.text(69.4, 27.8, "mesh", ha="center", va="center", fontsize=8)
    note = f"similar tokens become their mean\n({SCHEDULE}: 5 fewer in each of the first {merging} blocks)"
    axes.text(25.75, 35.0, note, ha="center", va="bottom", fontsize=7.5)
    axes.text(47.1, 31.4, "every token gets\nits group's feature", ha="center", va="bottom", fontsize=7.5)
    for place, picture, text, top in (
        ((3.0, 12.0), found.before, f"before: {many} tokens,\none for each patch", 7.6),
        ((26.0, 12.0), found.between, f"between: {few} tokens,\ngroups outlined", 40.6),
        ((41.1, 12.0), found.after, f"after: {many} tokens,\ncoloured by their features", 47.1),
        ((56.0, 14.4), found.mesh, "the mesh over the picture", 65.4),
    ):
        _panel(axes, place, picture, text)
        middle = place[0] + place[1] / 2
        _arrow(axes, (top, 27.4 if top != 47.1 else 25.0), (middle, 19.5), color=GREY, dashed=True)
    return figure


def _panel(axes: Any, place: tuple[float, float], picture: Rgb, text: str) -> None:
    """A picture with its top at 19, `place` is its left side and width, and a caption below."""
    left, width = place
    height = width * picture.shape[0] / picture.shape[1]
    extent = (left, left + width, 19.0 - height, 19.0)
    axes.imshow(picture, extent=extent, interpolation="lanczos", zorder=2, aspect="auto")
    axes.text(left + width / 2, 18.4 - height, text, ha="center", va="top", fontsize=7.5)
    axes.set(xlim=(0, 72), ylim=HEIGHTS)


def _box(axes: Any, place: tuple[float, ...], text: str, color: str, *, dashed: bool = False) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y, width, height = place
    look: dict[str, Any] = {
        "boxstyle": "round,pad=0,rounding_size=0.8",
        "linewidth": 1.0,
        "zorder": 1 if dashed else 3,
    }
    look |= {"facecolor": color, "edgecolor": GREY if dashed else BLACK, "linestyle": "--" if dashed else "-"}
    axes.add_patch(FancyBboxPatch((x, y), width, height, **look))
    white = color in (BLUE, VERMILION)
    if dashed:
        axes.text(x + 1.0, y + height - 0.7, text, ha="left", va="top", fontsize=7.5, color=GREY)
    else:
        middle = (x + width / 2, y + height / 2)
        axes.text(
            *middle, text, ha="center", va="center", fontsize=8, color="white" if white else BLACK, zorder=4,
            weight="bold" if white else "normal",
        )  # fmt: skip


def _arrow(
    axes: Any, start: tuple[float, float], end: tuple[float, float], color: str = BLACK, dashed: bool = False
) -> None:
    look = {"arrowstyle": "-" if dashed else "-|>", "color": color, "linewidth": 0.8 if dashed else 1.1}
    look |= {"shrinkA": 0, "shrinkB": 0, "linestyle": (0, (2, 2)) if dashed else "-", "mutation_scale": 9}
    axes.annotate("", end, start, arrowprops=look, zorder=2)


def rows() -> list[Figure]:
    """The overview."""
    about = "a block with merge and unmerge, and the tokens of a true run before, between and after"
    return [Figure("overview", "overview", about, (), lambda folder: draw(trace()))]
