"""Where tokens have gone after each block: pictures over depth, and an animation of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared_tmu.errors import InputError
from shared_tmu.files import replacing
from shared_tmu.viz.groups import draw_groups

FORMATS = {".gif": "GIF", ".webp": "WEBP"}


def draw_depth(
    image: NDArray[np.uint8],
    plans: Mapping[int, Any],
    depth: int,
    grid: tuple[int, int],
    index: int = 0,
    tint: float = 0.0,
) -> list[NDArray[np.uint8]]:
    """The groups after every block, drawn on the picture by `draw_groups`; before the first merge the picture
    itself.

    Args:
        image: the picture, `[H, W, 3]` uint8.
        plans: `handle.plans_by_block` of a model that was patched with `record=True`.
        depth: blocks.
        grid: rows and columns of patches.
        index: number of the picture in the batch.
        tint: see `draw_groups`.

    Returns:
        `depth` pictures of the same size.

    Raises:
        InputError: the method mixes tokens, so that there are no groups, or a map does not fit the grid.
    """
    frames, latest = [], image
    for block in range(depth):
        plan = plans.get(block)
        if plan is not None:
            source = getattr(plan, "source_map", None)
            if source is None:
                raise InputError("this method mixes all tokens: there are no groups to draw; choose another.")
            latest = draw_groups(image, source, grid, index, getattr(plan, "copy_map", None), tint)
        frames.append(latest)
    return frames


def save_animation(path: Path | str, frames: Sequence[NDArray[np.uint8]], frame_ms: int = 400) -> None:
    """Write RGB frames `[H, W, 3]` as an endless GIF or WebP; the last one stays three times as long.

    Raises:
        InputError: the name ends with neither, or these are no frames of one size.
    """
    path, shapes = Path(path), [tuple(getattr(frame, "shape", ())) for frame in frames]
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"an animation {path} was asked for: use a name with .gif or .webp.")
    if not shapes or shapes[0][2:] != (3,) or any(shape != shapes[0] for shape in shapes):
        raise InputError(
            f"the animation {path} needs frames [H, W, 3] of one size, found {sorted(set(shapes))}."
        )
    if found := {str(frame.dtype) for frame in frames} - {"uint8"}:
        raise InputError(f"the animation {path} needs frames of uint8, found {', '.join(sorted(found))}.")
    from PIL import Image

    pictures = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    times = [frame_ms] * (len(frames) - 1) + [3 * frame_ms]
    with replacing(path) as beside:
        pictures[0].save(beside, kind, save_all=True, append_images=pictures[1:], duration=times, loop=0)
